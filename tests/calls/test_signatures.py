"""Catches an argument in the wrong register or on the wrong place of the stack, for signatures that nobody thought of.

Random functions, compiled for real; each returns a checksum of all its arguments, which must be the one that Python
computes and the one that ctypes gets from the same library.
"""

from __future__ import annotations

import ctypes
import math
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import midflight

PRIME, START, MASK = 0x100000001B3, 0xCBF29CE484222325, 2**64 - 1


class Kind(NamedTuple):
    """A scalar type of C."""

    name: str
    ctype: type
    values: st.SearchStrategy


def integers(bits, *, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.sampled_from([low, low + 1, 0, 1, high - 1, high]) | st.integers(low, high)


KINDS = [
    Kind("int8_t", ctypes.c_int8, integers(8, signed=True)),
    Kind("uint8_t", ctypes.c_uint8, integers(8, signed=False)),
    Kind("int16_t", ctypes.c_int16, integers(16, signed=True)),
    Kind("uint16_t", ctypes.c_uint16, integers(16, signed=False)),
    Kind("int", ctypes.c_int, integers(32, signed=True)),
    Kind("unsigned", ctypes.c_uint, integers(32, signed=False)),
    Kind("long", ctypes.c_long, integers(64, signed=True)),
    Kind("unsigned long", ctypes.c_ulong, integers(64, signed=False)),
    Kind("long long", ctypes.c_longlong, integers(64, signed=True)),
    Kind("bool", ctypes.c_bool, st.booleans()),
    Kind("float", ctypes.c_float, st.floats(width=32, allow_nan=False)),
    Kind("double", ctypes.c_double, st.floats() | st.sampled_from([-0.0, math.nan, math.inf, 5e-324])),
]


class Signature(NamedTuple):
    """A function: the types of its parameters and of its result, and some calls of it."""

    params: tuple[Kind, ...]
    result: Kind
    calls: tuple[tuple[object, ...], ...]


@st.composite
def signatures(draw):
    params = tuple(draw(st.lists(st.sampled_from(KINDS), max_size=16)))
    calls = draw(st.lists(st.tuples(*(kind.values for kind in params)), min_size=2, max_size=3))
    return Signature(params, draw(st.sampled_from(KINDS)), tuple(calls))


def source(index, signature):
    params = ", ".join(f"{kind.name} a{place}" for place, kind in enumerate(signature.params))
    steps = []
    for place, kind in enumerate(signature.params):
        bits = {"float": "float_bits", "double": "double_bits"}.get(kind.name, "(uint64_t)")
        steps.append(f"h = (h ^ {bits}(a{place})) * {PRIME}u;")
    result = {"float": "(float)(h >> 44)", "double": "(double)(h >> 12)", "bool": "(h >> 32) & 1"}
    back = result.get(signature.result.name, f"({signature.result.name})h")
    body = f"uint64_t h = {START}u; {' '.join(steps)} return {back};"
    return f"{signature.result.name} f{index}({params or 'void'}) {{ {body} }}\n"


HEAD = """#include <stdbool.h>
#include <stdint.h>
static uint64_t float_bits(float x) { union { float x; uint32_t bits; } u = {x}; return u.bits; }
static uint64_t double_bits(double x) { union { double x; uint64_t bits; } u = {x}; return u.bits; }
uint64_t used(void) { return float_bits(0) + double_bits(0); }
"""


def model(signature, values):
    """Compute what the function returns."""
    checksum = START
    for kind, value in zip(signature.params, values, strict=True):
        if kind.name in {"float", "double"}:
            bits = int.from_bytes(struct.pack("<f" if kind.name == "float" else "<d", value), "little")
        else:
            bits = int(value) & MASK
        checksum = (checksum ^ bits) * PRIME & MASK
    match signature.result.name:
        case "float":
            return float(checksum >> 44)
        case "double":
            return float(checksum >> 12)
        case "bool":
            return bool(checksum >> 32 & 1)
    return signature.result.ctype(checksum).value


def build(directory, batch):
    path, library = Path(directory, "batch.c"), Path(directory, "batch.so")
    path.write_text(HEAD + "".join(source(index, signature) for index, signature in enumerate(batch)))
    subprocess.run(["cc", "-g", "-O1", "-fPIC", "-shared", "-o", str(library), str(path)], check=True)
    return library


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(signatures(), min_size=8, max_size=12), st.booleans())
def test_random_signatures(batch, hold_gil):
    with tempfile.TemporaryDirectory() as directory:
        library = build(directory, batch)
        other = ctypes.CDLL(str(library))
        lib = midflight.load(library, hold_gil=hold_gil)
        for index, signature in enumerate(batch):
            ours, theirs = getattr(lib, f"f{index}"), getattr(other, f"f{index}")
            theirs.argtypes = [kind.ctype for kind in signature.params]
            theirs.restype = signature.result.ctype
            for values in signature.calls:
                expected = model(signature, values)
                names = {f"a{place}": value for place, value in enumerate(values)}
                assert (ours(*values), ours(**names), theirs(*values)) == (expected,) * 3
                assert type(ours(*values)) is type(expected)
        midflight.unload(lib)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(signatures(), min_size=8, max_size=12))
def test_random_signatures_of_callbacks(batch):
    """The same the other way: C calls Python with the arguments of a random signature."""
    text = HEAD
    for index, signature in enumerate(batch):
        params = ", ".join(kind.name for kind in signature.params) or "void"
        names = [f"a{place}" for place in range(len(signature.params))]
        declared = ", ".join(f"{kind.name} {name}" for kind, name in zip(signature.params, names, strict=True))
        back = signature.result.name
        head = f"{back} f{index}({back} (*function)({params}){', ' * bool(declared)}{declared})"
        text += f"{head} {{ return function({', '.join(names)}); }}\n"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "batch.c")
        path.write_text(text)
        lib = midflight.load(path)
        for index, signature in enumerate(batch):
            for values in signature.calls:
                got = []
                back = model(signature, values)

                def function(*values, got=got, back=back):
                    got.extend(values)
                    return back

                assert getattr(lib, f"f{index}")(function, *values) == back
                packed = [bytes(kind.ctype(value)) for kind, value in zip(signature.params, values, strict=True)]
                assert [bytes(kind.ctype(value)) for kind, value in zip(signature.params, got, strict=True)] == packed
        midflight.unload(lib)
