# ruff: noqa: S106 - the tokens are the tests' own
"""Catches offers that the wrong people can use, sockets that are overwritten, and a command that doesn't end."""

from __future__ import annotations

import ctypes
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import midflight
from midflight import SourceError, TokenError
from midflight.lanes.remote import address

ADD = "int add(int a, int b) { return a + b; }\n"


def test_tcp_on_the_loopback(here):
    _, offer = here(ADD, "tcp::0")
    assert offer.address.startswith("tcp:127.0.0.1:")
    assert midflight.load("lib.c", lane=offer.address).add(1, 2) == 3


def test_tcp_version_six(here):
    _, offer = here(ADD, "tcp:[::1]:0")
    assert midflight.load(lane=offer.address).add(1, 2) == 3


def test_a_port_that_is_taken(here):
    module, offer = here(ADD, "tcp::0")
    with pytest.raises(SourceError, match="can't be listened at"):
        midflight.offer(module, offer.address)


@pytest.mark.parametrize("at", ["unix:", "tcp:host", "tcp:1:2:3", "tcp::70000", "http://x", "", "unix:" + "x" * 200])
def test_addresses_that_are_none(at):
    with pytest.raises(SourceError):
        address.parse(at)


def test_the_name_of_the_module(here, at):
    here(ADD)
    assert midflight.load("calc.c", lane=at).__name__ == "calc"
    assert midflight.load("calc.c", name="other", lane=at).__name__ == "other"
    assert midflight.load(lane=at).__name__ == "s"


def test_the_right_token(here, at):
    here(ADD, token="a secret")
    assert midflight.load("lib.c", lane=at, token="a secret").add(1, 2) == 3
    assert midflight.load("lib.c", lane=at, token=b"a secret").add(1, 2) == 3
    for wrong in ("another", None):
        with pytest.raises(TokenError):
            midflight.load("lib.c", lane=at, token=wrong)


def test_a_server_that_does_not_know_the_token(here, at):
    here(ADD)
    with pytest.raises(TokenError, match="has no token"):
        midflight.load("lib.c", lane=at, token="a secret")


def test_an_empty_token_is_no_token_but_a_mistake(here, at):
    with pytest.raises(SourceError, match="empty"):
        here(ADD, token="")
    here(ADD)
    with pytest.raises(SourceError, match="empty"):
        midflight.load("lib.c", lane=at, token="")


def test_the_socket_is_its_owners(here, at):
    _, offer = here(ADD)
    path = Path(at.removeprefix("unix:"))
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir() if one.is_socket()] == ["s"]
    offer.stop()
    assert not path.exists()
    assert [one for one in path.parent.iterdir() if one.is_socket()] == []


def test_a_directory_that_others_write_to(here, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(SourceError, match="others may write"):
        here(ADD, f"unix:{shared}/s")
    shared.chmod(0o1777)
    here(ADD, f"unix:{shared}/s")
    with pytest.raises(SourceError, match="its directory can't be used"):
        here(ADD, f"unix:{tmp_path}/nowhere/s")


def test_a_stale_socket_is_replaced(here, at):
    path = at.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    assert Path(path).exists()
    here(ADD)
    assert midflight.load("lib.c", lane=at).add(1, 2) == 3


def test_a_live_socket_is_left_alone(here, at):
    module, _ = here(ADD)
    with pytest.raises(SourceError, match="listens there already"):
        midflight.offer(module, at)
    assert midflight.load("lib.c", lane=at).add(1, 2) == 3


def test_what_is_no_socket_is_left_alone(here, at):
    path = Path(at.removeprefix("unix:"))
    path.write_text("precious")
    with pytest.raises(SourceError, match="no socket"):
        here(ADD)
    assert path.read_text() == "precious"


def test_the_socket_of_a_successor_is_not_removed(here, at):
    _, offer = here(ADD)
    path = Path(at.removeprefix("unix:"))
    path.unlink()
    path.write_text("another's")
    offer.stop()
    assert path.read_text() == "another's"


def test_several_addresses_for_one_module(here, at):
    module, _ = here(ADD)
    with midflight.offer(module, "tcp::0") as second:
        assert midflight.load("lib.c", lane=second.address).add(1, 2) == 3
    assert midflight.load("lib.c", lane=at).add(1, 2) == 3


def test_wrong_options(here):
    for options in ({"threads": 0}, {"largest": 10}, {"largest": 1 << 40}):
        with pytest.raises(SourceError):
            here(ADD, **options)


def test_arguments_that_are_too_large(here, at):
    here("long first(const long *items) { return items[0]; }\n" + ADD, largest=8192)
    lib = midflight.load("lib.c", lane=at)
    with pytest.raises(midflight.ProtocolError, match="too long"):
        lib.first((ctypes.c_long * 2000)())
    assert lib.add(1, 2) == 3


def test_the_command(serve, tmp_path, at):
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    server = serve(source, at, "--allow-swap", env={"MIDFLIGHT_TOKEN": "from the environment"})
    calc = midflight.load("calc.c", lane=at, token="from the environment")
    assert calc.add(1, 2) == 3
    source.write_text(ADD.replace("a + b", "a * b"))
    midflight.swap(calc)
    assert calc.add(3, 4) == 12
    assert server.end() == 0
    assert not Path(at.removeprefix("unix:")).exists()


def test_the_command_with_a_token_in_a_file(serve, tmp_path, at):
    (tmp_path / "token").write_text("in a file\n")
    (tmp_path / "calc.c").write_text(ADD)
    serve(tmp_path / "calc.c", at, "--token-file", str(tmp_path / "token"))
    assert midflight.load("calc.c", lane=at, token="in a file").add(1, 2) == 3


def test_the_command_follows_its_source(serve, tmp_path, at):
    from tests.remote.conftest import swapped

    source = tmp_path / "calc.c"
    source.write_text(ADD)
    serve(source, at, "--watch")
    calc = midflight.load("calc.c", lane=at)
    assert calc.add(3, 4) == 7
    with swapped(calc):
        source.write_text(ADD.replace("a + b", "a * b"))
    assert calc.add(3, 4) == 12


def test_the_command_explains_what_is_wrong(tmp_path):
    (tmp_path / "calc.c").write_text(ADD)
    for arguments, words in (
        (["calc.c", "--at", "nowhere"], "no address"),
        (["none.c", "--at", "tcp::0"], "no such file"),
        (["calc.c", "--at", "tcp::0", "--token-file", "none"], "token can't be read"),
    ):
        command = [sys.executable, "-m", "midflight", "offer", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
