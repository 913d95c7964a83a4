"""What ``record=`` keeps of real calls.

Would catch: a value that can't be sent to another process or means nothing there; a buffer as it was after the call; a
sample that grows without bound; a share that isn't one; text that nobody can encode.
"""

from __future__ import annotations

import ctypes
import enum
import gc
import weakref

import msgspec
import numpy as np
import pytest

import midflight
from midflight._control import control_of
from midflight._samples import Buffer, Record, Sample, samples_of, slots_of

SOURCE = """
#include <stdlib.h>
#include <string.h>
struct point { int x, y; };
struct node { struct node *next; int value; };
enum colour { RED, GREEN = 7 };
int add(int a, int b) { return a + b; }
double half(double x) { return x / 2; }
void store(int *to, int x) { to[0] = x; }
int first(const int *from) { return from ? from[0] : -1; }
int get_x(const struct point *p) { return p->x; }
void move(struct point *p) { p->x += 1; }
struct point make(int x) { struct point p = {x, -x}; return p; }
int take(struct point p) { return p.x * 10 + p.y; }
enum colour next(enum colour c) { return c == RED ? GREEN : RED; }
long length(const char *text) { return text ? (long)strlen(text) : -1; }
const char *name(int i) { return i == 0 ? 0 : i == 1 ? "one" : "\\xff"; }
int list(const struct node *n) { return n->value; }
struct node *new_node(void) { return 0; }
int call(int (*f)(int), int x) { return f(x); }
int texts(const char **t) { return t != 0; }
unsigned long size(const void *p, unsigned long n) { return p ? n : 0; }
"""


@pytest.fixture
def module(workshop, load):
    return load(workshop.library("kept", SOURCE), record=1.0)


def kept(module, name: str) -> list[Sample]:
    return [sample for sample in samples_of(control_of(module)) if sample.function == name]


def left_out(module, name: str) -> int:
    control = control_of(module)
    found = control.need_current().observer.figures()
    return sum(found[slot][3] for slot in slots_of(control, control.need_current())[name] if slot in found)


# ---- values ----------------------------------------------------------------------------------------------------------


class Ten(enum.IntEnum):
    """What stands for a number."""

    TEN = 10


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("add", (2, 3), Sample("add", (2, 3), 5)),
        ("add", (Ten.TEN, np.int64(3)), Sample("add", (10, 3), 13)),
        ("half", (3,), Sample("half", (3,), 1.5)),
        ("half", (np.float32(3),), Sample("half", (3.0,), 1.5)),
        ("first", (None,), Sample("first", (None,), -1)),
        ("first", (np.array([5, 6], np.int32),), Sample("first", (Buffer(b"\5\0\0\0\6\0\0\0", "i"),), 5)),
        ("first", (ctypes.c_int(9),), Sample("first", (Buffer(b"\x09\0\0\0", "i"),), 9)),
        ("next", (0,), Sample("next", (0,), 7)),
        ("length", ("grün",), Sample("length", ("grün",), 5)),
        ("length", (b"abc",), Sample("length", (Buffer(b"abc", ""),), 3)),
        ("length", (None,), Sample("length", (None,), -1)),
        ("name", (1,), Sample("name", (1,), "one")),
        ("name", (0,), Sample("name", (0,), None)),
        ("make", (3,), Sample("make", (3,), Record("point", b"\3\0\0\0\xfd\xff\xff\xff"))),
        ("size", (bytearray(b"xyz"), 3), Sample("size", (Buffer(b"xyz"), 3), 3)),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, tuple)) else "",
)
def test_plain_values_are_kept(module, name, arguments, expected) -> None:
    getattr(module, name)(*arguments)
    assert kept(module, name) == [expected]
    assert type(kept(module, name)[0].arguments[0]) is type(expected.arguments[0])
    encoded = msgspec.msgpack.encode(kept(module, name))
    assert msgspec.msgpack.decode(encoded, type=list[Sample]) == [expected]


def test_a_buffer_is_kept_as_it_was_before_and_as_it_is_after(module) -> None:
    array = np.array([1, 2], np.int32)
    module.store(array, 9)
    before, after = bytes.fromhex("0100000002000000"), bytes.fromhex("0900000002000000")
    assert kept(module, "store") == [Sample("store", (Buffer(before, "i"), 9), None, "", ((0, after),))]
    array[0] = 5
    assert kept(module, "store")[0].written == ((0, after),)


