"""Every kind of data in every situation: compiled for real, set by the old version, read by the new one.

Would catch: a value that gets lost or garbled, a report that says something else than what happened, a refusal that
doesn't name the place, and anything that a refusal leaves behind or changes.
"""

from __future__ import annotations

import pytest

import midflight
from tests.carry.cells import COLUMNS, Cell, Row
from tests.carry.conftest import addresses_of, blocks_of, memory_of, said, without_addresses
from tests.carry.matrix import TABLES

_HEAD = {
    ".c": "#include <stdint.h>\n#include <string.h>\n#include <pthread.h>\n#include <midflight.h>\n",
    ".cc": "#include <map>\n#include <string>\n#include <vector>\n",
}


def _runs(suffix: str, column: str) -> list[dict[str, Cell]]:
    """Arrange a column's cells in pairs of libraries: all that is carried in one, each step's refusals in another."""
    runs: list[tuple[str, dict[str, Cell]]] = []
    for row in TABLES[suffix]:
        for cell in row.in_column(column):
            run = next((run for at, run in runs if at == cell.at and row.name not in run), None)
            if run is None:
                run = {}
                runs.append((cell.at, run))
            run[row.name] = cell
    return [run for _, run in runs]


def _cases() -> list:
    cases = [(suffix, column, run) for suffix in TABLES for column in COLUMNS for run in _runs(suffix, column)]
    ids = {}
    for suffix, column, run in cases:
        at = next(iter(run.values())).at or "carried"
        ids.setdefault(f"{suffix[1:]}-{column}-{at}", []).append((suffix, column, run))
    return [
        pytest.param(*case, id=f"{name}-{number}" if number else name)
        for name, found in ids.items()
        for number, case in enumerate(found)
    ]


def _source(suffix: str, version: int, column: str, cells: dict[str, Cell]) -> str:
    rows = [row for row in TABLES[suffix] if row.name in cells or _is_kept(row)]
    if column in {"moved", "reordered"} and version > 1:
        rows.reverse()
    parts = [_HEAD[suffix]]
    for row in rows:
        cell = cells.get(row.name, Cell())
        before = f"long before_{rows.index(row)}[3] = {{1}};\n" if column == "moved" and version > 1 else ""
        text, check = (cell.text, cell.check) if version > 1 else (None, None)
        there = text != ""
        body = [
            before + (row.text if text is None else text),
            row.body if there else "",
            _function("int", "check", row, f"return {row.check if check is None else check};"),
            _function("void", "change", row, row.set) if version == 1 else "",
        ]
        parts += body
    return "\n".join([*parts, _export(suffix, f"int version(void) {{ return {version}; }}")])


def _function(result: str, verb: str, row: Row, body: str) -> str:
    extern = 'extern "C" ' if row in TABLES[".cc"] else ""
    return f"{extern}{result} {verb}_{_identifier(row)}(void) {{ {body} }}"


def _export(suffix: str, text: str) -> str:
    return f'extern "C" {text}' if suffix == ".cc" else text


def _identifier(row: Row) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in row.name)


def _checks(module, rows: list[Row]) -> dict[str, int]:
    return {row.name: getattr(module, f"check_{_identifier(row)}")() for row in rows}


def _is_kept(row: Row) -> bool:
    """Whether a row's data can be carried if nothing changes; else they would be in the others' way."""
    return not row.in_column("unchanged")[0].refused


@pytest.mark.parametrize(("suffix", "column", "cells"), _cases())
def test_data(suffix, column, cells, compiled, load, lane) -> None:
    rows = [row for row in TABLES[suffix] if lane in row.lanes and (row.name in cells or _is_kept(row))]
    tested = [row for row in rows if row.name in cells]
    if not tested:
        return
    module = load(compiled(_source(suffix, 1, "", cells), suffix=suffix), compat="any")
    new = compiled(_source(suffix, 2, column, cells), suffix=suffix)
    for row in rows:
        getattr(module, f"change_{_identifier(row)}")()
    assert _checks(module, rows) == dict.fromkeys((row.name for row in rows), 1)
    if any(cells[row.name].refused for row in tested):
        _is_refused(module, new, rows, [one for row in tested for one in cells[row.name].refused])
    else:
        _is_carried(module, new, column, {row: cells[row.name] for row in tested})
    midflight.unload(module)


def _is_refused(module, new, rows: list[Row], refusals: list[str]) -> None:
    before, blocks = memory_of(module), blocks_of(module)
    with pytest.raises(midflight.StateError) as caught:
        midflight.swap(module, new)
    assert sorted(map(without_addresses, caught.value.refusals)) == sorted(refusals)
    assert module.version() == 1
    assert _checks(module, rows) == dict.fromkeys((row.name for row in rows), 1)
    assert memory_of(module) == before
    assert blocks_of(module).keys() == blocks.keys()
    assert [version.number for version in midflight.versions(module)] == [1], "the refused version is unloaded"


def _is_carried(module, new, column: str, cells: dict[Row, Cell]) -> None:
    places = addresses_of(module)
    report = midflight.swap(module, new)
    found = said(report)
    names = [name for row in cells for name in row.names]
    assert {name: found[name] for name in names if name in found} == {
        name: how for cell in cells.values() for name, how in cell.says.items()
    }
    assert module.version() == 2
    assert _checks(module, list(cells)) == dict.fromkeys((row.name for row in cells), 1)
    if column == "moved":
        now = addresses_of(module)
        assert not [name for name in names if name in places and places[name] == now[name]]
