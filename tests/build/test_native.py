"""Would catch: C and C++ that doesn't build, a change that is missed, a build that is repeated, a lost diagnostic."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from midflight import _errors as errors
from midflight.build import Artifact, Source, describe, progress
from midflight.build import native as native_module

if TYPE_CHECKING:
    from pathlib import Path

ADD = "int add(int a, int b) { return a + b; }\n"


def call(artifact: Artifact, name: str, *arguments: int) -> int:
    """Call an int function of the built library in a process of its own, so that nothing stays loaded here."""
    code = f"import ctypes; print(ctypes.CDLL({str(artifact.path)!r}).{name}{arguments!r})"
    if len(arguments) == 1:
        code = code.replace(",))", "))")
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def sections(artifact: Artifact) -> str:
    return subprocess.run(["readelf", "-SWs", str(artifact.path)], check=True, capture_output=True, text=True).stdout


def there(described: Source) -> set[Path]:
    """Return the inputs that exist; those that don't are places where a header would be found first."""
    return {path for path in described.inputs() if path.exists()}


def test_c_source(tmp_path: Path, builds: list[str]) -> None:
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    described = describe(source)
    assert described.name == "calc"
    artifact = described.resolve()
    assert call(artifact, "add", 2, 3) == 5
    assert (artifact.cached, artifact.origin, builds) == (False, tmp_path, [str(source)])
    assert ".debug_info" in sections(artifact)
    assert len(artifact.read()) == artifact.path.stat().st_size


def test_same_bytes_are_built_once(tmp_path: Path, builds: list[str]) -> None:
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    first = describe(source).resolve()
    second = describe(source).resolve()
    assert (second.sha256, second.cached, len(builds)) == (first.sha256, True, 1)
    source.write_text(ADD + "int more;\n")
    other = describe(source).resolve()
    assert (other.sha256 == first.sha256, other.cached) == (False, False)
    source.write_text(ADD)
    assert describe(source).resolve().cached
    assert len(builds) == 2


def test_equal_mtime_and_size_hide_nothing(tmp_path: Path) -> None:
    header, source = tmp_path / "k.h", tmp_path / "calc.c"
    header.write_text("#define K 1\n")
    source.write_text('#include "k.h"\nint k(int x) { return x + K; }\n')
    described = describe(source)
    assert call(described.resolve(), "k", 0) == 1
    times = header.stat()
    header.write_text("#define K 2\n")
    os.utime(header, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert described.changed()
    assert call(described.resolve(), "k", 0) == 2
    assert not described.changed()


def test_headers_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "inc dir").mkdir()
    far, near = tmp_path / "inc dir" / "far #1$.h", tmp_path / "near.h"
    far.write_text("#define FAR 1\n")
    near.write_text("#include <far #1$.h>\n")
    source = tmp_path / "calc.c"
    source.write_text('#include <stdio.h>\n#include "near.h"\nint f(int x) { return x + FAR; }\n')
    described = describe(source, flags=["-I", str(tmp_path / "inc dir")])
    described.resolve()
    assert there(described) == {source, near, far}
    far.write_text("#define FAR 10\n")
    assert call(described.resolve(), "f", 1) == 11


def test_header_named_through_a_macro(tmp_path: Path) -> None:
    header, source = tmp_path / "k.h", tmp_path / "calc.c"
    header.write_text("#define K 1\n")
    source.write_text('#define NAME "k.h"\n#include NAME\nint k(int x) { return x + K; }\n')
    described = describe(source)
    described.resolve()
    assert there(described) == {source, header}
    header.write_text("#define K 5\n")
    assert call(described.resolve(), "k", 0) == 5


def test_new_header_that_comes_first_is_noticed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "second" / "k.h").write_text("#define K 2\n")
    source = tmp_path / "calc.c"
    source.write_text("#include <k.h>\nint k(int x) { return x + K; }\n")
    described = describe(source, flags=["-I", str(tmp_path / "first"), f"-I{tmp_path / 'second'}"])
    assert call(described.resolve(), "k", 0) == 2
    (tmp_path / "first" / "k.h").write_text("#define K 1\n")
    assert described.changed()
    assert call(described.resolve(), "k", 0) == 1


def test_has_include_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text(
        '#if __has_include("k.h")\n#include "k.h"\n#else\n#define K 1\n#endif\nint k(int x) { return x + K; }\n'
    )
    described = describe(source)
    assert call(described.resolve(), "k", 0) == 1
    (tmp_path / "k.h").write_text("#define K 2\n")
    assert call(described.resolve(), "k", 0) == 2


