"""Would catch a pointer that the search misses, or an object of a changed layout that it doesn't stop at."""

from __future__ import annotations

import ctypes

import pytest

from midflight import _core
from midflight.state.layout import Layouts
from midflight.state.shapes import ShapeTable
from tests.state.conftest import type_of

LOW, HIGH = 0x10000, 0x20000


class Search:
    """Looks for pointers in a variable of the old version."""

    def __init__(self, pair) -> None:
        self.old = pair.old
        self.table = ShapeTable(Layouts(pair.old, pair.new))
        self._kept = []

    def memory(self, *words: int, size: int = 0) -> ctypes.Array:
        """Return memory that lives as long as the test."""
        made = (ctypes.c_uint64 * max(len(words), size // 8))(*words)
        self._kept.append(made)
        return made

    def run(self, name: str, *words: int) -> _core.Trace:
        number = self.table.number(type_of(self.old, name))
        shapes = self.table.build()
        at = ctypes.addressof(self.memory(*words))
        return _core.trace(shapes, [(at, at, number, 1)], LOW, HIGH)

    def ways(self, found: _core.Trace, name: str = "v") -> dict[int, str]:
        return {value: self.table.way(name, via) for value, _, via in found.image}


@pytest.fixture
def search(pair):
    return lambda old, new=None, compiler="gcc": Search(pair(old, new or old, compiler))


def test_pointers_are_found_wherever_they_are(search):
    looking = search("""
        #include <stdint.h>
        struct in {long pad; void (*f)(int); const char *text;};
        struct {struct in in[2]; union {long a; void *p;} u; uintptr_t word; unsigned char raw[16]; long number;} v;
    """)
    words = [0, LOW, LOW + 1, 0, LOW + 2, LOW + 3, LOW + 4, LOW + 5, 0, LOW + 6, LOW + 7]
    assert looking.ways(looking.run("v", *words)) == {
        LOW: "v.in[0].f", LOW + 1: "v.in[0].text", LOW + 2: "v.in[1].f", LOW + 3: "v.in[1].text",
        LOW + 4: "v.u", LOW + 5: "v.word", LOW + 6: "v.raw",
    }  # fmt: skip


def test_a_list_is_followed(search):
    looking = search("struct node {struct node *next; const char *name;}; struct {struct node *head;} v;")
    last = looking.memory(0, LOW + 8)
    first = looking.memory(ctypes.addressof(last), 0)
    found = looking.run("v", ctypes.addressof(first))
    assert looking.ways(found) == {LOW + 8: "v.head->next->name"}
    assert found.objects == 2
    assert found.foreign == []


def test_an_object_whose_layout_changes_is_told(search):
    old = "struct node {struct node *next; int hp;}; struct same {int a;}; struct {struct node *n; struct same *s;} v;"
    looking = search(old, old.replace("int hp", "long hp"))
    node, same = looking.memory(0, 0), looking.memory(0)
    found = looking.run("v", ctypes.addressof(node), ctypes.addressof(same))
    assert [(value, looking.table.spell(shape)) for value, shape, _, _ in found.foreign] == [
        (ctypes.addressof(node), "struct node")
    ]


def test_a_number_that_a_typedef_makes_another_is_told(search):
    looking = search("typedef int hp; hp *v;", "typedef long hp; hp *v;")
    found = looking.run("v", ctypes.addressof(looking.memory(5)))
    assert len(found.foreign) == 1


def test_virtual_tables_of_objects_elsewhere_are_found(search):
    looking = search("struct a { virtual int f() { return x; } int x; }; a *v; void use() { v = new a; }", None, "g++")
    thing = looking.memory(LOW + 16, 3)
    assert list(looking.ways(looking.run("v", ctypes.addressof(thing)))) == [LOW + 16]


def test_what_is_opaque_or_void_is_left_alone(search):
    looking = search("struct hidden; struct {struct hidden *h; void *p;} v;")
    other = ctypes.addressof(looking.memory(LOW))
    found = looking.run("v", other, other)
    assert (found.objects, found.image) == (0, [])
