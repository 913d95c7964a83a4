"""Would catch: a dependency that is lost because its name has a space, a # or a $ in it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midflight.build import makedeps

if TYPE_CHECKING:
    from pathlib import Path


def test_continuations_and_several_rules() -> None:
    text = "out.o: a.c \\\n  b.h \\\r\n c.h\n\nother: d.h a.c\nb.h:\n# a comment: x\n"
    assert makedeps.parse(text) == ["a.c", "b.h", "c.h", "d.h"]


def test_environment_of_rustc() -> None:
    text = "out.so: a.rs\n\na.rs:\n\n# env-dep:NAME=some value\n# env-dep:UNSET\n"
    assert makedeps.environment(text) == {"NAME": "some value", "UNSET": None}
    assert makedeps.parse(text) == ["a.rs"]


def test_text_that_is_no_rule() -> None:
    assert makedeps.parse("nothing to see") == []
    assert makedeps.parse("") == []


@pytest.mark.parametrize("name", ["a b.h", "#1.h", "$x$.h", "a\\b.h", "q\\\\ k.h", "c:d.h", "ü.h", "a'b(c).h"])
def test_names_as_the_compiler_escapes_them(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    source = tmp_path / "calc.c"
    source.write_text(f'#include "{name}"\n')
    rule = tmp_path / "rule"
    subprocess.run(["cc", "-MD", "-MF", str(rule), "-MT", "out", "-fsyntax-only", "calc.c"], cwd=tmp_path, check=True)
    found = makedeps.paths(rule.read_text(), tmp_path)
    assert tmp_path / name in found
    assert source in found


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    makedeps.parse(text)
    makedeps.environment(text)
