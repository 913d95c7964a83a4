"""Would catch an entry of the debug information that our reader decodes otherwise than pyelftools does."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile

from midflight.artifact.dwarf.constants import At
from midflight.artifact.dwarf.entries import Debug
from midflight.artifact.elf import Elf

SOURCE = """
struct s { int a : 3; unsigned b : 11; double c[2][3]; struct s *next; };
static int seen = 1;
int f(const struct s *s, int (*g)(int)) { static long calls; calls++; return g(s->a) + seen++; }
"""
NAMES = {"DW_AT_name": At.NAME, "DW_AT_linkage_name": At.LINKAGE_NAME, "DW_AT_producer": At.PRODUCER}
NUMBERS = {
    "DW_AT_byte_size": At.BYTE_SIZE,
    "DW_AT_upper_bound": At.UPPER_BOUND,
    "DW_AT_bit_size": At.BIT_SIZE,
    "DW_AT_data_bit_offset": At.DATA_BIT_OFFSET,
    "DW_AT_decl_line": At.DECL_LINE,
    "DW_AT_const_value": At.CONST_VALUE,
}


def ours(data):
    debug = Debug(Elf(data))
    for unit in debug.units:
        pending = [unit.top]
        while pending:
            entry = pending.pop()
            yield entry
            pending += entry.children()


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
@pytest.mark.parametrize("flags", [("-gdwarf-4",), ("-gdwarf-5",), ("-gdwarf-5", "-O2"), ("-gz=zlib",)])
def test_same_entries(compile_library, compiler, flags):
    data = compile_library(SOURCE, *flags, compiler=compiler)
    theirs = {}
    for unit in ELFFile(io.BytesIO(data)).get_dwarf_info().iter_CUs():
        for die in unit.iter_DIEs():
            if not die.is_null():
                theirs[die.offset] = die
    found = {entry.offset: entry for entry in ours(data)}
    assert found.keys() == theirs.keys()
    for offset, entry in found.items():
        attributes = theirs[offset].attributes
        assert set(attributes) >= {name for name, number in {**NAMES, **NUMBERS}.items() if number in entry.values}
        for name, number in NAMES.items():
            if name in attributes:
                assert entry.text(number) == attributes[name].value.decode()
        for name, number in NUMBERS.items():
            if name in attributes and isinstance(attributes[name].value, int):
                assert entry.number(number) == attributes[name].value
        if "DW_AT_type" in attributes:
            assert entry.reference(At.TYPE) == theirs[offset].get_DIE_from_attribute("DW_AT_type").offset