def test_failed_build_says_all(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text("int add(int a, int b)\n{\n    return a + c;\n}\n")
    with pytest.raises(errors.BuildError) as caught:
        describe(source).resolve()
    error = caught.value
    first = next(diagnostic for diagnostic in error.diagnostics if diagnostic.severity == "error")
    assert (first.file, first.line) == (str(source), 3)
    assert "undeclared" in first.message
    assert "return a + c;" in error.output
    assert "\x1b" not in error.output
    assert str(source) in error.command
    assert f"{source}:3" in str(error)


def test_missing_header_is_waited_for(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text('#include "inner/k.h"\nint k(int x) { return x + K; }\n')
    described = describe(source)
    with pytest.raises(errors.BuildError):
        described.resolve()
    header = tmp_path / "inner" / "k.h"
    assert header in described.inputs()
    assert not described.changed()
    header.parent.mkdir()
    header.write_text("#define K 1\n")
    assert described.changed()
    assert call(described.resolve(), "k", 1) == 2


def test_broken_header_is_still_an_input(tmp_path: Path) -> None:
    header, source = tmp_path / "k.h", tmp_path / "calc.c"
    source.write_text(ADD)
    described = describe(source)
    described.resolve()
    source.write_text('#include "k.h"\n' + ADD)
    header.write_text("#error not yet\n")
    with pytest.raises(errors.BuildError, match="not yet"):
        described.resolve()
    assert header in described.inputs()
    header.write_text("\n")
    assert described.changed()


def test_several_sources(tmp_path: Path, builds: list[str]) -> None:
    (tmp_path / "both.h").write_text("#define ONE 1\n")
    one, two = tmp_path / "one.cpp", tmp_path / "two.c"
    one.write_text('#include <string>\n#include "both.h"\nextern "C" int twice(int);\n'
                   'extern "C" int f(int x) { return twice(x) + ONE + (int)std::string("ab").size(); }\n')  # fmt: skip
    two.write_text('#include "both.h"\nint twice(int x) { return x + x; }\n')
    described = describe([one, two])
    assert described.name == "one"
    assert call(described.resolve(), "f", 5) == 13
    assert there(described) == {one, two, tmp_path / "both.h"}
    assert len(builds) == 3
    builds.clear()
    two.write_text('#include "both.h"\nint twice(int x) { return 3 * x; }\n')
    assert call(described.resolve(), "f", 5) == 18
    assert builds == [str(two), described.display]
    builds.clear()
    assert described.resolve().cached
    assert builds == []


def test_error_in_one_of_several(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.c", tmp_path / "bad.c"
    good.write_text(ADD)
    bad.write_text("int f(void) { return }\n")
    with pytest.raises(errors.BuildError) as caught:
        describe([good, bad]).resolve()
    assert caught.value.diagnostics[0].file == str(bad)


def test_linker_error_has_a_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one.c", tmp_path / "two.c"
    one.write_text(ADD)
    two.write_text("\n\n" + ADD)
    with pytest.raises(errors.BuildError, match="multiple definition") as caught:
        describe([one, two]).resolve()
    assert (str(two), 3) in {(found.file, found.line) for found in caught.value.diagnostics}


def test_calls_inside_stay_inside(tmp_path: Path) -> None:
    """Without -Bsymbolic, `outer` of the second library would call `inner` of the first, which is global."""
    source = tmp_path / "calc.c"
    text = "int inner(void) { return VERSION; }\nint outer(void) { return inner(); }\n"
    source.write_text("#define VERSION 1\n" + text)
    first = describe(source, flags=["-O0"]).resolve()
    source.write_text("#define VERSION 2\n" + text)
    second = describe(source, flags=["-O0"]).resolve()
    code = (
        f"import ctypes; ctypes.CDLL({str(first.path)!r}, mode=ctypes.RTLD_GLOBAL);"
        f"print(ctypes.CDLL({str(second.path)!r}).outer())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "2\n"


def test_no_unique_symbols(tmp_path: Path) -> None:
    source = tmp_path / "calc.cpp"
    source.write_text(
        "template <class T> struct S { static inline int n = 0; };\n"
        'extern "C" int f(int x) { return S<int>::n += x; }\n'
    )
    assert "UNIQUE" not in sections(describe(source).resolve())


def test_library_flags_reach_the_linker(tmp_path: Path) -> None:
    helper = tmp_path / "helper.c"
    helper.write_text("int helper(void) { return 40; }\n")

    def archive() -> None:
        subprocess.run(["cc", "-fPIC", "-c", "helper.c"], cwd=tmp_path, check=True)
        subprocess.run(["ar", "rcs", "libhelper.a", "helper.o"], cwd=tmp_path, check=True)

    archive()
    source = tmp_path / "calc.c"
    source.write_text("int helper(void);\nint f(int x) { return helper() + x; }\n")
    described = describe(source, flags=f"-L{tmp_path} -lhelper -Wl,-z,defs")
    assert call(described.resolve(), "f", 2) == 42
    assert there(described) == {source, tmp_path / "libhelper.a"}
    helper.write_text("int helper(void) { return 50; }\n")
    archive()
    assert described.changed()
    assert call(described.resolve(), "f", 2) == 52


def test_flags_belong_to_the_key(tmp_path: Path, builds: list[str]) -> None:
    source = tmp_path / "calc.c"
    source.write_text("int f(int x) { return x + K; }\n")
    assert call(describe(source, flags=["-DK=1"]).resolve(), "f", 0) == 1
    assert call(describe(source, flags=["-DK=2"]).resolve(), "f", 0) == 2
    assert call(describe(source, flags="-DK=1").resolve(), "f", 0) == 1
    assert len(builds) == 2


def test_environment_belongs_to_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "k.h").write_text(f"#define K {name}\n")
    source = tmp_path / "calc.c"
    source.write_text("#include <k.h>\nint f(int x) { return x + K; }\n")
    for name in ("1", "2"):
        monkeypatch.setenv("CPATH", str(tmp_path / name))
        assert call(describe(source).resolve(), "f", 0) == int(name)


def test_relative_paths_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "k.h").write_text("#define K 7\n")
    (tmp_path / "calc.c").write_text("#include <k.h>\nint f(int x) { return x + K; }\n")
    monkeypatch.chdir(tmp_path)
    described = describe("calc.c", flags=["-Iinc"])
    monkeypatch.chdir("/")
    assert call(described.resolve(), "f", 0) == 7
    assert described.display == "calc.c"


def test_concurrent_builds_of_the_same_run_once(tmp_path: Path, builds: list[str]) -> None:
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    barrier = threading.Barrier(8)

    def resolve(_: int) -> str:
        described = describe(source)
        barrier.wait()
        return described.resolve().sha256

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(resolve, range(8)))) == 1
    assert len(builds) == 1


