"""What the doctor tells of a library, beside what really is in it.

Would catch: a needed library that is looked for in another order than the loader's, a symbol that is said to be
somebody else's, a variable whose fate is another in a swap, hardening that isn't there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from tests.conftest import Workshop

DATA = """
#include <mutex>
#include <string>
struct player { int id; float x; };
static player players[8];
int ticks = 3;
static const int limit = 4;
static std::string name = "none";
static thread_local int own;
struct open { int n; int more[]; };
extern "C" int tick() { static int calls; own++; name += "x"; players[calls & 7].id++; return ++calls + ticks + limit; }
"""


def test_needed_libraries_are_those_that_the_loader_takes(workshop: Workshop) -> None:
    workshop.library("libinner", "int inner(void) { return 1; }", "-Wl,-soname,libinner.so")
    (workshop.root / "sub").mkdir()
    (workshop.root / "libinner.so").rename(workshop.root / "sub/libinner.so")
    library = workshop.library(
        "outer", "#include <math.h>\nint inner(void); double f(double a) { return sin(a) + inner(); }",
        f"-L{workshop.root}/sub", "-linner", "-lm", "-Wl,-rpath,$ORIGIN/sub",
    )  # fmt: skip
    found = midflight.inspect(library)
    told = {one.name: one.path for one in found.needed}
    said = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    real = dict(re.findall(r"(\S+\.so\S*) => (\S+)", said))
    assert {name: os.path.realpath(path) for name, path in told.items() if name in real} == {
        name: os.path.realpath(path) for name, path in real.items()
    }
    assert set(real) <= set(told)
    assert found.runpath == ("$ORIGIN/sub",)
    owners = {one.name: one.found_in for one in found.undefined}
    assert (owners["inner"], owners["sin"]) == ("libinner.so", "libm.so.6")
    assert found.finding("origin") is not None


def test_the_run_paths_search_order(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """DT_RPATH, LD_LIBRARY_PATH, DT_RUNPATH."""
    for place in ("run", "path"):
        made = workshop.library("libplace", "int place(void) { return 1; }", "-Wl,-soname,libplace.so")
        (workshop.root / place).mkdir()
        shutil.copy(made, workshop.root / place / "libplace.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(workshop.root / "path"))
    for tag, expected in (("--enable-new-dtags", "path"), ("--disable-new-dtags", "run")):
        library = workshop.library(
            "user", "int place(void); int f(void) { return place(); }", str(made),
            f"-Wl,{tag},-rpath,{workshop.root}/run",
        )  # fmt: skip
        paths = {one.name: one.path for one in midflight.inspect(library).needed}
        assert paths["libplace.so"] == str(workshop.root / expected / "libplace.so")


def test_versions_of_libraries(workshop: Workshop) -> None:
    library = workshop.library("cxx", "#include <iostream>\nvoid f() { std::cout << 1; }", suffix=".cc")
    found = {one.wanted.split("_")[0]: one for one in midflight.inspect(library).versions}
    assert {"GLIBC", "GLIBCXX"} <= set(found)
    here = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    assert found["GLIBC"].here == f"GLIBC_{here}"
    assert all(one.there for one in found.values())


def test_variables_and_what_becomes_of_them(workshop: Workshop) -> None:
    library = workshop.library("data", DATA, suffix=".cc")
    judged = midflight.inspect(library)
    assert judged.finding("data-refused").symbols == ("name",)
    assert judged.finding("thread-local").symbols == ("own",)
    found = {one.name: one for one in judged.data.variables}
    assert "limit" not in found
    assert (found["players"].type, found["players"].size, found["players"].fate) == ("player[8]", 64, "carried")
    assert (found["ticks"].exported, found["ticks"].fate) == (True, "carried")
    assert (found["name"].fate, found["own"].fate) == ("refused", "left")
    assert found["calls"].fate == "carried"
    assert found["name"].why

    module = midflight.load(library)
    module.tick()
    with pytest.raises(midflight.StateError, match="name"):
        midflight.swap(module, workshop.library("later", DATA + "int later;", suffix=".cc"))
    midflight.unload(module)


def test_a_stripped_library_names_what_it_exports(workshop: Workshop) -> None:
    library = workshop.library("bare", "int shown[4] = {1}; static int hidden; int f(void) { return ++hidden; }", "-s")
    found = midflight.inspect(library)
    assert [(one.name, one.size, one.fate) for one in found.data.variables] == [("shown", 16, "left")]
    assert found.exports.undescribed == ("f",)
    assert found.debug.symbols is False


def test_padding_is_no_data(workshop: Workshop) -> None:
    """The start-up code's flag and what aligns the variable behind it lie before the first one."""
    text = "static struct { int x; long y; } one, two; int f(int n) { one.x += n; two.y += n; return one.x + two.y; }"
    found = midflight.inspect(workshop.library("aligned", text))
    assert (found.data.undescribed, found.finding("data-undescribed")) == (0, None)


def test_a_variable_that_the_compiler_has_split(workshop: Workshop) -> None:
    source = workshop.write(
        "split.c", "static struct { int x; long y; int z; } in; int f(int n) { return in.x += n + in.z++; }"
    )
    command = [sys.executable, "-m", "ziglang", "cc", "-g", "-O2", "-shared", "-fPIC"]  # clang, which does that
    subprocess.run([*command, "-o", workshop.root / "split.so", source], check=True)
    found = midflight.inspect(workshop.root / "split.so")
    assert found.finding("data-split").symbols == ("in",)
    assert [(one.name, one.size, one.fate) for one in found.data.variables] == [("in", 24, "left")]


