"""Would catch: a stub that isn't Python, misses a function, or is made by running the library."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.talking import Run

_SOURCE = """
#include <stdio.h>
struct point { int x, y; };
__attribute__((constructor)) static void greet(void) { puts("I was loaded"); fflush(stdout); }
int add(int a, int b) { return a + b; }
int area(const struct point *p) { return p->x * p->y; }
"""


def _functions(stub: str) -> dict[str, list[str]]:
    found = (node for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef))
    return {node.name: [argument.arg for argument in [*node.args.posonlyargs, *node.args.args]] for node in found}


def test_a_stub_is_printed_without_loading(tmp_path: Path, command: Run) -> None:
    (tmp_path / "shape.c").write_text(_SOURCE, encoding="utf-8")
    done = command("stub", "shape.c")
    assert (done.returncode, done.stderr) == (0, "")
    assert _functions(done.stdout) == {"add": ["a", "b"], "area": ["p"]}
    assert "I was loaded" not in done.stdout


def test_a_stub_is_written_to_a_file(tmp_path: Path, command: Run) -> None:
    (tmp_path / "shape.c").write_text(_SOURCE, encoding="utf-8")
    done = command("stub", "shape.c", "-o", "shape.pyi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "add" in _functions((tmp_path / "shape.pyi").read_text(encoding="utf-8"))


def test_what_is_no_library_is_one_line(tmp_path: Path, command: Run) -> None:
    (tmp_path / "text.so").write_text("not a library\n", encoding="utf-8")
    (tmp_path / "shape.c").write_text(_SOURCE, encoding="utf-8")
    for arguments in (["stub", "text.so"], ["stub", "nowhere.so"], ["stub", "shape.c", "-o", f"no{os.sep}where.pyi"]):
        done = command(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert arguments[-1] in done.stderr
