"""What a new version has to pass: a probe before it runs here, a soak afterwards.  The options, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from midflight._carry import Carry, OnDangling, check_seconds
from midflight._errors import SourceError
from midflight._integrity import Expected, check_expect

OnCrash: TypeAlias = Literal["raise", "end"]
"""What a crash of a module's function in this process does: raise `ModuleCrashed`, or end the program as ever."""

Compare: TypeAlias = Literal["exact"] | float | Callable[[str, tuple[Any, ...], Any, Any], object]
"""When a recorded answer and a new one are the same: ``"exact"``; within a tolerance, relative to the greater one; or
what a function says that is given the function's name, the arguments, the old answer and the new one."""

Judge: TypeAlias = Callable[[Any, Any], str | None]
"""Given the old version's figures and the new one's, returns why the new one must go, or None."""

MAX_ERROR_RATE = 0.01
"""By how much the share of calls that fail may grow."""

MAX_SLOWDOWN = 2.0
"""How many times as long as the old version's the new version's calls may take."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a version is tried in a process of its own before it becomes current.

    ``timeout``: seconds for all of it; ``memory``: bytes that it may take on top of what the process has, None: no
    limit; ``provides``: stand-ins for the functions that the library gets from the program, by name: what isn't there
    answers zero.  Raises `SourceError` for what means nothing.
    """

    timeout: float = 10.0
    memory: int | None = None
    provides: dict[str, Callable[..., Any]] | None = None

    def __post_init__(self) -> None:
        if check_seconds("timeout", self.timeout) == 0:
            raise SourceError("timeout=0 leaves no time for a probe", todo="use probe=False for none")
        if self.memory is not None and (
            isinstance(self.memory, bool) or not isinstance(self.memory, int) or self.memory < 1
        ):
            raise SourceError(
                f"memory={self.memory!r} is no number of bytes", todo="use a whole number above 0, or None"
            )
        check_stand_ins(self.provides)


@dataclass(frozen=True, slots=True)
class RegisteredCheck:
    """A function of the program's that a new version has to pass, and the stand-ins that it wants."""

    function: Callable[[Any], object]
    provides: dict[str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Soaking:
    """``seconds`` for which a new version is watched (0: not at all) and what sends it back; see `midflight.swap`."""

    seconds: float = 0.0
    max_error_rate: float = MAX_ERROR_RATE
    max_slowdown: float = MAX_SLOWDOWN
    judge: Judge | None = None
    canary: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What one swap's new version has to pass.

    ``probe``: None: as the module has it; ``expect``: which bytes are the right ones, None: any.
    """

    probe: Probe | bool | None = None
    soaking: Soaking = field(default_factory=Soaking)
    expect: Expected | None = None


class SwapOptions(TypedDict, total=False):
    """The options of `midflight.swap`, which says what they mean."""

    compat: Literal["strict", "any"] | None
    drain: float
    carry: Carry | None
    on_dangling: OnDangling | None
    timeout: float
    probe: Probe | bool | None
    soak: float
    max_error_rate: float
    max_slowdown: float
    judge: Judge | None
    canary: float
    expect: Expected | None


def check_on_crash(choice: OnCrash | None) -> OnCrash | None:
    """Return what ``on_crash=`` means.  Raises `SourceError`."""
    if choice not in {None, "raise", "end"}:
        raise SourceError(f"on_crash={choice!r} means nothing", todo="use 'raise' or 'end'")
    return choice


def check_probe(probe: Probe | bool | None) -> Probe | bool | None:  # noqa: FBT001 - an option, passed on
    """Return what ``probe=`` means.  Raises `SourceError`."""
    if probe is not None and not isinstance(probe, (bool, Probe)):
        raise SourceError(f"probe={probe!r} means nothing", todo="use True, False or midflight.Probe(...)")
    return probe


def check_compare(compare: Compare) -> Compare:
    """Return what ``compare=`` means.  Raises `SourceError`."""
    is_number = isinstance(compare, (int, float)) and not isinstance(compare, bool) and compare >= 0
    if compare != "exact" and not is_number and not callable(compare):
        what = f"compare={compare!r} means nothing"
        raise SourceError(what, todo="use 'exact', a tolerance such as 1e-9, or a function of the two answers")
    return compare


def check_stand_ins(provides: Any) -> dict[str, Callable[..., Any]]:
    """Return what stands in for functions of the program's in a probe, by name.  Raises `SourceError`."""
    found = {} if provides is None else provides
    if not isinstance(found, dict) or not all(isinstance(name, str) and callable(one) for name, one in found.items()):
        todo = 'pass a dictionary of functions by name: {"say": lambda text: None}'
        raise SourceError(f"provides={provides!r} means nothing", todo=todo)
    return found


def check_share(name: str, share: float) -> float:
    """Return a share of calls.  Raises `SourceError` for what is none."""
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise SourceError(f"{name}={share!r} is no share", todo="use a number from 0 to 1")
    return float(share)


def check_trial(options: SwapOptions) -> Trial:
    """Return what a swap's new version has to pass.  Raises `SourceError` for options that mean nothing."""
    return Trial(check_probe(options.get("probe")), _check_soaking(options), check_expect(options.get("expect")))


def _check_soaking(options: SwapOptions) -> Soaking:
    seconds, canary = check_seconds("soak", options.get("soak", 0.0)), check_share("canary", options.get("canary", 0.0))
    slowdown, judge = options.get("max_slowdown", MAX_SLOWDOWN), options.get("judge")
    if canary > 0 and seconds == 0:
        what = f"canary={canary!r} doesn't say for how long"
        raise SourceError(what, todo="give soak= too: the seconds for which the candidate gets its share of calls")
    if judge is not None and not callable(judge):
        raise SourceError(f"judge={judge!r} is no function", todo="give a function of the old and the new figures")
    if not isinstance(slowdown, (int, float)) or not slowdown > 0:
        raise SourceError(f"max_slowdown={slowdown!r} means nothing", todo="use a factor, such as 2.0")
    error_rate = check_share("max_error_rate", options.get("max_error_rate", MAX_ERROR_RATE))
    return Soaking(seconds, error_rate, float(slowdown), judge, canary)