def test_constructors_and_destructors(workshop: Workshop) -> None:
    text = "static int n; __attribute__((constructor)) static void begin(void) { n = 1; }"
    text += "__attribute__((destructor)) static void end(void) { n = 2; } int f(void) { return n; }"
    found = midflight.inspect(workshop.library("both", text))
    assert (found.constructors, found.destructors) == (("begin",), ("end",))
    packed = midflight.inspect(workshop.library("packed", text, "-Wl,-z,pack-relative-relocs"))
    assert len(packed.constructors) == len(packed.destructors) == 1


@pytest.mark.parametrize(
    ("flags", "state", "compressed"),
    [
        ((), "full", ""),
        (("-gz=zlib",), "full", "zlib"),
        (("-g0",), "none", ""),
        (("-gsplit-dwarf",), "split", ""),
    ],
)
def test_debug_information(flags: tuple[str, ...], state: str, compressed: str, workshop: Workshop) -> None:
    debug = midflight.inspect(workshop.library("lib", "int f(int a) { return a; }", *flags)).debug
    assert (debug.state, debug.compressed, debug.symbols) == (state, compressed, True)


def test_debug_information_in_another_file(workshop: Workshop) -> None:
    library = workshop.library("lib", "int f(int a) { return a; }")
    other = library.with_suffix(".debug")
    subprocess.run(["objcopy", "--only-keep-debug", library, other], check=True)
    subprocess.run(["objcopy", "--strip-debug", f"--add-gnu-debuglink={other}", library], check=True)
    debug = midflight.inspect(library).debug
    assert (debug.state, debug.separate) == ("separate", str(other))
    other.unlink()
    assert midflight.inspect(library).debug.separate is None


def test_a_part_without_debug_information(workshop: Workshop) -> None:
    bare = workshop.write("bare.c", "int counts[20]; int bare(void) { return counts[3]++; }")
    subprocess.run(["cc", "-O2", "-fPIC", "-c", "-o", workshop.root / "bare.o", bare], check=True)
    found = midflight.inspect(workshop.library("half", "int f(int a) { return a; }", str(workshop.root / "bare.o")))
    assert (found.debug.state, found.exports.undescribed) == ("partial", ("bare",))
    assert found.data.undescribed >= 80
    assert {"partly-described", "data-undescribed"} <= {one.name for one in found.findings}


def test_hardening(workshop: Workshop) -> None:
    text = "#include <stdio.h>\n#include <string.h>\nint f(const char *t) { char b[9]; strcpy(b, t); return puts(b); }"
    hard = ("-fstack-protector-all", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now")
    found = midflight.inspect(workshop.library("hard", text, *hard)).hardening
    assert (found.relro, found.bind_now, found.stack_protector) == ("full", True, True)
    assert "__strcpy_chk" in found.fortify
    assert not found.executable_stack
    soft = ("-fno-stack-protector", "-U_FORTIFY_SOURCE", "-Wl,-z,norelro,-z,lazy,-z,execstack")
    found = midflight.inspect(workshop.library("soft", text, *soft)).hardening
    assert (found.relro, found.bind_now, found.stack_protector, found.fortify) == ("none", False, False, ())
    assert found.executable_stack


def test_a_run_path_of_the_working_directory(workshop: Workshop) -> None:
    library = workshop.library("here", "int f(void) { return 1; }", "-Wl,-rpath,build")
    assert midflight.inspect(library).finding("relative-run-path") is not None


def test_soname_machine_and_class(workshop: Workshop) -> None:
    found = midflight.inspect(workshop.library("named", "int f(void) { return 1; }", "-Wl,-soname,libnamed.so.3"))
    assert (found.soname, found.bits, found.kind) == ("libnamed.so.3", 64, "library")
    assert found.machine == {"x86_64": "x86-64", "aarch64": "AArch64"}[os.uname().machine]
    assert found.size == Path(found.path).stat().st_size


def test_nothing_is_loaded_or_run(workshop: Workshop) -> None:
    text = (
        "#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); } int f(void) { return 1; }"
    )
    library = workshop.library("deadly", text)
    script = "import sys, midflight; midflight.inspect(sys.argv[1]); print('deadly' in open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", script, library], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_go_package(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        return
    (tmp_path / "go.mod").write_text("module example.com/calc\n\ngo 1.21\n")
    (tmp_path / "calc.go").write_text(
        "package calc\n\nvar Count int\n\nfunc Add(a, b int) int { Count++; return a + b }\n"
    )
    found = midflight.inspect(tmp_path)
    assert (found.verdict, found.kind) == ("needs a worker", "Go host")
    assert found.finding("go-package").severity == "worker"
    assert "Add" in {one.name for one in found.exports.functions}


def test_the_interpreter_itself_is_no_extension(workshop: Workshop) -> None:
    text = "int Py_InitializeFromConfig(void) { return 1; } int PyInit__ast(void) { return 2; }"
    found = midflight.inspect(workshop.library("libpython", text))
    assert (found.verdict, found.kind) == ("swappable", "library")
    assert found.finding("python-interpreter").severity == "warning"


def test_the_cxx_runtime_itself_has_no_thread_local_destructors(workshop: Workshop) -> None:
    """It is what others register theirs with."""
    user = workshop.library("user", "#include <iostream>\nvoid f() { std::cout << 1; }", suffix=".cc")
    runtime = next(one.path for one in midflight.inspect(user).needed if one.name.startswith("libstdc++"))
    assert midflight.inspect(runtime).finding("thread-destructors") is None
