"""Would catch a C++ type that nobody would write like that, and a text that loses something by being made plain."""

from __future__ import annotations

import pytest

from midflight.cli.type_names import plain_types

STRING = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (STRING, "std::string"),
        (f"f({STRING} const&, std::vector<int, std::allocator<int> >)", "f(std::string const&, std::vector<int>)"),
        (
            f"std::map<{STRING}, int, std::less<{STRING} >, std::allocator<std::pair<const {STRING}, int> > > is gone",
            "std::map<std::string, int> is gone",
        ),
        ("std::unique_ptr<game::Item, std::default_delete<game::Item> >", "std::unique_ptr<game::Item>"),
        ("std::function<int (int, long)>", "std::function<int (int, long)>"),
        ("game::grid<3, std::array<double, 4> >", "game::grid<3, std::array<double, 4>>"),
        ("a::operator<(b, c<d>)", "a::operator<(b, c<d>)"),
        ("operator<=>", "operator<=>"),
        ("x < y, and z > w", "x < y, and z > w"),
        ("int * → char **", "int * → char **"),
    ],
)
def test_types_are_as_people_write_them(text: str, plain: str) -> None:
    assert plain_types(text) == plain
