"""Which variable of the old version is which of the new one."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midflight.state.renames import NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.interface import Interface, Variable
    from midflight.state.renames import Renames

_FILE = re.compile(r"^[^:()<> ]*\.\w+:(?!:)")
_PLAIN = re.compile(r"[\w$]+(?:#\d+)?$")


@dataclass(frozen=True, slots=True)
class Matches:
    """``pairs`` of old and new; ``gone``: the new version has none; ``added``: the old version had none.

    All variables are here, also constants and those without an address (thread-local ones, or what the compiler
    optimised away, which is no error).
    """

    pairs: tuple[tuple[Variable, Variable], ...]
    gone: tuple[Variable, ...]
    added: tuple[Variable, ...]


def match(old: Interface, new: Interface, renames: Renames = NONE) -> Matches:
    """Pair the variables: by renames, then by key, by key without the file, and by plain name.

    The last two, for what was moved to another file or function, only where that leaves no doubt.
    """
    before = {key_of(variable): variable for variable in old.variables}
    after = {key_of(variable): variable for variable in new.variables}
    pairs = list(_renamed(before, after, renames))
    pairs += [(before.pop(key), after.pop(key)) for key in list(before) if key in after]
    for shorter in (_without_file, plain_name):
        pairs += _unambiguous(before, after, shorter)
    return Matches(tuple(pairs), tuple(before.values()), tuple(after.values()))


def key_of(variable: Variable) -> str:
    """Return what a variable is called in every version."""
    return variable.key or variable.name


def plain_name(key: str) -> str:
    """Return a variable's name without its scopes."""
    found = _PLAIN.search(key)
    return found.group() if found is not None else key


def _without_file(key: str) -> str:
    return _FILE.sub("", key)


def _renamed(
    before: dict[str, Variable], after: dict[str, Variable], renames: Renames
) -> list[tuple[Variable, Variable]]:
    pairs = []
    for was, now in renames.variables.items():
        old = next((key for key, variable in before.items() if was in (key, variable.name)), None)
        new = next((key for key, variable in after.items() if now in (key, variable.name)), None)
        if old is not None and new is not None:
            pairs.append((before.pop(old), after.pop(new)))
    return pairs


def _unambiguous(
    before: dict[str, Variable], after: dict[str, Variable], shorter: Callable[[str], str]
) -> list[tuple[Variable, Variable]]:
    old = Counter(shorter(key) for key in before)
    new = {shorter(key): key for key in after}
    count = Counter(shorter(key) for key in after)
    pairs = []
    for key in list(before):
        short = shorter(key)
        if old[short] == count[short] == 1:
            pairs.append((before.pop(key), after.pop(new[short])))
    return pairs
