"""What ``app:main`` names, and what kind of application that is."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from midflight._errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind: TypeAlias = Literal["main", "asgi", "wsgi"]

KINDS: Final[tuple[Kind, ...]] = ("main", "asgi", "wsgi")
_SPELLING = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?P<made>\(\))?")
_ASGI_PARAMETERS = 3
_PARAMETERS = 2


def check(text: str) -> None:
    """Raise a `TargetError` if ``text`` can't name anything."""
    if _SPELLING.fullmatch(text) is None:
        raise TargetError(
            "no application's name",
            subject=text,
            todo="write module:name, or module:name() for what a function returns",
        )


def find(text: str) -> Callable[..., Any]:
    """Import and return what ``text`` names.  Raises `TargetError`, and whatever the module raises."""
    check(text)
    match = _SPELLING.fullmatch(text)
    found: Any = importlib.import_module(match["module"]) if match else None
    for name in match["name"].split(".") if match else ():
        try:
            found = getattr(found, name)
        except AttributeError:
            raise TargetError(f"there is no {name}", subject=text, todo="name what the module defines") from None
    if match and match["made"]:
        found = found()
    if not callable(found):
        raise TargetError(f"a {type(found).__name__} can't be called", subject=text, todo="name an application")
    return found  # type: ignore[no-any-return]


def kind_of(application: Callable[..., Any], text: str) -> Kind:
    """Return what kind of application it is, by what it takes.  Raises `TargetError` where that doesn't tell."""
    try:
        parameters = [
            parameter
            for parameter in inspect.signature(application).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        ]
    except (TypeError, ValueError):
        parameters = []
    names = [parameter.name for parameter in parameters]
    if len(names) == _ASGI_PARAMETERS:
        return "asgi"
    if len(names) == _PARAMETERS and names[1] == "start_response":
        return "wsgi"
    if len(names) == _PARAMETERS and (names[0] == "listeners" or names[1] == "lifecycle"):
        return "main"
    takes = f"it takes ({', '.join(names)})" if names else "what it takes isn't said"
    raise TargetError(
        f"can't tell what kind of application it is: {takes}",
        subject=text,
        todo="say --kind main, asgi or wsgi, or name the parameters (listeners, lifecycle)",
    )
