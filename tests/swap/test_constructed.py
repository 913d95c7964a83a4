"""Tables that constructors make in allocated memory.

Would catch: a C++ container that keeps a swap away although nobody has changed it; one whose elements the program has
changed, which its own bytes don't show, and which starts anew without a word.
"""

from __future__ import annotations

import pytest

import midflight

SOURCE = """
#include <map>
#include <string>
#include <vector>
static std::map<std::string, int> names{{"one", 1}, {"two", 2}};
static std::vector<std::vector<int>> rows{{1, 2}, {3, FOUR}};
static std::string text = "a text that is too long for the place in the string itself";
extern "C" {
int look_up(const char *name) { auto found = names.find(name); return found == names.end() ? -1 : found->second; }
int row(int i, int j) { return rows[i][j]; }
const char *tell(void) { return text.c_str(); }
void set_name(const char *name, int value) { names[name] = value; }
void set_row(int i, int j, int value) { rows[i][j] = value; }
void set_letter(char letter) { text[3] = letter; }
}
"""


def _save(directory, four: int):
    path = directory / "tables.cc"
    path.write_text(SOURCE.replace("FOUR", str(four)))
    return path


@pytest.fixture
def module(tmp_path, load):
    """Tables as constructors make them."""
    return load(_save(tmp_path, 4))


def test_what_nobody_has_changed_is_the_new_versions(module, tmp_path) -> None:
    report = midflight.swap(module, _save(tmp_path, 400))
    assert (module.look_up("two"), module.row(1, 1), module.tell()[:6]) == (2, 400, "a text")
    assert {(row.name, row.what) for row in report.state} >= {("names", "initialised"), ("rows", "initialised")}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda module: module.set_name("two", 20), "names"),
        (lambda module: module.set_name("three", 3), "names"),
        (lambda module: module.set_row(0, 1, 20), "rows"),
        (lambda module: module.set_letter(ord("X")), "text"),
    ],
    ids=["a value", "a new key", "a number two arrays deep", "a letter"],
)
def test_what_somebody_has_changed_is_refused(module, tmp_path, change, name) -> None:
    change(module)
    with pytest.raises(midflight.StateError, match=f"{name}: .* isn't trivially copyable") as refused:
        midflight.swap(module, _save(tmp_path, 400))
    assert len(refused.value.refusals) == 1
    assert module.row(1, 1) == 4
    assert midflight.swap(module, _save(tmp_path, 400), carry="fresh").changed
