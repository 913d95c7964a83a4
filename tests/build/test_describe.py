"""Would catch: input that is no source and gets a traceback, a hang or a wrong reading instead of a clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midflight import _errors as errors
from midflight.build import describe, files
from midflight.build.describe import module_name
from midflight.build.go import GoSource


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("calc.c", "calc"),
        ("libengine.so", "engine"),
        ("libfoo.so.1.2", "foo"),
        ("lib.so", "lib"),
        ("calc-2.so", "calc_2"),
        ("2d.c", "_2d"),
        ("class.cpp", "class_"),
        ("my.rules.cc", "my_rules"),
        ("calc.cpython-311-x86_64-linux-gnu.so", "calc"),
        ("либ.c", "либ"),
    ],
)
def test_names(file: str, name: str) -> None:
    assert module_name(Path(file)) == name


def test_missing() -> None:
    with pytest.raises(errors.SourceNotFoundError, match="no such file") as caught:
        describe("nowhere/calc.c")
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.subject == "nowhere/calc.c"


def test_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "calc.so").symlink_to("gone.so")
    with pytest.raises(errors.SourceNotFoundError, match="symbolic link"):
        describe(tmp_path / "calc.so")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty", "", "is empty"),
        ("notes.txt", "hello", "aren't known"),
        ("notes", "hello", "neither a source"),
        ("calc.h", "int add(int, int);", "header"),
        ("calc.py", "x = 1", "Python"),
    ],
)
def test_files_that_are_no_source(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(errors.SourceError, match=words) as caught:
        describe(path)
    assert caught.value.todo
    assert caught.value.subject == str(path)


def test_directories(tmp_path: Path) -> None:
    with pytest.raises(errors.SourceError, match=r"without a Cargo\.toml"):
        describe(tmp_path)
    (tmp_path / "go.mod").write_text("module x\n")
    assert isinstance(describe(tmp_path), GoSource)
    assert isinstance(describe(tmp_path / "go.mod"), GoSource)
    (tmp_path / "calc.go").write_text("package main\n")
    assert describe(tmp_path / "calc.go").name == "calc"


@pytest.mark.parametrize("name", ["pipe.so", "pipe.c", "pipe"])
def test_a_pipe_never_blocks(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(errors.SourceError, match="pipe"):
        describe(path)


def test_a_pipe_that_takes_the_place_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "calc.so"
    path.write_bytes(b"\x7fELF")
    described = describe(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(errors.SourceError, match="pipe"):
        described.resolve()
    assert not described.changed()


def test_devices_are_no_files() -> None:
    with pytest.raises(errors.SourceError, match="device"):
        describe("/dev/zero")


@pytest.mark.parametrize("source", [3, ["calc.c", 3], b"calc.c", "", "a\0b", [], None, object()])
def test_what_is_no_path(source: object) -> None:
    with pytest.raises(errors.SourceError):
        describe(source)  # type: ignore[arg-type]


def test_several_that_do_not_go_together(tmp_path: Path) -> None:
    for name in ("a.c", "b.rs"):
        (tmp_path / name).write_text("")
    with pytest.raises(errors.SourceError, match="several sources"):
        describe([tmp_path / "a.c", tmp_path / "b.rs"])
    with pytest.raises(errors.SourceError, match="twice"):
        describe([tmp_path / "a.c", tmp_path / "a.c"])


@pytest.mark.parametrize("flags", [3, [3], "'", ["-o", "x"], "-c"])
def test_bad_flags(tmp_path: Path, flags: object) -> None:
    (tmp_path / "a.c").write_text("")
    with pytest.raises(errors.SourceError):
        describe(tmp_path / "a.c", flags=flags)  # type: ignore[arg-type]


def test_build_and_artifact_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("")
    with pytest.raises(errors.SourceError, match="without artifact="):
        describe(None, build="make")
    with pytest.raises(errors.SourceError, match="without build="):
        describe(tmp_path / "a.c", artifact="liba.so")
    for build in ("", [], [3], "'"):
        with pytest.raises(errors.SourceError, match="command"):
            describe(None, build=build, artifact="liba.so")  # type: ignore[arg-type]
    with pytest.raises(errors.SourceNotFoundError):
        describe(tmp_path / "gone.d", build="make", artifact="liba.so")


# ---- ready libraries


def test_ready_library(tmp_path: Path) -> None:
    path = tmp_path / "libcalc.so.1.2"
    path.write_bytes(b"\x7fELF one")
    described = describe(path)
    artifact = described.resolve()
    assert (described.name, artifact.read(), artifact.origin) == ("calc", b"\x7fELF one", tmp_path)
    times = path.stat()
    path.write_bytes(b"\x7fELF two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert described.changed()
    assert described.resolve().read() == b"\x7fELF two"
    assert artifact.read() == b"\x7fELF one"
    path.unlink()
    assert artifact.read() == b"\x7fELF one"
    assert described.missing() == {path}
    with pytest.raises(errors.SourceNotFoundError):
        described.resolve()


def test_library_without_a_known_name(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_bytes(b"\x7fELF")
    assert describe(path).resolve().read() == b"\x7fELF"


def test_library_name_with_other_content_is_left_to_inspection(tmp_path: Path) -> None:
    path = tmp_path / "libtext.so"
    path.write_text("this is text")
    assert describe(path).resolve().read() == b"this is text"


def test_reading_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file grows after its size was taken, twice; the bytes that come back are those of the end."""
    path = tmp_path / "libcalc.so"
    path.write_bytes(b"part")
    growth = [b"more", b"last"]
    real = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if growth:
            with path.open("ab") as other:
                other.write(growth.pop(0))
        return status

    monkeypatch.setattr(files.os, "fstat", growing)
    data = files.read_stable(path)
    assert data == b"partmorelast"


