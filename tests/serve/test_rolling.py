"""Would catch: a request lost, refused or answered by an old version, in or after a restart under load."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serve.conftest import MAIN, ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.serve.conftest import Served
    from tests.talking import Run

_RESTARTS = 20

_ASGI = """
VERSION = "1"

async def main(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(VERSION)).encode())]})
    await send({"type": "http.response.body", "body": VERSION.encode()})
"""
_WSGI = """
VERSION = "1"

def main(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(VERSION)))])
    return [VERSION.encode()]
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("text", [MAIN, _ASGI, _WSGI], ids=["main", "asgi", "wsgi"])
def test_no_error_in_20_restarts_under_load(serve: Callable[..., Served], text: str) -> None:
    served = serve(text)
    with served.load(fresh=1, kept=1) as load:
        load.more(20)
        for number in range(2, _RESTARTS + 2):
            served.write(text.replace('"1"', f'"{number}"'))
            old = served.pids()
            served.restart()
            assert not set(old) & set(served.pids())
            assert all(ended(pid) for pid in old)
            load.more(20)
        load.answers.clear()
        load.more(20)
    assert load.errors == []
    # What was asked before the counter was cleared may have been counted after it, but no old worker was there.
    assert set(load.answers) == {str(_RESTARTS + 1)}
    served.stop()


def test_an_idle_connection_is_answered_once_more_while_its_worker_drains(serve: Callable[..., Served]) -> None:
    served = serve(_ASGI, workers=1)
    idle, fresh = (http.client.HTTPConnection(*served.address, timeout=60) for _ in range(2))
    idle.request("GET", "/")
    assert idle.getresponse().read() == b"1"
    fresh.connect()
    # The worker takes connections in their order, so it has this one when it has answered a later one.
    later = http.client.HTTPConnection(*served.address, timeout=60)
    later.request("GET", "/")
    assert later.getresponse().read() == b"1"
    later.close()
    served.write(_ASGI.replace('"1"', '"2"'))
    restart = threading.Thread(target=served.restart)
    restart.start()
    while "draining" not in [one.state for one in served.status().workers]:
        pass
    for connection in (idle, fresh):
        told = None
        while told is None:  # the supervisor knows of the drain a little earlier than the worker
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read() == b"1"
            told = response.getheader("connection")
        assert told == "close"
        connection.close()
    restart.join()
    served.stop()


def test_the_examples_own_figure_is_zero_errors(plain: dict[str, str]) -> None:
    demo = Path(__file__).parents[2] / "examples" / "rolling" / "demo.py"
    done = subprocess.run(
        [sys.executable, str(demo), "5"], env=plain, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of 6 versions,\n0 errors\n" in done.stdout


def test_a_new_interpreter_for_the_supervisor_loses_nothing(serve: Callable[..., Served], command: Run) -> None:
    served = serve()
    pid = served.status().pid
    with served.load() as load:
        for number in range(2, 5):
            served.write(MAIN.replace('"1"', f'"{number}"'))
            before = served.pids()
            done = command("serve", "--upgrade", "--control", served.control)
            assert done.returncode == 0, done.stderr
            assert f"generation {number}" in done.stdout
            assert not set(before) & set(served.pids())
            assert all(ended(one) for one in before)
            load.more(20)
        served.process.send_signal(signal.SIGUSR2)
        served.talk.expect(r"took over, process \d+(?s:.)*restarted: 2 workers, generation 5")
        load.more(20)
        load.answers.clear()
        load.more(20)
    assert load.errors == []
    assert set(load.answers) == {"4"}
    assert served.status().pid == pid
    served.stop()


def test_a_batch_is_replaced_at_once_and_sighup_restarts(serve: Callable[..., Served]) -> None:
    served = serve(MAIN, "--batch", "3", workers=3)
    old = served.pids()
    served.process.send_signal(signal.SIGHUP)
    served.talk.expect(r"restarted: 3 workers, generation 2")
    assert len(set(served.pids()) | set(old)) == 6
    served.stop()


def test_a_saved_file_restarts(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text('VERSION = "1"\n', encoding="utf-8")
    served = serve(MAIN.replace('VERSION = "1"', "from helper import VERSION"), "--watch")
    with served.load(fresh=1, kept=0) as load:
        load.more(5)
        served.write('VERSION = "2"\n', "helper.py")
        served.talk.expect(r"restarted: 2 workers, generation 2")
        load.answers.clear()
        load.more(5)
        assert set(load.answers) == {"2"}
        served.write("VERSION = (\n", "helper.py")
        served.talk.expect(r"restart refused at import: .*never closed")
        served.write('VERSION = "3"\n', "helper.py")
        served.talk.expect(r"restarted: 2 workers, generation 3")
        load.answers.clear()
        load.more(5)
    assert set(load.answers) == {"3"}
    assert load.errors == []
    served.stop()
