"""Would catch: the wrong compiler, one that was replaced unnoticed, and other languages that don't build."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from midflight import _errors as errors
from midflight.build import describe, process
from midflight.build.compiler import find_compiler

ADD = "int add(int a, int b) { return a + b; }\n"


def wrapper(path: Path, log: Path, note: str = "") -> Path:
    """Write a compiler that notes its calls and passes them on."""
    path.write_text(f'#!/bin/sh\n# {note}\necho "$*" >> {log}\nexec cc "$@"\n')
    path.chmod(0o755)
    return path


def calls(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_one_call_for_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, source = tmp_path / "log", tmp_path / "calc.c"
    monkeypatch.setenv("CC", f"{wrapper(tmp_path / 'mycc', log)} -DEXTRA=1")
    source.write_text("int f(void) { return EXTRA; }\n")
    described = describe(source)
    described.resolve()
    assert [call.split()[:2] for call in calls(log)] == [["-DEXTRA=1", "--version"], ["-DEXTRA=1", "-g"]]
    described.resolve()
    source.write_text("int f(void) { return EXTRA + 1; }\n")
    described.resolve()
    assert len(calls(log)) == 3


def test_a_replaced_compiler_builds_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, source = tmp_path / "log", tmp_path / "calc.c"
    monkeypatch.setenv("CC", str(wrapper(tmp_path / "mycc", log)))
    source.write_text(ADD)
    described = describe(source)
    described.resolve()
    text = (tmp_path / "mycc").read_text()
    (tmp_path / "mycc").write_text(text.replace("exec", "[ $1 = --version ] && echo 2; exec"))
    assert not described.resolve().cached
    assert len(calls(log)) == 4


@pytest.mark.parametrize("value", ["no-such-compiler-anywhere", "'", "/etc/passwd"])
def test_compiler_variable_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    (tmp_path / "calc.c").write_text(ADD)
    monkeypatch.setenv("CC", value)
    described = describe(tmp_path / "calc.c")
    with pytest.raises(errors.CompilerNotFoundError, match="CC") as caught:
        described.resolve()
    assert "CC" in caught.value.todo
    assert not described.changed()


def test_compiler_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calc.c").write_text(ADD)
    monkeypatch.setenv("CC", shutil.which("false") or "false")
    with pytest.raises(errors.CompilerNotFoundError, match="status 1"):
        describe(tmp_path / "calc.c").resolve()


def test_ziglang_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler("c").command == (sys.executable, "-m", "ziglang", "cc")
    assert find_compiler("c++").command == (sys.executable, "-m", "ziglang", "c++")


def test_no_compiler_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (tmp_path / "calc.c").write_text(ADD)
    with pytest.raises(errors.CompilerNotFoundError) as caught:
        describe(tmp_path / "calc.c").resolve()
    assert "midflight[zig]" in caught.value.todo


def test_compilers_speak_english_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCC_COLORS", "error=01;31")
    env = process.environment({})
    assert (env["LC_ALL"], "GCC_COLORS" in env) == ("C.UTF-8", False)
    outcome = process.run(["printf", "\\033[31mred\\033[0m\\r\\n"], cwd=Path("/"))
    assert outcome.output == "red\n"


@pytest.mark.parametrize("name", ["engine.rs", "Cargo.toml"])
def test_no_rust_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    for variable in ("RUSTC", "CARGO"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / name).write_text("")
    described = describe(tmp_path / name)
    with pytest.raises(errors.CompilerNotFoundError, match="Rust") as caught:
        described.resolve()
    assert "install Rust" in caught.value.todo
    assert not described.changed()


# ---- Zig


def test_zig_file(tmp_path: Path, builds: list[str]) -> None:
    source, other = tmp_path / "engine.zig", tmp_path / "other.zig"
    source.write_text('const other = @import("other.zig");\nexport fn f(x: i32) i32 {\n    return x + other.k;\n}\n')
    other.write_text("pub const k: i32 = 1;\n")
    described = describe(source)
    artifact = described.resolve()
    assert run(artifact.path, "f", 1) == 2
    dumped = subprocess.run(["readelf", "-S", str(artifact.path)], check=True, capture_output=True, text=True).stdout
    assert ".debug_info" in dumped
    assert described.inputs() == {source, other}
    assert described.resolve().cached
    other.write_text("pub const k: i32 = 2;\n")
    assert run(described.resolve().path, "f", 1) == 3
    other.write_text("pub const k: i32 = ;\n")
    with pytest.raises(errors.BuildError) as caught:
        described.resolve()
    assert (caught.value.diagnostics[0].file, caught.value.diagnostics[0].line) == (str(other), 1)
    assert len(builds) == 3


def run(library: Path, name: str, *arguments: int) -> int:
    """Call a function in a process of its own, so that nothing stays loaded here."""
    text = ", ".join(map(str, arguments))
    code = f"import ctypes; print(ctypes.CDLL({str(library)!r}).{name}({text}))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
