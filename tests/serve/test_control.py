"""Would catch: a control socket that others may use, or that what is sent to it can harm."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midflight._unix import short_path
from midflight.serve import ControlError, client
from midflight.serve.addresses import bind_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.serve.conftest import Served
    from tests.talking import Run

_HOSTILE = {
    "nothing": b"\n",
    "no json": b"restart\n",
    "not text": b"\xff\xfe\x00{\n",
    "other type": b'{"ask": 3}\n',
    "unknown word": b'{"ask": "kill"}\n',
    "more fields": b'{"ask": "stop", "pid": 1}\n',
    "deep": b"[" * 4000 + b"\n",
    "endless": b"x" * 100_000,
    "long line": b'{"ask": "' + b"s" * 50_000 + b'"}\n',
    "half": b'{"ask": "st',
    "no surrogate": b'{"ask": "\\ud800"}\n',
}


def _say(control: str, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(60)
        with short_path(control) as reachable:
            channel.connect(reachable)
        answer = b""
        try:
            channel.sendall(data)
            channel.shutdown(socket.SHUT_WR)
            while more := channel.recv(65536):
                answer += more
        except ConnectionError:
            pass  # it was enough for the supervisor
        return answer


def test_hostile_input_is_answered_with_an_error(serve: Callable[..., Served]) -> None:
    served = serve(workers=1)
    before = served.pids()
    for name, data in _HOSTILE.items():
        answer = _say(served.control, data)
        assert not answer or json.loads(answer).get("error"), name
        assert served.status().state == "serving", name
    assert served.pids() == before
    served.stop()


def test_silent_clients_do_not_keep_others_out(serve: Callable[..., Served]) -> None:
    served = serve(workers=1)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(10)]
    for one in silent:
        with short_path(served.control) as reachable:
            one.connect(reachable)
    assert served.status().state == "serving"
    for one in silent:
        one.close()
    served.stop()


def test_only_this_user_may_open_it(serve: Callable[..., Served]) -> None:
    served = serve(workers=1)
    found = Path(served.control).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.geteuid()
    served.stop()


def test_a_second_supervisor_is_told(serve: Callable[..., Served], command: Run) -> None:
    served = serve(workers=1)
    done = command("serve", "app:main", "--control", served.control, "--bind", "127.0.0.1:0")
    assert done.returncode == 1
    assert "somebody listens there already" in done.stderr
    assert served.status().state == "serving"
    served.stop()


def test_the_status_as_table_and_as_json(serve: Callable[..., Served], command: Run) -> None:
    served = serve()
    host, port = served.address
    shown = command("serve", "--status", "--control", served.control)
    assert shown.returncode == 0
    assert f"app:main on {host}:{port}: serving, generation 1" in shown.stdout
    assert shown.stdout.count("serving") == 3
    told = json.loads(command("serve", "--status", "--json", "--control", served.control).stdout)
    assert [one["pid"] for one in told["workers"]] == served.pids()
    assert told["addresses"] == [f"{host}:{port}"]
    assert command("serve", "--stop", "--control", served.control).returncode == 0
    assert served.talk.end() == 0


def test_nobody_there(tmp_path: Path, command: Run) -> None:
    done = command("serve", "--restart")
    assert done.returncode == 1
    assert "no supervisor can be reached" in done.stderr
    with pytest.raises(ControlError):
        client.ask(str(tmp_path / "nowhere"), "status")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "APP:NAME is missing"),
        (("--restart", "--stop"), "two commands"),
        (("app",), "write module:name"),
        (("app:main; rm",), "write module:name"),
        (("app:main", "--bind", "nonsense"), "no address to listen on"),
        (("app:main", "--bind", "127.0.0.1:99999"), "no address to listen on"),
        (("app:main", "--bind", "unix:relative"), "absolute"),
        (("app:main", "--bind", "fd:77"), "no socket"),
    ],
)
def test_wrong_usage_is_a_message(command: Run, arguments: tuple[str, ...], said: str) -> None:
    done = command("serve", *arguments)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_control_socket_at_a_long_path(tmp_path: Path) -> None:
    """The system takes 107 bytes; runtime directories of containers and tests are longer."""
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    listener = bind_private(str(directory / "control.sock"))
    with socket.socket(socket.AF_UNIX) as client, short_path(str(directory / "control.sock")) as reachable:
        client.connect(reachable)
    listener.close()
