"""Would catch: the wrong compiler, one that was replaced unnoticed, and other languages that don't build."""

from __future__ import annotations

import os
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


# ---- Rust


def test_rust_file(tmp_path: Path, builds: list[str]) -> None:
    source, module = tmp_path / "engine.rs", tmp_path / "helper.rs"
    source.write_text('mod helper;\n#[no_mangle]\npub extern "C" fn f(x: i32) -> i32 { x + helper::K }\n')
    described = describe(source)
    with pytest.raises(errors.BuildError) as caught:
        described.resolve()
    assert (caught.value.diagnostics[0].line, caught.value.diagnostics[0].column) == (1, 1)
    assert "E0583" in caught.value.diagnostics[0].message
    assert module in described.inputs()
    module.write_text("pub const K: i32 = 1;\n")
    assert described.changed()
    assert run(described.resolve().path, "f", 1) == 2
    assert described.resolve().cached
    times = module.stat()
    module.write_text("pub const K: i32 = 2;\n")
    os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(described.resolve().path, "f", 1) == 3
    assert len(builds) == 3


def test_rust_variable_that_the_source_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "engine.rs"
    source.write_text('#[no_mangle]\npub extern "C" fn f() -> usize { env!("WORD").len() }\n')
    for word in ("four", "seventh"):
        monkeypatch.setenv("WORD", word)
        assert run(describe(source).resolve().path, "f") == len(word)


def project(root: Path) -> Path:
    (root / "src").mkdir(parents=True)
    (root / "Cargo.toml").write_text(
        '[package]\nname = "my-engine"\nversion = "0.1.0"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\n'
    )
    (root / "src" / "lib.rs").write_text('mod k;\n#[no_mangle]\npub extern "C" fn f(x: i32) -> i32 { x + k::K }\n')
    (root / "src" / "k.rs").write_text("pub const K: i32 = 1;\n")
    return root


def test_cargo_project(tmp_path: Path, builds: list[str]) -> None:
    root = project(tmp_path / "engine")
    described = describe(root)
    assert described.name == "my_engine"
    assert run(described.resolve().path, "f", 1) == 2
    assert {root / "Cargo.toml", root / "src" / "lib.rs", root / "src" / "k.rs"} <= described.inputs()
    assert describe(root / "Cargo.toml").resolve().cached
    assert not (root / "target").exists()
    assert len(builds) == 1


def test_cargo_does_not_overlook_a_change_with_the_same_time(tmp_path: Path) -> None:
    root = project(tmp_path / "engine")
    module = root / "src" / "k.rs"
    described = describe(root)
    described.resolve()
    times = module.stat()
    module.write_text("pub const K: i32 = 5;\n")
    os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert described.changed()
    assert run(described.resolve().path, "f", 1) == 6


def test_cargo_error(tmp_path: Path) -> None:
    root = project(tmp_path / "engine")
    (root / "src" / "k.rs").write_text("pub const K: i32 = nothing;\n")
    described = describe(root)
    with pytest.raises(errors.BuildError) as caught:
        described.resolve()
    first = caught.value.diagnostics[0]
    assert (first.file, first.line, first.severity) == (str(root / "src" / "k.rs"), 1, "error")
    assert "nothing" in caught.value.output
    assert root / "src" / "k.rs" in described.inputs()


def test_cargo_project_without_a_cdylib(tmp_path: Path) -> None:
    root = project(tmp_path / "engine")
    text = (root / "Cargo.toml").read_text()
    (root / "Cargo.toml").write_text(text.replace("cdylib", "rlib"))
    with pytest.raises(errors.BuildError, match="cdylib") as caught:
        describe(root).resolve()
    assert "crate-type" in caught.value.todo


def test_cargo_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text("this is not TOML")
    with pytest.raises(errors.BuildError) as caught:
        describe(tmp_path).resolve()
    assert "Cargo.toml" in caught.value.output


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
