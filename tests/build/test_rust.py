"""Would catch: Rust files and Cargo projects that don't build, a change that is missed, a lost diagnostic."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from midflight import _errors as errors
from midflight.build import describe

if TYPE_CHECKING:
    from pathlib import Path


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


def run(library: Path, name: str, *arguments: int) -> int:
    """Call a function in a process of its own, so that nothing stays loaded here."""
    text = ", ".join(map(str, arguments))
    code = f"import ctypes; print(ctypes.CDLL({str(library)!r}).{name}({text}))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
