"""Would catch: a process, socket file or request that is left or lost when something ends, by whatever means."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.serve.conftest import MAIN, ended, kill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.serve.conftest import Served

_LONG = """
import os, threading

def main(listeners, lifecycle):
    def answer(connection):
        with lifecycle.busy(), connection:
            path = connection.recv(4096).split()[1].decode()
            if path != "/":
                connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\n")
                with open(path) as gate:  # a FIFO: opens when the test does
                    gate.read()
            else:
                connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\n")
            connection.sendall(b"done")
    lifecycle.ready()
    for connection, _ in lifecycle.connections(listeners):
        threading.Thread(target=answer, args=(connection,), daemon=True).start()
    lifecycle.drain()
"""


def _long_request(served: Served, gate: Path) -> http.client.HTTPResponse:
    """Start a request that is under way when this returns, and ends when the gate is opened."""
    os.mkfifo(gate)
    connection = http.client.HTTPConnection(*served.address, timeout=60)
    connection.request("GET", str(gate))
    return connection.getresponse()


def test_a_long_request_is_finished_by_the_old_worker(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(_LONG, workers=1)
    old = served.pids()[0]
    response = _long_request(served, tmp_path / "gate")
    restart = threading.Thread(target=served.restart)
    restart.start()
    with served.load(fresh=1, kept=0) as load:
        while len(served.status().workers) != 2 or served.status().workers[0].pid == old:
            load.more(1)
        assert [one.state for one in served.status().workers] == ["serving", "draining"]
        load.more(5)
        assert load.errors == []
    (tmp_path / "gate").write_text("", encoding="utf-8")
    assert response.read() == b"done"
    response.close()
    restart.join()
    assert ended(old)
    served.stop()


def test_a_request_that_does_not_end_is_ended(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(_LONG, "--drain-timeout", "0.2", "--kill-timeout", "0.2", workers=1)
    old = served.pids()[0]
    response = _long_request(served, tmp_path / "gate")
    served.restart()
    assert ended(old)
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        response.read()
    response.close()
    served.stop()


def test_a_worker_that_ignores_sigterm_is_killed(serve: Callable[..., Served]) -> None:
    text = (
        "import signal, threading\ndef main(listeners, lifecycle):\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    )
    text += "    lifecycle.ready()\n    threading.Event().wait()\n"
    served = serve(text, "--drain-timeout", "0.1", "--kill-timeout", "0.1", workers=1)
    old = served.pids()[0]
    served.restart()
    assert ended(old)
    served.stop()


def test_a_killed_worker_is_replaced(serve: Callable[..., Served]) -> None:
    served = serve()
    first, second = served.pids()
    kill(first)
    served.talk.expect(r"worker 1 died after .*: it was ended by SIGKILL")
    served.talk.expect(r"worker 1 serves again")
    now = served.pids()
    assert now[1] == second
    assert now[0] != first
    assert [one.deaths for one in served.status().workers] == [1, 0]
    with served.load() as load:
        load.more(5)
    assert load.errors == []
    served.stop()


def test_a_crash_loop_is_reported_once_and_mended_by_a_restart(serve: Callable[..., Served]) -> None:
    served = serve(MAIN, workers=1)
    served.write("raise SystemExit('no configuration')\n")
    kill(served.pids()[0])
    served.talk.expect(r"worker 1: .*no configuration")
    served.talk.expect(r"worker 1 dies again and again")
    status = served.status()
    assert status.workers[0].crash_loop
    assert served.talk.heard.count("dies again and again") == 1
    served.write(MAIN)
    served.restart()
    assert len(served.pids()) == 1
    assert not served.status().workers[0].crash_loop
    served.stop()


def test_workers_end_when_the_supervisor_is_killed(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(_LONG, "--bind", f"unix:{tmp_path}/app.sock", "--bind", "127.0.0.1:0")
    pids = served.pids()
    assert (tmp_path / "app.sock").is_socket()
    served.process.kill()
    assert all(ended(pid) for pid in pids)
    assert not (tmp_path / "app.sock").exists()
    assert not (tmp_path / "control.sock").exists()


def test_workers_that_are_not_ready_end_too(serve: Callable[..., Served], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    text = f"import threading\ndef main(listeners, lifecycle):\n    open({str(tmp_path / 'started')!r}, 'w').close()\n"
    served = serve(text + "    threading.Event().wait()\n", wait=False, workers=1)
    (tmp_path / "started").read_text(encoding="utf-8")
    served.process.kill()
    served.process.wait()
    # That none is left is looked at after every test.


def test_a_hung_worker_ends_after_its_supervisor(serve: Callable[..., Served]) -> None:
    text = "import threading\ndef main(listeners, lifecycle):\n    lifecycle.ready()\n    threading.Event().wait()\n"
    served = serve(text, "--drain-timeout", "0.2", "--kill-timeout", "0.1", workers=1)
    (pid,) = served.pids()
    served.process.kill()
    assert ended(pid)


def test_the_second_signal_ends_at_once(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(_LONG, workers=1)
    response = _long_request(served, tmp_path / "gate")
    served.process.send_signal(signal.SIGINT)
    served.talk.expect("stopping; what is under way may finish within 30 s")
    served.process.send_signal(signal.SIGINT)
    served.talk.expect("stopping at once")
    assert served.talk.end() == 0
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        response.read()
    response.close()


def test_a_graceful_end_finishes_what_is_under_way(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve(_LONG, "--bind", f"unix:{tmp_path}/app.sock", "--bind", "127.0.0.1:0")
    with socket.socket(socket.AF_UNIX) as connection:
        os.mkfifo(tmp_path / "gate")
        connection.connect(str(tmp_path / "app.sock"))
        connection.sendall(f"GET {tmp_path}/gate HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        served.process.send_signal(signal.SIGTERM)
        served.talk.expect("stopping; what is under way")
        (tmp_path / "gate").write_text("", encoding="utf-8")
        assert connection.recv(4096) == b"done"
    assert served.talk.end() == 0
    assert not (tmp_path / "app.sock").exists()