def test_reading_what_is_always_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "libcalc.so"
    path.write_bytes(b"part")
    monkeypatch.setattr(files, "_read_once", lambda *_: None)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    with pytest.raises(errors.SourceError, match="being written"):
        files.read_stable(path)


# ---- build commands


def test_build_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builds: list[str]) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "engine.c").write_text("int f(void) { return 1; }\n")
    (engine / "Makefile").write_text("libengine.so: engine.c\n\tcc -shared -fPIC -g -o $@ $<\n")
    monkeypatch.chdir(tmp_path)
    described = describe("engine/engine.c", build="make -C engine libengine.so", artifact="engine/libengine.so")
    monkeypatch.chdir("/")
    first = described.resolve()
    assert (described.name, first.origin) == ("engine", engine)
    assert described.inputs() == {engine / "engine.c", engine / "libengine.so"}
    assert not described.changed()
    assert described.resolve().sha256 == first.sha256
    (engine / "engine.c").write_text("int f(void) { return 2; }\n")
    os.utime(engine / "engine.c", (2e9, 2e9))
    assert described.changed()
    assert described.resolve().sha256 != first.sha256
    assert len(builds) == 3


def test_build_command_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine.c").write_text("int f(void) { return }\n")
    (tmp_path / "Makefile").write_text("libengine.so: engine.c\n\tcc -shared -fPIC -o $@ $<\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.BuildError) as caught:
        describe(None, build=["make", "libengine.so"], artifact="libengine.so").resolve()
    assert (caught.value.diagnostics[0].file, caught.value.diagnostics[0].line) == (str(tmp_path / "engine.c"), 1)
    assert caught.value.command == ("make", "libengine.so")


def test_build_command_without_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.BuildError, match="isn't there"):
        describe(None, build="true", artifact="libengine.so").resolve()
    with pytest.raises(errors.BuildError, match="can't be started"):
        describe(None, build="no-such-command-anywhere", artifact="libengine.so").resolve()
    with pytest.raises(errors.BuildError, match="status 1"):
        describe(None, build="false", artifact="libengine.so").resolve()
    with pytest.raises(errors.BuildError, match="signal 9"):
        describe(None, build=["sh", "-c", "kill -9 $$"], artifact="libengine.so").resolve()