def test_structs_are_kept_by_name(module) -> None:
    types = midflight.types(module)
    point = types.point(1, 2)
    module.move(point)
    module.get_x(point)
    module.get_x((types.point * 2)(types.point(7, 8)))
    module.take(types.point(4, 5))
    one, two = b"\1\0\0\0\2\0\0\0", b"\2\0\0\0\2\0\0\0"
    assert kept(module, "move") == [Sample("move", (Record("point", one),), None, "", ((0, two),))]
    assert kept(module, "get_x")[0].arguments == (Record("point", two),)
    assert kept(module, "get_x")[1] == Sample("get_x", (Record("point", b"\7\0\0\0\x08\0\0\0" + bytes(8)),), 7)
    assert kept(module, "take") == [Sample("take", (Record("point", b"\4\0\0\0\5\0\0\0"),), 45)]


def test_arguments_by_name_are_kept_in_their_order(module) -> None:
    module.add(b=3, a=2)
    assert kept(module, "add") == [Sample("add", (2, 3), 5)]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.list(midflight.types(m).node(None, 3)),
        lambda m: m.new_node(),
        lambda m: m.call(lambda x: x, 1),
        lambda m: m.texts(None),
        lambda m: m.name(2),
        lambda m: m.first(np.zeros(20_000, np.int32)),
        lambda m: m.length("x" * 70_000),
    ],
    ids=["struct with a pointer", "pointer", "callback", "pointers", "no UTF-8", "large array", "long text"],
)
def test_what_means_nothing_elsewhere_is_only_counted(module, call) -> None:
    call(module)
    assert samples_of(control_of(module)) == ()
    names = ["list", "new_node", "call", "texts", "name", "first", "length"]
    assert sum(left_out(module, name) for name in names) == 1


def test_a_callers_mistake_is_neither_kept_nor_left_out(module) -> None:
    for arguments in (("x", 1), (1,), (2**40, 1)):
        with pytest.raises((TypeError, OverflowError)):
            module.add(*arguments)
    assert samples_of(control_of(module)) == ()
    module.add(1, 1)
    assert len(kept(module, "add")) == 1


def test_what_the_version_raises_is_kept_and_what_a_callback_raises_is_not(workshop, load) -> None:
    source = '#include <new>\nextern "C" int fail(int x) { if (x) throw std::bad_alloc(); return 0; }'
    module = load(workshop.library("failing", source, suffix=".cc"), record=1.0)
    with pytest.raises(midflight.NativeExceptionError):
        module.fail(1)
    assert kept(module, "fail") == [Sample("fail", (1,), None, "NativeExceptionError")]


# ---- how many --------------------------------------------------------------------------------------------------------


def test_of_each_function_so_many_from_all_its_calls(module) -> None:
    for i in range(5_000):
        module.add(i, 0)
    module.half(1.0)
    numbers = sorted(sample.arguments[0] for sample in kept(module, "add"))
    assert len(numbers) == len(set(numbers)) == 32
    assert numbers[8] < 2_500 < numbers[-8], "from the whole time, not from its beginning or its end"
    assert len(kept(module, "half")) == 1


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_the_share_is_one(workshop, load, share) -> None:
    module = load(
        workshop.library("shared", "int same(int x) { return x; }\nint rare(int x) { return x; }"), record=share
    )
    module.rare(0)
    assert len(kept(module, "rare")) == 1, "a function that is hardly ever called has a sample, too"
    for i in range(round(32 / share)):
        module.same(i)
    chosen = [sample.arguments[0] for sample in kept(module, "same")]
    assert abs(len(chosen) - 32) <= 2


def test_nothing_is_kept_unless_it_was_asked_for(workshop, load) -> None:
    module = load(workshop.library("plain", "int same(int x) { return x; }"))
    module.same(1)
    control = control_of(module)
    assert samples_of(control) == ()
    assert control.need_current().table.observer is None


@pytest.mark.parametrize("share", [-0.1, 1.1, "much", True, float("nan")])
def test_a_share_that_is_none_is_refused(workshop, load, share) -> None:
    with pytest.raises(midflight.SourceError, match="record="):
        load(workshop.library("plain", "int same(int x) { return x; }"), record=share)


def test_each_version_has_samples_of_its_own(workshop, load) -> None:
    one, two = (workshop.library(f"v{i}", f"int same(int x) {{ return x * {i}; }}") for i in (1, 2))
    module = load(one, record=1.0)
    module.same(5)
    midflight.swap(module, two)
    assert samples_of(control_of(module)) == ()
    module.same(6)
    assert kept(module, "same") == [Sample("same", (6,), 12)]
    midflight.unload(module)
    assert samples_of(control_of(module)) == ()


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_nothing_is_held_but_copies(module) -> None:
    class Array(np.ndarray):
        pass

    array = np.zeros(4, np.int32).view(Array)
    gone = weakref.ref(array)
    buffer = bytearray(8)
    module.store(array, 1)
    module.size(buffer, 8)
    buffer.extend(b"x")  # which an export that is still held would refuse
    del array
    gc.collect()
    assert gone() is None
    assert len(kept(module, "store")) == 1
