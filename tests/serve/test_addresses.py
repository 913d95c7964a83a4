"""Would catch: an address that is bound in another way than written, or a socket file of others that is taken away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from midflight.serve import BindError, addresses

if TYPE_CHECKING:
    from pathlib import Path

_ACTIVATED = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from midflight.serve import addresses
for listener in addresses.bind_all((), 16):
    print(listener.address)
    connection, _ = listener.socket.accept()
    connection.sendall(b"hello")
"""


@pytest.mark.parametrize("text", ["127.0.0.1:0", ":0", "[::1]:0", "localhost:0"])
def test_a_port_of_any_family(text: str) -> None:
    listener = addresses.bind(text, 16)
    host, _, port = listener.address.rpartition(":")
    host = {"[::]": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host.strip("[]"))  # noqa: S104 - nothing is bound
    with socket.create_connection((host, int(port)), timeout=10):
        assert not listener.socket.getblocking()
    listener.close()


def test_a_stale_socket_file_is_replaced_and_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = addresses.bind(f"unix:{path}", 16)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(BindError, match="no socket"):
        addresses.bind(f"unix:{path}", 16)
    assert path.read_text(encoding="utf-8") == "mine"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(BindError, match="somebody listens"):
            addresses.bind(f"unix:{path}", 16)
        assert path.is_socket()
    path.unlink()
    listener = addresses.bind(f"unix:{path}", 16)
    path.unlink()
    path.write_text("another", encoding="utf-8")
    listener.close()
    assert path.read_text(encoding="utf-8") == "another"


def test_sockets_that_the_service_manager_passed(tmp_path: Path) -> None:
    script = tmp_path / "activated.py"
    script.write_text(_ACTIVATED, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as passed, socket.create_connection(passed.getsockname()) as client:
        # As systemd does: the sockets from descriptor 3 on, and the process's own number in the environment.
        child = os.fork()
        if child == 0:
            os.dup2(passed.fileno(), 3, inheritable=True)
            os.dup2(os.open(tmp_path / "said", os.O_CREAT | os.O_WRONLY), 1)
            os.execve(sys.executable, [sys.executable, str(script)], {**os.environ, "LISTEN_FDS": "1"})  # noqa: S606
        _, code = os.waitpid(child, 0)
        assert code == 0
        assert client.recv(16) == b"hello"
        assert (tmp_path / "said").read_text(encoding="utf-8").strip() == addresses.spell(passed)


def test_another_processs_sockets_are_not_taken() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from midflight.serve import addresses; print(addresses.passed())"],
        env={**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "()"
