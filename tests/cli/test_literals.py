"""Would catch: a value that people write being read as another one, or a bad one crashing instead of being told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midflight import MidflightError
from midflight.cli.literals import Group, Literal, String, Word, parse


def _words(*texts: str) -> Group:
    return Group(tuple(("", Word(text)) for text in texts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", _words("3")),
        ("-0x1F", _words("-0x1F")),
        ("1,2, 3", _words("1", "2", "3")),
        ("", Group(())),
        ("[1, 2]", Group((("", _words("1", "2")),))),
        ("[1, 2,]", Group((("", _words("1", "2")),))),
        ("3*0", _words("0", "0", "0")),
        ("color::red", _words("color::red")),
        ('"a, b\\n"', Group((("", String("a, b\n")),))),
        ("'x'", Group((("", String("x")),))),
        ("{x: 1, y= 2}", Group((("", Group((("x", Word("1")), ("y", Word("2"))))),))),
        ("{{1}, {}}", Group((("", Group((("", _words("1")), ("", Group(()))))),))),
        ("x: 1, y: 2", Group((("x", Word("1")), ("y", Word("2"))))),
    ],
)
def test_what_is_written_is_read(text: str, expected: Group) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["1 2", "{1", "1}", ",", "1,,2", '"open', "x:", "{" * 50, "99999999999*0", "[1}"])
def test_what_cant_be_read_is_told(text: str) -> None:
    with pytest.raises(MidflightError):
        parse(text)


@given(st.text(alphabet="0123456789abx{}[]:=,*\"'\\ -.é\n", max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        found = parse(text)
    except MidflightError as error:
        assert error.what  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(found, Group)


def _write(value: Literal) -> str:
    match value:
        case Word(text):
            return text
        case String(text):
            return repr(text)
        case Group(items):
            return "{" + ", ".join(f"{name}: {_write(item)}" if name else _write(item) for name, item in items) + "}"


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
_LITERALS: st.SearchStrategy[Literal] = st.recursive(
    st.builds(Word, _NAMES | st.integers().map(str)) | st.builds(String, st.text(max_size=5)),
    lambda inner: st.lists(st.tuples(_NAMES | st.just(""), inner), max_size=3).map(lambda found: Group(tuple(found))),
    max_leaves=8,
)


@given(_LITERALS)
def test_every_tree_is_read_as_it_was_written(tree: Literal) -> None:
    assert parse(_write(tree)) == Group((("", tree),))
