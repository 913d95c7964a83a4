"""Structs that end in a flexible array.

Would catch: elements that keep their old layout behind a head that has moved, pointers into them that lead astray.
"""

from __future__ import annotations

import pytest

import midflight

SOURCE = """
#include "midflight.h"
struct item ITEM;
struct packet PACKET;
static struct packet *packet, **list;
static struct item *third;
void init(void)
{
    packet = MF_NEW_FLEX(struct packet, items, 5);
    packet->length = 5;
    for (int i = 0; i < 5; i++) {
        packet->items[i].number = i * 10;
        packet->items[i].next = &packet->items[(i + 1) % 5];
    }
    third = &packet->items[3];
    list = MF_NEW(struct packet *, 2);
    list[1] = packet;
}
int number(int i) { return packet->items[i].number; }
int next(int i) { return packet->items[i].next->number; }
int third_number(void) { return third->number; }
int length(void) { return list[1]->length; }
void set(int i, int to) { packet->items[i].number = to; }
"""
ITEM, PACKET = "{ int number; struct item *next; }", "{ short length; struct item items[]; }"


@pytest.fixture
def save(tmp_path):
    """Save the source with these structs."""

    def save(item: str = ITEM, packet: str = PACKET):
        path = tmp_path / "packets.c"
        path.write_text(SOURCE.replace("ITEM", item).replace("PACKET", packet))
        return path

    return save


def _data(module) -> tuple:
    numbers, followers = [module.number(i) for i in range(5)], [module.next(i) for i in range(5)]
    return numbers, followers, module.third_number(), module.length()


def test_both_parts_move(save, load) -> None:
    module = load(save())
    module.init()
    before = _data(module)
    assert before == ([0, 10, 20, 30, 40], [10, 20, 30, 40, 0], 30, 5)
    new_item = "{ struct item *next; double weight; long number; }"
    report = midflight.swap(module, save(new_item, "{ long id; long length; struct item items[]; }"))
    assert _data(module) == before
    assert "items[].number: int is long now" in str(report.state)
    midflight.rollback(module)
    assert _data(module) == before


def test_an_element_whose_number_doesnt_fit_is_named(save, load) -> None:
    module = load(save())
    module.init()
    module.set(2, 300)
    with pytest.raises(midflight.StateError, match=r"packet\.items\[2\]\.number: 300 does not fit signed char"):
        midflight.swap(module, save("{ signed char number; struct item *next; }"))
    assert module.number(2) == 300
