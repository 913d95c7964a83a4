"""Typed blocks that a new version makes before the data of the old one have come: in constructors, in midflight_loaded.

Would catch: such a block that is taken for one of the old version's, and migrated from a layout that it hasn't got.
"""

from __future__ import annotations

import pytest

import midflight

OLD = """
#include "midflight.h"
struct item { short value; };
struct item *items;
int init(void) { items = MF_NEW(struct item, 3); items[2].value = 7; return 0; }
int value(int i) { return items[i].value; }
"""

NEW = """
#include "midflight.h"
struct item { long weight; int value; };
struct item *items;
static struct item *own, *other;
__attribute__((constructor)) static void make(void)
{
    own = MF_NEW(struct item, 5);
    own[4].value = 9;
    own[4].weight = -1;
}
int midflight_loaded(void) { other = MF_NEW(struct item, 1); other->value = 11; return 0; }
int init(void) { return own[4].value + other->value; }
int value(int i) { return items[i].value; }
long weight(void) { return own[4].weight; }
"""


def test_they_are_left_alone(tmp_path, load) -> None:
    source = tmp_path / "early.c"
    source.write_text(OLD)
    module = load(source)
    module.init()
    source.write_text(NEW)
    midflight.swap(module)
    assert (module.value(2), module.init(), module.weight()) == (7, 20, -1)
    assert sorted(block.count for block in midflight.blocks(module)) == [1, 3, 5]


def test_they_go_if_the_swap_is_refused(tmp_path, load) -> None:
    source = tmp_path / "early.c"
    source.write_text(OLD)
    module = load(source)
    module.init()
    source.write_text(NEW.replace("return 0; }", "return 1; }", 1))
    with pytest.raises(midflight.HookError):
        midflight.swap(module)
    assert [block.count for block in midflight.blocks(module)] == [3]
    assert module.value(2) == 7
