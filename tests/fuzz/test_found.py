"""What fuzzing has found, so that it stays mended.

Would catch an input of ``found/`` that a reader chokes on again (a file is named for its target), and types that
lead back to themselves where no compiler would have them do so.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from midflight.artifact.interface import Field, Interface, Pointer, Record, Scalar, Variable, Void
from midflight.state.forecast import of_itself
from tests.fuzz import guided

FOUND = sorted((Path(__file__).parent / "found").iterdir())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_an_input_that_broke_a_reader(path):
    guided.TARGETS[path.name.partition("-")[0]](path.read_bytes())


def test_a_struct_without_a_name_that_points_to_itself():
    """Its name was overwritten; structs are told apart by names, so nothing ended the comparison."""
    number, record, pointer = 1, 2, 3
    node = Record("", "struct", 16, (Field("value", number, 0), Field("next", pointer, 8)))
    types = (Void(), Scalar("int", "int", 4), node, Pointer(record))
    variable = Variable(name="head", type=record, address=0x4000)
    (_, becomes), *_ = of_itself(Interface(types=types, functions=(), variables=(variable,)))
    assert becomes
