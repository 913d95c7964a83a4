"""What a check that failed found: an assertion with its values, or an exception.

Python says only that an assertion failed.  Its parts are evaluated once more, in the process that is thrown away
anyway, to say what they are; where that now gives another answer, nothing is said.
"""

from __future__ import annotations

import ast
import linecache
import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_MOST_PARTS = 6


def describe(error: BaseException) -> str:
    """Say in a line what was raised; the traceback has the rest."""
    said = next(iter(str(error).splitlines()), "")
    if not isinstance(error, AssertionError):
        return f"raised {type(error).__name__}{f': {said}' if said else ''}"
    if said.startswith("assert "):
        said = ""  # pytest's own account of the statement, which comes here with its values anyway
    return ": ".join(part for part in ("failed", _assertion(error), said) if part)


def _assertion(error: AssertionError) -> str:
    """Return the assert statement that raised it, and the values of its parts; "" if it can't be found."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    frame, line = trace.tb_frame, trace.tb_lineno
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except (SyntaxError, ValueError):
        return ""
    inside = [
        one for one in ast.walk(tree) if isinstance(one, ast.Assert) and one.lineno <= line <= (one.end_lineno or 0)
    ]
    if not inside:
        return ""
    test = inside[-1].test
    values = "; ".join(_values(test, frame))
    return f"assert {ast.unparse(test)}{f' ({values})' if values else ''}"


def _values(test: ast.expr, frame: FrameType) -> Iterator[str]:
    if not isinstance(test, ast.Compare):
        return
    parts = [test.left, *test.comparators][:_MOST_PARTS]
    try:
        values = [_value(part, frame) for part in parts]
        if _value(test, frame):
            return  # it isn't what it was
    except Exception:  # noqa: BLE001 - it is evaluated for the words only
        return
    for part, value in zip(parts, values, strict=True):
        if not isinstance(part, ast.Constant):
            yield f"{ast.unparse(part)} is {reprlib.repr(value)}"


def _value(node: ast.expr, frame: FrameType) -> Any:
    code = compile(ast.Expression(node), frame.f_code.co_filename, "eval")
    return eval(code, frame.f_globals, frame.f_locals)  # noqa: S307 - the check's own code, in a throwaway process
