"""Would catch: a compiler's message that midflight doesn't understand, or shows at the wrong place."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from midflight._errors import Diagnostic
from midflight.build import diagnostics

NOWHERE = Path("/nonexistent")


def parse(text: str) -> list[tuple[str, int, int, str, str]]:
    found = diagnostics.parse(text, NOWHERE)
    return [(one.file, one.line, one.column, one.severity, one.message) for one in found]


def test_gcc() -> None:
    text = (
        "In file included from a.c:1:\n"
        "k.h:3:10: fatal error: x.h: No such file or directory\n    3 | #include <x.h>\n      |          ^~~~~\n"
        "a.c:7:5: warning: unused variable 'x' [-Wunused-variable]\na.c:9: error: old style\ncompilation terminated.\n"
    )
    assert parse(text) == [
        ("k.h", 3, 10, "error", "x.h: No such file or directory"),
        ("a.c", 7, 5, "warning", "unused variable 'x' [-Wunused-variable]"),
        ("a.c", 9, 0, "error", "old style"),
    ]


def test_linkers() -> None:
    text = (
        "/usr/bin/ld: 0-a.o: in function `f':\n/src/a.c:3: undefined reference to `g'\n"
        "/usr/bin/ld: cannot find -lnothing: No such file or directory\n"
        "ld.lld: error: undefined symbol: h\n>>> referenced by a.c:4\ncollect2: error: ld returned 1 exit status\n"
    )
    assert parse(text) == [
        ("/src/a.c", 3, 0, "error", "undefined reference to `g'"),
        ("", 0, 0, "error", "cannot find -lnothing: No such file or directory"),
        ("", 0, 0, "error", "undefined symbol: h"),
    ]


def test_driver() -> None:
    text = "gcc: error: unrecognized command-line option '-fnothing'\n"
    assert parse(text) == [("", 0, 0, "error", "unrecognized command-line option '-fnothing'")]


def test_rustc() -> None:
    text = (
        "error[E0425]: cannot find value `c` in this scope\n --> src/lib.rs:3:9\n  |\n3 |     a + c\n"
        "warning: unused variable: `x`\n   --> src/lib.rs:12:46\nerror: aborting due to 1 previous error\n"
    )
    assert parse(text) == [
        ("src/lib.rs", 3, 9, "error", "cannot find value `c` in this scope [E0425]"),
        ("src/lib.rs", 12, 46, "warning", "unused variable: `x`"),
    ]


def test_relative_files_become_absolute_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.zig").write_text("")
    (found,) = diagnostics.parse("a.zig:1:2: error: no\n", tmp_path)
    assert found == Diagnostic(str(tmp_path / "a.zig"), 1, 2, "error", "no")


def test_show_is_parsed_again() -> None:
    one = Diagnostic("a.c", 3, 4, "warning", "careful")
    assert diagnostics.parse(diagnostics.show(one), NOWHERE) == (one,)


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    diagnostics.parse(text, NOWHERE)
