"""The public face.

Would catch: a name that is promised and not there, a stub that has drifted from the core, an error without midflight's
base class, a document that names something that doesn't exist, the README's first line of code not working.
"""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

import midflight
from midflight import _core

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists_and_is_listed() -> None:
    assert sorted(midflight.__all__) == midflight.__all__
    for name in midflight.__all__:
        assert hasattr(midflight, name)


def test_every_error_is_a_midflight_error_and_documented() -> None:
    errors = [value for name, value in vars(midflight).items() if isinstance(value, type) and "Error" in name]
    assert len(errors) > 20
    for error in [*errors, midflight.MissingFunction]:
        assert issubclass(error, midflight.MidflightError)
        assert error.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (midflight.MissingFunction, AttributeError),
        (midflight.ArgumentTypeError, TypeError),
        (midflight.ArgumentRangeError, OverflowError),
        (midflight.SourceNotFoundError, FileNotFoundError),
    ],
)
def test_errors_are_what_python_programmers_catch(error, builtin) -> None:
    assert issubclass(error, builtin)
    made = error("what happened", subject="thing", unchanged="nothing changed", todo="do this")
    assert str(made) == "thing: what happened; nothing changed; do this"


def _declared(tree: ast.Module) -> set[str]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


def test_the_stub_of_the_core_is_its_contract() -> None:
    tree = ast.parse((ROOT / "src/midflight/_core.pyi").read_text())
    there = {name for name, value in vars(_core).items() if callable(value) and not name.startswith("_")}
    assert _declared(tree) == there
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            members |= {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
            missing = {name for name in members if not hasattr(getattr(_core, node.name), name)}
            assert not missing, node.name


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda page: page.name
)
def test_documents_name_only_what_exists(page: Path) -> None:
    text = page.read_text()
    for name in set(re.findall(r"midflight\.(\w+)\(", text)):
        assert hasattr(midflight, name), f"{page.name} names midflight.{name}"
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for name in set(re.findall(r"`(\w+Error)`", text)):
        assert hasattr(midflight, name) or hasattr(builtins, name), f"{page.name} names {name}"


def test_the_first_line_of_code() -> None:
    line = "import midflight; m = midflight.load('examples/calculator/calc.c'); print(m.add(2, 3))"
    run = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "5\n"


def test_what_the_core_offers_is_kept_small() -> None:
    """A user's `import midflight` brings in nothing of the command line."""
    program = "import sys, midflight; print(sorted({'click', 'rich', 'prompt_toolkit', 'numpy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
