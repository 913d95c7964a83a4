"""Libraries that need other libraries: beside themselves, by run path, the C++ runtime.

Would catch: a private copy that looks for its neighbours in the wrong place, a neighbour that is given to the loader
unchecked or stays mapped, an old neighbour in use without a word.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

import midflight
from midflight._directory import private

# The loader knows a library by its name, wherever it lies: each test's libraries have names of their own.
USER = "int other(void); int answer(int n) {{ return n + other() + {0}; }}"
OTHER = "static int kept = {0}; int other(void) {{ return kept; }} int set_other(int n) {{ return kept = n; }}"


def called(workshop, name: str = "other") -> str:
    return f"{name}_{re.sub(r'[^a-z0-9]', '_', workshop.root.name)}"


def beside(workshop, where: str, *flags: str, soname: bool, number: int = 10) -> Path:
    """A library that needs another, which lies in the directory ``where`` from it."""
    name = called(workshop)
    directory = (workshop.root / "top" / "app" / where).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"-Wl,-soname,lib{name}.so"] if soname else []
    made = workshop.library(f"lib{name}", OTHER.format(number), *names)
    made.rename(directory / made.name)
    rpath = "$ORIGIN" if where == "." else f"$ORIGIN/{where}"
    library = workshop.library("user", USER.format(0), f"-L{directory}", f"-l{name}", f"-Wl,-rpath,{rpath}", *flags)
    home = workshop.root / "top" / "app"
    home.mkdir(exist_ok=True)
    return library.rename(home / "user.so")


def maps() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("soname", [True, False], ids=["soname", "no soname"])
@pytest.mark.parametrize("where", [".", "lib", "../lib", "../../lib/./deep", "sub/../lib"])
def test_a_neighbour(workshop, where, soname):
    (workshop.root / "top" / "app" / "sub").mkdir(parents=True)
    module = midflight.load(beside(workshop, where, soname=soname))
    assert module.answer(1) == 11


@pytest.mark.parametrize("tags", ["-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"], ids=["RUNPATH", "RPATH"])
def test_a_neighbours_neighbour(workshop, tags):
    lib = workshop.root / "lib"
    (lib / "deep").mkdir(parents=True)
    names = [called(workshop, name) for name in ("other", "third")]
    third = workshop.library(f"lib{names[1]}", "int third(void) { return 3; }")
    third = third.rename(lib / "deep" / third.name)
    text = "int third(void); int other(void) { return 10 * third(); }"
    flags = [f"-L{third.parent}", f"-l{names[1]}", "-Wl,-rpath,$ORIGIN/deep", tags]
    other = workshop.library(f"lib{names[0]}", text, *flags)
    other = other.rename(lib / other.name)
    flags = [f"-L{lib}", f"-l{names[0]}", f"-Wl,-rpath-link,{third.parent}", "-Wl,-rpath,${ORIGIN}/lib", tags]
    path = workshop.library("user", USER.format(0), *flags)
    module = midflight.load(path)
    assert module.answer(1) == 31
    assert str(third) in maps()
    assert midflight.unload(module).status == "unloaded"
    assert str(third) not in maps()
    assert str(other) not in maps()


def test_neighbours_leave_with_their_version(workshop):
    module = midflight.load(beside(workshop, "lib", soname=True), name="leaving")
    version = midflight.versions(module)[0]
    directory = Path(version.path)
    assert directory.is_file()
    assert midflight.unload(module).status == "unloaded"
    assert called(workshop) not in maps()
    assert not [one for one in private._path.iterdir() if one.name.startswith("leaving.")]


def test_a_neighbour_is_shared_with_the_program(workshop):
    """The host's own objects: one library, whoever loaded it."""
    path = beside(workshop, ".", soname=False)
    host = ctypes.CDLL(str(path.parent / f"lib{called(workshop)}.so"))
    module = midflight.load(path)
    host.set_other(500)
    assert module.answer(1) == 501


def test_versions_share_a_neighbour(workshop):
    path = beside(workshop, ".", soname=True)
    module = midflight.load(path)
    directory = path.parent
    new = workshop.library("new", USER.format(1000), f"-L{directory}", f"-l{called(workshop)}", "-Wl,-rpath,$ORIGIN")
    report = midflight.swap(module, new.rename(directory / "new.so"))
    assert module.answer(1) == 1011
    assert (report.old.status, report.warnings) == ("unloaded", ())


def test_an_old_neighbour_is_named(workshop, caplog):
    """The loader keeps the library that it has under a name; old code in use must not go unnoticed."""
    path = beside(workshop, ".", soname=True)
    module = midflight.load(path)
    directory = path.parent
    name = f"lib{called(workshop)}.so"
    workshop.library("fresh", OTHER.format(77), f"-Wl,-soname,{name}").replace(directory / name)
    flags = (f"-L{directory}", f"-l{called(workshop)}", "-Wl,-rpath,$ORIGIN")
    report = midflight.swap(module, workshop.library("new", USER.format(1000), *flags).rename(directory / "new.so"))
    assert module.answer(1) == 1011  # the old neighbour, as plain dlopen would
    (warning,) = report.warnings
    assert f"{name} has changed" in warning
    assert "new name" in warning
    assert warning in caplog.text  # a load has no report; its words are in the log
    assert midflight.unload(module).status == "unloaded"
    module = midflight.load(path)
    assert module.answer(1) == 78


def test_a_corrupt_neighbour(workshop, refused, running):
    path = beside(workshop, ".", soname=False)
    other = path.parent / f"lib{called(workshop)}.so"
    other.write_bytes(other.read_bytes()[:3000])
    with refused(midflight.BadLibraryError, called(workshop), "rebuild this library first"):
        midflight.swap(running, path, compat="any")


def test_a_missing_neighbour(workshop, refused, running):
    path = beside(workshop, ".", soname=False)
    (path.parent / f"lib{called(workshop)}.so").unlink()
    with refused(midflight.MissingLibraryError, called(workshop)):
        midflight.swap(running, path, compat="any")


def test_an_absolute_run_path(workshop):
    directory = workshop.root / "elsewhere"
    directory.mkdir()
    name = called(workshop)
    made = workshop.library(f"lib{name}", OTHER.format(10))
    made.rename(directory / made.name)
    path = workshop.library("user", USER.format(0), f"-L{directory}", f"-l{name}", f"-Wl,-rpath,{directory}")
    assert midflight.load(path).answer(1) == 11


def test_a_library_that_needs_the_cxx_runtime(workshop):
    text = """
    #include <map>
    #include <string>
    #include <stdexcept>
    static std::map<std::string, int> table{{"one", 1}, {"two", 2}};
    extern "C" int look_up(const char *name)
    {
        try { return table.at(name); } catch (const std::out_of_range &) { return -1; }
    }
    """
    paths = [workshop.library(f"x{n}", text + f"int version{n};", suffix=".cc") for n in (1, 2)]
    module = midflight.load(paths[0])
    for n in range(20):
        assert (module.look_up("two"), module.look_up("three")) == (2, -1)
        assert midflight.swap(module, paths[(n + 1) % 2]).old.status == "unloaded"
