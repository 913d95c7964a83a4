"""Would catch two variables that are taken for one, and one that is dropped because its file was renamed."""

from __future__ import annotations

import pytest

from midflight.artifact.interface import Interface, Scalar, Variable, Void
from midflight.state import renames
from midflight.state.match import key_of, match


def _interface(*keys: str) -> Interface:
    types = (Void(), Scalar("int", "int", 4))
    return Interface(types, (), tuple(Variable(key, 1, 4 * index, key=key) for index, key in enumerate(keys)))


def _told(found):
    pairs = {(key_of(old), key_of(new)) for old, new in found.pairs}
    return pairs, {key_of(one) for one in found.gone}, {key_of(one) for one in found.added}


@pytest.mark.parametrize(
    ("old", "new", "pairs", "gone", "added"),
    [
        (["a", "b"], ["b", "c"], {("b", "b")}, {"a"}, {"c"}),
        (["x.c:n", "y.c:n"], ["y.c:n", "x.c:n"], {("x.c:n", "x.c:n"), ("y.c:n", "y.c:n")}, set(), set()),
        (["old.c:n"], ["new.c:n"], {("old.c:n", "new.c:n")}, set(), set()),
        (["old.c:f.n", "old.c:g.n"], ["new.c:f.n", "new.c:g.n"],
         {("old.c:f.n", "new.c:f.n"), ("old.c:g.n", "new.c:g.n")}, set(), set()),
        (["x.c:f.n"], ["x.c:g.n"], {("x.c:f.n", "x.c:g.n")}, set(), set()),
        (["x.c:f.n", "x.c:g.n"], ["x.c:h.n"], set(), {"x.c:f.n", "x.c:g.n"}, {"x.c:h.n"}),
        (["x.c:n"], ["a/x.c:n", "b/x.c:n"], set(), {"x.c:n"}, {"a/x.c:n", "b/x.c:n"}),
        (["game.cc:ns::use(int).n"], ["other.cc:ns::use(int).n"],
         {("game.cc:ns::use(int).n", "other.cc:ns::use(int).n")}, set(), set()),
        (["x.c:f.n", "x.c:f.n#2"], ["x.c:f.n", "x.c:f.n#2"],
         {("x.c:f.n", "x.c:f.n"), ("x.c:f.n#2", "x.c:f.n#2")}, set(), set()),
    ],
)  # fmt: skip
def test_pairs(old, new, pairs, gone, added):
    assert _told(match(_interface(*old), _interface(*new))) == (pairs, gone, added)


def test_renames_come_first():
    old, new = _interface("counter", "hits"), _interface("hits")
    found = renames.resolve([("counter", "hits")], old, new)
    assert _told(match(old, new, found)) == ({("counter", "hits")}, {"hits"}, set())
