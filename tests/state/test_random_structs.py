"""Would catch any way for a plan to lose or garble a field: random pairs of structs, compiled for real."""

from __future__ import annotations

import ctypes
import subprocess

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from midflight.artifact.dwarf import reader as dwarf
from midflight.state import losses
from midflight.state.layout import Layouts
from tests.state import structs
from tests.state.conftest import type_of
from tests.state.structs import LOST, NEW_ENUMS, OLD_ENUMS, Bits, Number, RefusedError

_TOGETHER = 12


class Slot(ctypes.Union):
    """A leaf's value on its way to C."""

    _fields_ = (("i", ctypes.c_int64), ("u", ctypes.c_uint64), ("d", ctypes.c_double))


def _slot(found) -> str:
    match found:
        case Number(_, "f", _):
            return "d"
        case Number(_, "i", _) | Bits(True, _):
            return "i"
    return "u"


def _source(types, enums) -> str:
    """Return structs, and for each a function that fills one from slots and one that reads it."""
    lines = ["#include <stdint.h>", "union slot {int64_t i; uint64_t u; double d;};"]
    for tag, items in enums.items():
        lines.append(f"enum {tag} {{ {', '.join(f'{name} = {value}' for name, value in items.items())} }};")
    for number, found in enumerate(types):
        places = [(path, _slot(leaf)) for path, leaf in structs.leaves(found)]
        lines.append(f"struct s{number} {structs.body(found)[7:]} v{number};")
        stores = " ".join(f"p->{path[1:]} = in[{index}].{slot};" for index, (path, slot) in enumerate(places))
        loads = " ".join(f"out[{index}].{slot} = p->{path[1:]};" for index, (path, slot) in enumerate(places))
        lines.append(f"void store{number}(struct s{number} *p, const union slot *in) {{ {stores} }}")
        lines.append(f"void load{number}(const struct s{number} *p, union slot *out) {{ {loads} }}")
    return "\n".join(lines)


class Side:
    """One compiled version."""

    def __init__(self, types, enums, directory, name) -> None:
        self.types = types
        source, output = directory / f"{name}.c", directory / f"{name}.so"
        source.write_text(_source(types, enums))
        subprocess.run(["gcc", "-g", "-w", "-fPIC", "-shared", "-o", output, source], check=True)
        self.interface = dwarf.read(output.read_bytes())
        self._library = ctypes.CDLL(str(output))

    def store(self, number, memory, held) -> None:
        places = list(structs.leaves(self.types[number]))
        slots = (Slot * len(places))()
        for slot, (path, leaf) in zip(slots, places, strict=True):
            setattr(slot, _slot(leaf), held[path])
        self._library[f"store{number}"](memory, slots)

    def load(self, number, memory):
        places = list(structs.leaves(self.types[number]))
        slots = (Slot * len(places))()
        self._library[f"load{number}"](memory, slots)
        return {path: getattr(slot, _slot(leaf)) for slot, (path, leaf) in zip(slots, places, strict=True)}


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    def fresh():
        return tmp_path_factory.mktemp("random")

    return fresh


def _values(draw, found):
    return {path: draw(structs.values(leaf)) for path, leaf in structs.leaves(found)}


# A failure says which pair it is; to look for a smaller one would mean to compile for minutes.
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(pairs=st.lists(structs.pairs, min_size=_TOGETHER, max_size=_TOGETHER), data=st.data())
def test_random_pairs(directories, pairs, data):
    directory = directories()
    old = Side([before for before, _ in pairs], OLD_ENUMS, directory, "old")
    new = Side([after for _, after in pairs], NEW_ENUMS, directory, "new")
    layouts = Layouts(old.interface, new.interface)
    for number, (before, after) in enumerate(pairs):
        migration = layouts.migration(type_of(old.interface, f"v{number}"), type_of(new.interface, f"v{number}"))
        held = _values(data.draw, before)
        expected = {}
        try:
            structs.convert(before, after, held, "", "", expected)
        except RefusedError:
            assert migration.refusals, (before, after)
            continue
        assert migration.refusals == (), (before, after)
        _check(old, new, number, migration, held, expected)


def _check(old, new, number, migration, held, expected) -> None:
    source, target = ctypes.create_string_buffer(migration.from_size), ctypes.create_string_buffer(migration.to_size)
    old.store(number, source, held)
    initial = {path: 1 for path, _ in structs.leaves(new.types[number])}
    new.store(number, target, initial)
    initial = new.load(number, target)
    loss = migration.plan().run(ctypes.addressof(source), ctypes.addressof(target))
    lost = [path for path, value in expected.items() if value == LOST]
    about = (old.types[number], new.types[number], held, loss, lost)
    if lost:
        assert loss is not None, about
        where = "." + losses.place(migration, "", loss[1], loss[2]).lstrip(".")
        assert any(where == path or (path.endswith("[dropped]") and where.startswith(path[:-9])) for path in lost), (
            about
        )
        return
    assert loss is None, about
    assert new.load(number, target) == initial | expected, about
