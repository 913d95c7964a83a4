"""numpy's types for structs, compared with what the compiler has made of them.

Would catch a field that numpy sees elsewhere than the library, or with another size.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from midflight.artifact.ctypes_types import CTypes
from midflight.artifact.dtypes import dtype_of
from midflight.artifact.dwarf import reader as dwarf
from midflight.artifact.type_names import canonical, find_type

SOURCE = r"""
#include <stdbool.h>
#include <stdint.h>
enum colour { RED = -1, GREEN };
struct inner { char tag; double value; };
struct outer {
    bool flag; int8_t small; uint16_t medium; long large; float single; char name[7]; char letter;
    struct inner inner, pair[2]; int grid[2][3]; enum colour colour; void *anything; struct outer *next;
    unsigned low : 3, high : 12; long double wide; union { int number; float real; }; union { char c; long l; } other;
};
struct __attribute__((packed)) packed { char one; int four; short two; };
struct tail { int count; struct inner items[]; };
struct opaque;
typedef struct { short x; } point_t;
typedef point_t place;
struct outer outer; struct packed packed; struct tail *tail; struct opaque *opaque; place where; unsigned short plain;
"""


@pytest.fixture(scope="module")
def interface(compile_library):
    return dwarf.read(compile_library(SOURCE, "-w"))


def dtype(interface, name):
    found = find_type(interface, name)
    return dtype_of(found.interface, found.type_id)


@pytest.mark.parametrize("name", ["outer", "packed", "inner", "tail"])
def test_every_field_is_where_the_compiler_put_it(interface, name) -> None:
    found = find_type(interface, f"struct {name}")
    record, wanted = dtype_of(interface, found.type_id), CTypes(interface).of(found.type_id)
    assert record.itemsize == ctypes.sizeof(wanted)
    plain = [field for field in interface.strip(found.type_id).fields if field.name and field.bit_size is None]
    for field in plain:
        if field.name in record.names:
            assert record.fields[field.name][1] == field.offset


def test_the_kinds_of_fields(interface) -> None:
    fields = {name: str(kind[0]) for name, kind in dtype(interface, "struct outer").fields.items()}
    expected = {
        "flag": "bool", "small": "int8", "medium": "uint16", "large": "int64", "single": "float32", "name": "|S7",
        "letter": "int8", "grid": "('<i4', (2, 3))", "colour": "int32", "anything": "uint64", "next": "uint64",
        "low": "|V1", "high": "|V2", "wide": "|V16", "number": "int32", "real": "float32",
    }  # fmt: skip
    assert expected.items() <= fields.items()


def test_nested_fields_share_the_memory(interface) -> None:
    outer = np.zeros(2, dtype(interface, "struct outer"))
    outer["pair"]["value"][1, 1] = 2.5
    outer["number"][0] = 0x3F800000
    assert outer["pair"][1]["value"].tolist() == [0.0, 2.5]
    assert outer["real"][0] == 1.0
    outer["other"]["l"][0] = 65
    assert outer["other"]["c"][0] == 65


def test_a_flexible_array_is_no_field(interface) -> None:
    assert dtype(interface, "struct tail").names == ("count",)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("struct inner", "struct inner"),
        (" const  struct inner ", "struct inner"),
        ("point_t", "point_t"),
        ("place", "point_t"),
        ("struct inner *", "struct inner *"),
        ("struct inner**", "struct inner * *"),
        ("unsigned", "uint32"),
        ("long unsigned int", "uint64"),
        ("short", "int16"),
        ("signed char", "int8"),
        ("long long", "int64"),
        ("char", "char"),
        ("double", "float64"),
        ("_Bool", "bool8"),
    ],
)
def test_names(interface, name, same) -> None:
    found = find_type(interface, name)
    assert canonical(found.interface, found.type_id) == same


@pytest.mark.parametrize("name", ["", "struct", "struct nobody", "inner", "void", "signed unsigned", "*", "long short"])
def test_names_of_nothing(interface, name) -> None:
    assert find_type(interface, name) is None


def test_classes_are_named_with_and_without_their_keyword(compile_library) -> None:
    text = "struct player { int hp; }; namespace ns { class box { public: int a; }; } player p; ns::box b;"
    interface = dwarf.read(compile_library(text, "-w", compiler="g++"))
    for name, size in (("player", 4), ("struct player", 4), ("ns::box", 4), ("class ns::box *", 8)):
        assert dtype(interface, name).itemsize == size
