"""Would catch a pointer that leads to another function, variable or text after the move, or one given up too soon."""

from __future__ import annotations

import subprocess

import pytest

from midflight.artifact.dwarf import reader as dwarf
from midflight.artifact.elf import Elf
from midflight.artifact.symbol_table import read_names
from midflight.state.layout import Layouts
from midflight.state.match import match
from midflight.state.symbols import Symbols, Translation

OLD = """
struct item {short n; int price;};
char lone[3]; int speed = 3; static int table[4] = {1, 2, 3, 4}; static struct item items[3]; long wide[2]; int last;
static int tick(int x) { static int count; return count += x; }
int tock(int x) { return x * 3; }
int gone(int x) { return x * 5; }
int (*handlers[])(int) = {tick, tock, gone};
const char *names[] = {"goblin", "ogre", "lost for ever", "in the middle"};
static const double weights[] = {1.5, 2.5}; const double *weight = &weights[1];
int sum(int i) { return speed + table[i]++ + items[i].n++ + wide[i] + last; }
"""
NEW = """
int before(int x) { return x - 1; }
struct item {int price; short n; char more[34];};
char pad[100], lone[3]; int last; long wide[2]; static struct item items[5];
static int table[6] = {1, 2, 3, 4}; int speed = 3;
int tock(int x) { return x * 4; }
static int tick(int x) { static int count; return count += x * 2; }
int (*handlers[])(int) = {before, tick, tock};
const char *names[] = {"a text before", "ogre", "goblin", "right in the middle"};
static const double weights[] = {1.5, 2.5}; const double *weight = &weights[1];
int sum(int i) { return speed + table[i]++ + items[i].n++ + wide[i] + last; }
"""


class Sides:
    """Two versions, and the way between their addresses."""

    def __init__(self, old: bytes, new: bytes) -> None:
        before, after = dwarf.read(old), dwarf.read(new)
        self.old, self.new = Symbols(old, before), Symbols(new, after)
        self._before = {one.name: one.address for one in before.variables}
        self._after = {one.name: one.address for one in after.variables}
        self._names = [{one.name: one.address for one in read_names(Elf(data))} for data in (old, new)]
        self.way = Translation(self.old, self.new, Layouts(before, after), match(before, after))

    def variable(self, name: str, offset: int = 0) -> tuple[str, int] | None:
        """Translate an address within a variable; return the new variable's name and the offset."""
        found = self.way.translate(self._before[name] + offset)
        return None if found is None else self.name_of(found, name)

    def name_of(self, address: int, name: str) -> tuple[str, int]:
        return name, address - self._after[name]

    def function(self, name: str, offset: int = 0) -> bool | None:
        """Tell whether a function leads to the one of its name; None: it leads nowhere."""
        found = self.way.translate(self._names[0][name] + offset)
        return None if found is None else found == self._names[1][name]

    def text(self, said: bytes) -> bytes | None:
        """Translate the address of a text; return what is said there."""
        found = self.way.translate(self.old.texts.find(said))
        return None if found is None else self.new.texts.at(found)


@pytest.fixture
def sides(compile_library):
    return Sides(compile_library(OLD, "-O2", name="game"), compile_library(NEW, "-O2", name="game"))


def test_functions(sides):
    assert sides.function("tick") is True
    assert sides.function("tock") is True
    assert sides.function("gone") is None
    assert sides.function("tick", 1) is None


def test_variables(sides):
    assert sides.variable("speed") == ("speed", 0)
    assert sides.variable("table", 8) == ("table", 8)
    assert sides.variable("lone", 3) == ("lone", 3)  # one past its end, where nothing else begins
    assert sides.variable("items", 8 + 4) == ("items", 40)
    assert sides.variable("items", 8) == ("items", 40)  # the second item, not its first field


def test_a_table_that_is_constant(sides):
    assert sides.variable("weights", 8) == ("weights", 8)


def test_texts(sides):
    assert sides.text(b"goblin") == b"goblin"
    assert sides.text(b"ogre") == b"ogre"
    assert sides.text(b"lost for ever") is None
    assert sides.text(b"in the middle") == b"in the middle"  # the end of another one now
    assert sides.way.translate(sides.old.texts.find(b"goblin") + 3) == sides.new.texts.find(b"goblin") + 3


def test_what_lies_there_has_a_name(sides):
    old = sides._before
    assert sides.old.name(old["table"] + 8) == "the variable table + 8"
    assert sides.old.name(sides._names[0]["tick"]) == "the function tick"
    assert sides.old.name(sides.old.texts.find(b"goblin")) == 'the text "goblin"'
    assert sides.old.name(0x10).startswith("address 0x10")


def test_vtables(compile_library):
    text = (
        "struct a {{ virtual int f(); {} int x; }}; int a::f() {{ return {}; }} a one; int use() {{ return one.f(); }}"
    )
    old = compile_library(text.format("", 1), compiler="g++")
    new = compile_library(text.format("virtual int g() { return 3; }", 2), compiler="g++")
    sides = Sides(old, new)
    start, now = sides._names[0]["_ZTV1a"], sides._names[1]["_ZTV1a"]
    assert sides.way.translate(start + 16) == now + 16
    assert sides.old.name(start + 16) == "the vtable _ZTV1a + 16"


def _two_files(directory, first: str, second: str) -> bytes:
    for name, text in (("first", first), ("second", second)):
        (directory / f"{name}.c").write_text(text)
    command = ["gcc", "-g", "-fPIC", "-shared", "-o", "out.so", "first.c", "second.c"]
    subprocess.run(command, check=True, cwd=directory)
    return (directory / "out.so").read_bytes()


def test_private_functions_of_one_name(tmp_path):
    text = "static int tick(int x) {{ return x + {0}; }} int (*{1})(int) = tick;"
    old = _two_files(tmp_path, text.format(1, "a"), text.format(2, "b"))
    new = _two_files(tmp_path, "int more = 1;" + text.format(3, "a"), text.format(4, "b"))
    before, after = Symbols(old, dwarf.read(old)), Symbols(new, dwarf.read(new))
    way = Translation(before, after, Layouts(dwarf.read(old), dwarf.read(new)), match(dwarf.read(old), dwarf.read(new)))
    places = [{one.file: one.address for one in read_names(Elf(data)) if one.name == "tick"} for data in (old, new)]
    assert {file: way.translate(address) for file, address in places[0].items()} == places[1]


def test_a_stripped_library_has_its_exported_names(compile_library, tmp_path):
    whole = compile_library(OLD, "-O2", name="game")
    (tmp_path / "out.so").write_bytes(whole)
    subprocess.run(["strip", "out.so"], check=True, cwd=tmp_path)
    names = {one.name for one in read_names(Elf((tmp_path / "out.so").read_bytes()))}
    assert {"tock", "speed"} <= names
    assert "tick" not in names
