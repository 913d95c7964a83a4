"""Would catch: the calculator's README telling what doesn't happen when its library is replaced under the host."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.talking import Talk

_EXAMPLE = Path(__file__).parents[2] / "examples" / "calculator"


def _by_rename(directory: Path) -> None:
    shutil.copy(directory / "calc-2.c", directory / "new.c")
    (directory / "new.c").replace(directory / "calc.c")


def _in_place(directory: Path) -> None:
    (directory / "calc.c").write_bytes((directory / "calc-2.c").read_bytes())


@pytest.mark.parametrize("replace", [_by_rename, _in_place])
def test_what_the_readme_tells_happens(tmp_path: Path, talk: Talk, replace: Callable[[Path], None]) -> None:
    shutil.copytree(_EXAMPLE, tmp_path, dirs_exist_ok=True)
    host = talk("repl", "calc.c")
    host.expect("calc.c: 5 functions; changes are followed; :help helps\n")
    host.expect("function > ")
    host.say("add 2147483647 1")
    host.expect("\n-2147483648\n")
    replace(tmp_path)
    host.expect(r"calc: version 1 → 2  in \d+ ms, version 1 unloaded\n")
    host.say("add 2147483647 1")
    host.expect("\n2147483647\n")
    host.say("power 2 10")
    host.expect("\n1024\n")
    host.say(":rollback")
    host.expect("version 2 → 3")
    host.say("add 2147483647 1")
    host.expect("\n-2147483648\n")
    host.say("mean 1,2,6 3")
    host.expect(r"\n3\.0\n")
    host.say("quit")
    assert host.end() == 0


def test_every_function_of_both_versions_calculates() -> None:
    calc = midflight.load(_EXAMPLE / "calc.c")
    assert [calc.add(2, 3), calc.sub(2, 3), calc.mul(2, 3), calc.div(3, 2)] == [5, -1, 6, 1.5]
    midflight.swap(calc, _EXAMPLE / "calc-2.c")
    assert [calc.add(2, 3), calc.sub(2, 3), calc.mul(2, 3), calc.div(3, 0)] == [5, -1, 6, 0]
    assert calc.power(2, 40) == (1 << 31) - 1
