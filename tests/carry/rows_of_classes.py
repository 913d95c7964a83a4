"""Rows of test_matrix: C++ containers."""

from __future__ import annotations

from tests.carry.cells import COLUMNS, COPYABLE, TYPES, Cell, Row, always, refused

_STRING = "std::basic_string<char, std::char_traits<char>, std::allocator<char> >"
_VECTOR = "std::vector<int, std::allocator<int> >"
_MAP = "std::map<int, int, std::less<int>, std::allocator<std::pair<int const, int> > >"


def _class(name: str, declared: str, text: str, set_: str, check: str, spelled: str) -> Row:
    """Return the row of a C++ class: refused, whatever becomes of it.  ``spelled``: its type, without typedefs."""
    cells = always(f"{name}: {spelled} {COPYABLE}", at=TYPES)
    for column, now in {"grown": f"{declared}[2]", "type changed": "long"}.items():
        other = f"{declared} {name}[2];" if column == "grown" else f"long {name};"
        cells[column] = (refused(other, f"{name}: {declared} is {now} now", at=TYPES),)
    return Row(name, (name,), text, set_, check, cells)


CLASSES = [
    _class("text", "std::string", "std::string text;", 'text = "short";', 'text == "short"', _STRING),
    _class("line", "std::string", "std::string line;", "line.assign(100, 'x');", "line.size() == 100", _STRING),
    _class("list", _VECTOR, "std::vector<int> list;", "list.push_back(4);", "list.at(0) == 4", _VECTOR),
    # Its own bytes stay as they are, and so nobody can tell whether its elements do.
    _class("filled", _VECTOR, "std::vector<int> filled{1, 2};", "filled[1] = 9;", "filled[1] == 9", _VECTOR),
    _class("tree", _MAP, "std::map<int, int> tree;", "tree[3] = 4;", "tree[3] == 4", _MAP),
    Row(
        "untouched classes",
        ("greeting", "none"),
        'std::string greeting = "hello"; std::vector<int> none;',
        "",
        'greeting == "hello" && none.empty()',
        {
            column: (
                Cell(
                    'std::string greeting = "good day"; std::vector<int> none = {1};',
                    'greeting == "good day" && none.at(0) == 1',
                    dict.fromkeys(("greeting", "none"), "initialised (nobody had changed it)"),
                ),
            )
            for column in COLUMNS
            if column != "removed"
        }
        | {"removed": (Cell("", "1", {}),)},
    ),
    Row(
        "virtual functions",
        ("shape",),
        "struct shape { virtual int sides() { return 3; } int size = 1; } shape;",
        "shape.size = 5;",
        "shape.size == 5",
        always(f"shape: shape {COPYABLE}", at=TYPES)
        | {"type changed": (refused("long shape;", "shape: shape is long now", at=TYPES),)},
    ),
]
