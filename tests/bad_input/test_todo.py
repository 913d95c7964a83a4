"""Every refusal in the source says what to do next.

Would catch a new one that leaves a person with what has happened, and nothing to do about it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight import _errors

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(midflight.__file__).parent
KINDS = {
    name: kind
    for name, kind in vars(_errors).items()
    if isinstance(kind, type) and issubclass(kind, _errors.MidflightError)
}
SAY_IT_ALL = {
    "ArgumentTypeError",  # the text names the argument, what it takes, and what was given
    "ArgumentRangeError",  # the same
    "GoError",  # the words are the Go function's own
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Return where an error is made, and its class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in KINDS:
                yield name, node


def says_what_to_do(name: str, call: ast.Call) -> bool:
    """Tell whether an error says what to do next, itself or as all of its class do."""
    named = {keyword.arg for keyword in call.keywords}
    return bool({"todo", None} & named) or bool(KINDS[name].usual_todo) or name in SAY_IT_ALL


def test_every_refusal_says_what_to_do_next():
    silent = [
        f"{path.relative_to(SOURCES)}:{call.lineno}: {name}"
        for path in SOURCES.rglob("*.py")
        for name, call in calls(ast.parse(path.read_text("utf-8")))
        if not says_what_to_do(name, call)
    ]
    assert not silent


@pytest.mark.parametrize("source", ['SwapError("no")', '_errors.LoadError("no", subject="calc")'])
def test_a_refusal_that_ends_there_is_found(source: str):
    assert [says_what_to_do(*found) for found in calls(ast.parse(source))] == [False]


def test_what_all_errors_of_a_class_say_gives_way_to_what_is_more_exact():
    assert str(_errors.UnloadedError("gone", subject="calc")) == "calc: gone; load it again"
    assert str(_errors.UnloadedError("gone", todo="make a new one")) == "gone; make a new one"
