"""Would catch a rename that is misread or ignored in silence, and a library whose renames do harm."""

from __future__ import annotations

import pytest

from midflight.state import renames

_OLD = """
struct player {int hp; struct {int deep;};}; typedef struct {int a;} thing; enum mode {SLOW, FAST};
struct player p; thing t; enum mode m; int counter; static int hidden;
int use(void) { static int count; return counter + ++hidden + ++count + p.hp + t.a + m; }
"""
_NEW = """
struct person {int health; int deeper;}; typedef struct {int b;} item; enum mode {CALM, FAST};
struct person p; item t; enum mode m; int hits; static int hidden;
int use(void) { static int calls; return hits + ++hidden + ++calls + p.health + t.b + m; }
"""


def _section(text: str) -> str:
    lines = f'__asm__(".pushsection midflight_renames,\\"\\",@progbits\\n{text}\\n.popsection");'
    return _NEW + lines


@pytest.mark.parametrize(
    ("pair_", "fields", "types", "variables"),
    [
        (("player.hp", "person.health"), {("player", "hp"): "health"}, {}, {}),
        (("struct player.hp", "struct person.health"), {("player", "hp"): "health"}, {}, {}),
        (("player.deep", "person.deeper"), {("player", "deep"): "deeper"}, {}, {}),
        (("thing.a", "item.b"), {("thing", "a"): "b"}, {}, {}),
        (("mode.SLOW", "mode.CALM"), {("mode", "SLOW"): "CALM"}, {}, {}),
        (("struct player", "struct person"), {}, {"player": "person"}, {}),
        (("player", "person"), {}, {"player": "person"}, {}),
        (("thing", "item"), {}, {"thing": "item"}, {}),
        (("counter", "hits"), {}, {}, {"counter": "hits"}),
        (("game.c:use.count", "game.c:use.calls"), {}, {}, {"game.c:use.count": "game.c:use.calls"}),
    ],
)
def test_what_is_renamed(read, pair_, fields, types, variables):
    found = renames.resolve([pair_], read(_OLD), read(_NEW))
    assert (found.fields, found.types, found.variables, found.warnings) == (fields, types, variables, ())
    back = renames.resolve(renames.reversed_pairs([pair_]), read(_NEW), read(_OLD))
    assert back.warnings == ()


@pytest.mark.parametrize(
    ("pair_", "said"),
    [
        (("nothing", "hits"), "the old version has nothing of that name"),
        (("counter", "nothing"), "the new version has nothing of that name"),
        (("counter", "struct person"), "the two aren't of one kind"),
    ],
)
def test_a_rename_that_names_nothing_is_a_warning(read, pair_, said):
    found = renames.resolve([pair_], read(_OLD), read(_NEW))
    assert said in found.warnings[0]


def test_the_source_says_them(compile_library):
    data = compile_library(_section('.asciz \\"a\\"\\n.asciz \\"b\\"\\n.zero 5\\n.asciz \\"c.d\\"\\n.asciz \\"e.f\\"'))
    assert renames.read(data) == ([("a", "b"), ("c.d", "e.f")], [])
    assert renames.read(compile_library(_NEW)) == ([], [])


@pytest.mark.parametrize(
    ("text", "count", "warned"),
    [
        ('.asciz \\"alone\\"', 0, "has no new name"),
        ('.ascii \\"unfinished\\"', 0, "has no new name"),
        ('.rept 5000\\n.asciz \\"a\\"\\n.asciz \\"b\\"\\n.endr', 4096, "more than 4096"),
        ('.fill 5000, 1, 65\\n.byte 0\\n.asciz \\"b\\"', 0, ""),
        (".fill 2000000, 1, 65", 0, "longer than 1 MiB"),
        (".byte 255, 254, 0, 253, 0", 1, ""),
    ],
)  # fmt: skip
def test_whatever_lies_there_does_no_harm(compile_library, text, count, warned):
    pairs, warnings = renames.read(compile_library(_section(text)))
    assert len(pairs) == count
    assert warned in "; ".join(warnings)


@pytest.fixture
def read(compile_library):
    from midflight.artifact.dwarf import reader

    return lambda text: reader.read(compile_library(text, name="game"))