def test_save_during_the_build_is_not_taken_for_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builds: list[str]
) -> None:
    """A header changes while the compiler runs: the result must not be remembered as made from the new text."""
    header, source = tmp_path / "k.h", tmp_path / "calc.c"
    header.write_text("#define K 1\n")
    source.write_text('#include "k.h"\nint k(int x) { return x + K; }\n')
    run = native_module.process.run

    def run_then_save(command: tuple[str, ...], *, cwd: Path, subject: str = "") -> object:
        outcome = run(command, cwd=cwd, subject=subject)
        if len(builds) == 1 and "-MD" in command:
            header.write_text("#define K 2\n")
        return outcome

    monkeypatch.setattr(native_module.process, "run", run_then_save)
    described = describe(source)
    assert call(described.resolve(), "k", 0) == 2
    assert not described.changed()
    assert len(builds) == 2


def test_warnings_survive_the_cache(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text("int f(void) { int unused; return 1; }\n")
    first = describe(source, flags=["-Wall"]).resolve()
    second = describe(source, flags=["-Wall"]).resolve()
    assert second.cached
    assert first.warnings == second.warnings
    assert "unused" in first.warnings[0]
    assert first.warnings[0].startswith(f"{source}:1:")


def test_source_that_vanishes(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    described = describe(source)
    described.resolve()
    source.unlink()
    assert described.missing() == {source}
    with pytest.raises(errors.SourceNotFoundError):
        described.resolve()
    assert not described.changed()
    source.write_text(ADD)
    assert described.changed()
    assert described.missing() == frozenset()


def test_progress_of_a_failed_build(tmp_path: Path) -> None:
    source = tmp_path / "calc.c"
    source.write_text("int f(\n")
    events: list[progress.Event] = []
    stop = progress.listen(events.append)
    with pytest.raises(errors.BuildError):
        describe(source).resolve()
    stop()
    start, end = events
    assert isinstance(start, progress.Started)
    assert isinstance(end, progress.Finished)
    assert (start.number, end.succeeded) == (end.number, False)


def test_zig_as_c_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -m ziglang cc")
    source = tmp_path / "calc.c"
    source.write_text(ADD)
    artifact = describe(source).resolve()
    assert call(artifact, "add", 2, 3) == 5
    assert ".debug_info" in sections(artifact)


def test_ctypes_is_the_reference(tmp_path: Path) -> None:
    source = tmp_path / "calc.cc"
    source.write_text('extern "C" long long f(long long x) { return x * 2; }\n')
    library = ctypes.CDLL(str(describe(source).resolve().path))
    library.f.restype, library.f.argtypes = ctypes.c_longlong, [ctypes.c_longlong]
    assert library.f(1 << 40) == 1 << 41
