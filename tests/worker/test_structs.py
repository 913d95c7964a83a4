"""Structs by value in every class of registers: what a worker gets and gives is what this process would.

Would catch: an eightbyte in the wrong register, a struct that is split between registers and stack, a lost half.
"""

from __future__ import annotations

import ctypes
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import midflight

SCALARS = {
    "char": st.integers(-128, 127), "short": st.integers(-(2**15), 2**15 - 1), "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1), "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
}  # fmt: skip
# A struct for each pair of kinds, and some that are larger, nested, or have arrays in them.
STRUCTS = [(one,) for one in SCALARS] + list(itertools.product(SCALARS, repeat=2))
STRUCTS += [
    ("float", "float", "float"), ("float", "float", "float", "float"), ("float", "int", "double"), ("char",) * 9,
    ("int", "float", "float", "int"), ("double", "double", "double"), ("long", "double", "char"), ("char",) * 3,
    ("float", "float", "long"), ("double", "float", "float"), ("short", "char", "float", "double"), ("long",) * 8,
]  # fmt: skip


def _source() -> str:
    text = []
    for number, kinds in enumerate(STRUCTS):
        fields = " ".join(f"{kind} f{index};" for index, kind in enumerate(kinds))
        text.append(f"struct s{number} {{ {fields} }};")
        text.append(f"struct s{number} back{number}(struct s{number} s) {{ return s; }}")
        # Some registers are taken, so that the struct finds too few of one class, then others after it.
        text.append(
            f"struct s{number} late{number}(long a, double b, long c, double d, long e, double f, long g, double h,"
            " long i,"
            f" double j, double k, double l, struct s{number} one, struct s{number} two, long m, double n,"
            f" struct s{number} *out, double *sum)"
            " { *out = one; *sum = a + b + c + d + e + f + g + h + i + j + k + l + m + n; return two; }"
        )
    text.append("struct inner { float x, y; }; struct outer { struct inner one; int n[2]; };")
    text.append("struct outer nested(struct outer o, struct inner i) { o.one = i; o.n[0] += o.n[1]; return o; }")
    text.append("struct large { char bytes[300]; }; struct large large(struct large l) { l.bytes[299]++; return l; }")
    text.append("struct huge { char bytes[900]; }; char huge(struct huge h) { return h.bytes[899]; }")
    return "\n".join(text)


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "lib.c")
        path.write_text(_source())
        yield path


@pytest.fixture
def both(directory):
    return midflight.load(directory), midflight.load(directory, lane="worker")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def _compare(here, there, data) -> None:
    number = data.draw(st.sampled_from(range(len(STRUCTS))))
    values = [tuple(data.draw(SCALARS[kind]) for kind in STRUCTS[number]) for _ in range(2)]
    numbers = [float(n) if index % 2 or index > 8 else n for index, n in enumerate(range(1, 13))]
    wanted = [_fields(_made(vars(midflight.types(there))[f"s{number}"], each)) for each in values]
    for module in (here, there):
        types = vars(midflight.types(module))[f"s{number}"]
        one, two = (_made(types, each) for each in values)
        assert _fields(getattr(module, f"back{number}")(one)) == wanted[0]
        # Where registers run out, ctypes itself passes some of these wrongly: the truth is what was put in.
        out, total = types(), ctypes.c_double()
        late = getattr(module, f"late{number}")(*numbers, one, two, 13, 14.0, out, total)
        assert [_fields(out), _fields(late), total.value] == [*wanted, sum(range(1, 15))]


def _made(types, values):
    return types(
        *[
            bytes([value & 255]) if kind is ctypes.c_char else value
            for value, (_, kind) in zip(values, types._fields_, strict=True)
        ]
    )


def _fields(struct) -> list:
    return [getattr(struct, name) for name, _ in struct._fields_]


def test_every_class_of_registers(both) -> None:
    _compare(*both)


def test_nested_structs_and_arrays(both) -> None:
    for module in both:
        types = midflight.types(module)
        found = module.nested(types.outer(types.inner(1, 2), (ctypes.c_int * 2)(3, 4)), types.inner(5.5, 6.5))
        assert (found.one.x, found.one.y, list(found.n)) == (5.5, 6.5, [7, 4])


def test_a_struct_in_memory(both) -> None:
    for module in both:
        large = midflight.types(module).large()
        large.bytes = bytes(range(1, 200))
        raw = bytes(module.large(large))
        assert raw[:199] == bytes(range(1, 200))
        assert raw[299] == 1


def test_one_that_is_too_large_for_a_worker_says_so(both) -> None:
    here, there = both
    assert here.huge(midflight.types(here).huge()) == 0
    with pytest.raises(midflight.UnsupportedFunctionError, match="too large"):
        there.huge(midflight.types(there).huge())


def test_wrong_structs(both) -> None:
    for module in both:
        types = midflight.types(module)
        for wrong in (types.inner(), 5, None, bytes(16), (1, 2)):
            with pytest.raises(midflight.ArgumentTypeError, match=r"'l'.*midflight\.types\(module\)\.large\("):
                module.large(wrong)
