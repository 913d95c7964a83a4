"""Would catch a pause that has in it what could have been found out before, or an address that nobody planned for."""

from __future__ import annotations

import pytest

import midflight
from midflight import moving
from midflight.build import Artifact
from midflight.build.headers import HEADERS
from midflight.state.layout import Layouts
from midflight.state.shapes import ShapeTable

_HEADER = f"-I{HEADERS}"

KEEPING = """
#include <midflight.h>
#ifdef WIDER
struct unit { long id; struct unit *next; int added; };
#else
struct unit { int id; struct unit *next; };
#endif
static struct unit *units;
static int (*rule)(int);
static struct { int low, high; } range;
static int twice(int a) { return a * 2 + range.low; }
void start(void) { units = MF_NEW(struct unit, 3); units[1].next = units; units->id = 7; rule = twice; range.low = 1; }
long use(int a) { return rule(a) + units[1].next->id; }
"""

HIDING = """
#include <stdint.h>
static uintptr_t word;
static int add(int a) { return a + NUMBER; }
void start(void) { word = (uintptr_t)add; }
int use(int a) { return ((int (*)(int))word)(a); }
"""


@pytest.fixture
def worked_out(monkeypatch):
    """What is worked out, and which files are read, while data move."""
    found, inside = [], []

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*arguments, **options):
            if inside:
                found.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    def begin_move(*arguments, original=moving.begin_move):
        inside.append(True)
        try:
            return original(*arguments)
        finally:
            inside.clear()

    for owner, name in ((Artifact, "read"), (Layouts, "_migration"), (ShapeTable, "_find")):
        watch(owner, name)
    monkeypatch.setattr(moving, "begin_move", begin_move)
    return found


def test_types_and_symbols_are_looked_at_before_callers_have_to_wait(workshop, load, worked_out):
    module = load(workshop.library("one", KEEPING, _HEADER))
    module.start()
    assert module.use(1) == 10
    report = midflight.swap(module, workshop.library("two", f"#define WIDER\n{KEEPING}", _HEADER))
    assert {row.what for row in report.state} == {"carried", "migrated"}
    assert module.use(1) == 10
    assert worked_out == []


def test_an_integer_that_holds_an_address_follows_it(workshop, load):
    module = load(workshop.library("one", f"#define NUMBER 1\n{HIDING}"))
    module.start()
    midflight.swap(module, workshop.library("two", f"#define NUMBER 2\n{HIDING}"))
    assert module.use(1) == 3
