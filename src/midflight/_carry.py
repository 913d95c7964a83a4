"""What is to become of a module's data in a swap: the options, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from midflight._errors import SourceError

Carry: TypeAlias = Literal["auto", "fresh", "require"] | Collection[str]
"""``"auto"``: every variable that the program has changed; ``"fresh"``: none; ``"require"``: every one, or no swap; or
the names of those to carry."""

OnDangling: TypeAlias = Literal["refuse", "keep"]
"""What to do about a carried pointer into the old version that has nothing to point to in the new one."""

TIMEOUT = 1.0
"""Seconds for which callers may have to wait for calls under way before data can move."""

HOOK_TIMEOUT = 5.0
"""Seconds that a hook may take."""


@dataclass(slots=True)
class Migrations:
    """What a program has said.  ``renames``: new names by old ones; ``functions``: by a struct's name before, bare."""

    renames: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Callable[[Any, Any], object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Carrying:
    """``carry``: a word, or names; ``on_dangling``; ``timeout``: seconds to wait for calls under way."""

    carry: str | tuple[str, ...] = "auto"
    on_dangling: str = "refuse"
    timeout: float = TIMEOUT

    def but(self, carry: Carry | None, on_dangling: OnDangling | None, timeout: float) -> Carrying:
        """Return these with what one swap was told instead.  Raises `SourceError` for what means nothing."""
        return Carrying(
            self.carry if carry is None else check_carry(carry),
            self.on_dangling if on_dangling is None else check_on_dangling(on_dangling),
            check_seconds("timeout", timeout),
        )


def check_carry(carry: Carry) -> str | tuple[str, ...]:
    """Return what ``carry=`` means.  Raises `SourceError`."""
    if isinstance(carry, str):
        if carry in {"auto", "fresh", "require"}:
            return carry
    elif isinstance(carry, Collection) and all(isinstance(name, str) for name in carry):
        return tuple(carry)
    raise SourceError(f"carry={carry!r} means nothing", todo="use 'auto', 'fresh', 'require' or a list of variables")


def check_on_dangling(choice: OnDangling) -> str:
    """Return what ``on_dangling=`` means.  Raises `SourceError`."""
    if not isinstance(choice, str) or choice not in {"refuse", "keep"}:
        raise SourceError(f"on_dangling={choice!r} means nothing", todo="use 'refuse' or 'keep'")
    return choice


def check_compat(choice: str) -> str:
    """Return what ``compat=`` means.  Raises `SourceError`: another word would let every change pass."""
    if not isinstance(choice, str) or choice not in {"strict", "any"}:
        raise SourceError(f"compat={choice!r} means nothing", todo="use 'strict' or 'any'")
    return choice


def check_seconds(name: str, seconds: float) -> float:
    """Return a number of seconds.  Raises `SourceError` for what is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise SourceError(f"{name}={seconds!r} is no number of seconds", todo="use 0 or more")
    return float(seconds)
