"""What the command line says of swaps that move data.

Would catch: a migration, a refusal or a long list of variables that a person at the terminal doesn't get to see.
"""

from __future__ import annotations

import io

from rich.console import Console

from midflight import Carried, GateTimeoutError, Report, StateError, Version
from midflight.cli import console


def _said(show, *arguments) -> str:
    out = io.StringIO()
    show(Console(file=out, width=200, highlight=False, emoji=False, markup=False, soft_wrap=True), *arguments)
    return out.getvalue()


def _report(*rows: Carried) -> Report:
    return Report("game", Version(1, "a", "s"), Version(2, "b", "s"), state=rows)


def test_plain_rows_are_counted_and_others_are_named() -> None:
    rows = [Carried(f"v{number}", "carried") for number in range(3)]
    rows += [Carried("new", "initialised", "it is new"), Carried("hp", "migrated", "int16_t to int32_t")]
    said = _said(console.say_swapped, _report(*rows))
    assert "3 carried, 1 initialised; hp: migrated (int16_t to int32_t)" in said


def test_a_long_list_is_cut() -> None:
    rows = [Carried(f"v{number}", "dropped") for number in range(20)]
    said = _said(console.say_swapped, _report(*rows))
    assert "v7: dropped; and 12 more" in said
    assert "v8" not in said


def test_without_data_nothing_is_said_of_them() -> None:
    assert _said(console.say_swapped, _report()).count("\n") == 1


def test_refusals_name_each_variable() -> None:
    error = StateError("2 variables can't come along", refusals=["hp: 300 does not fit int8_t", "lock: held"])
    assert "hp: 300 does not fit int8_t; lock: held" in _said(console.say_refused, "game", error)


def test_refusals_name_who_is_inside() -> None:
    error = GateTimeoutError("calls didn't end", inside=["game.run in thread 'main'"])
    assert "game.run in thread 'main'" in _said(console.say_refused, "game", error)
