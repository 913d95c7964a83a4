"""Exceptions as they travel: midflight's own come back as what they were, all others as a `RemoteError`."""

from __future__ import annotations

import traceback
from typing import Any

from midflight import _errors
from midflight._errors import BuildError, IncompatibleError, MidflightError, NativeExceptionError, RemoteError
from midflight.lanes.remote.wire import Trouble

_LONGEST = 64 << 10
_KINDS: dict[str, type[MidflightError]] = {
    name: kind
    for name, kind in vars(_errors).items()
    if isinstance(kind, type) and issubclass(kind, MidflightError) and kind is not RemoteError
}
_PLAIN_BUILTINS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (RecursionError, MemoryError, NotImplementedError)
}


def pack(error: BaseException) -> Trouble:
    """Describe an exception."""
    extra: dict[str, str] = {}
    lines: tuple[str, ...] = ()
    if not isinstance(error, MidflightError):
        text = "".join(traceback.format_exception(error))
        extra = {"traceback": _short(text)}
        return Trouble(type(error).__name__, _short(_words(error)), extra=extra)
    match error:
        case BuildError():
            extra = {"output": _short(error.output)}
        case IncompatibleError():
            lines = tuple(map(_short, error.changes))
        case NativeExceptionError():
            extra = {"type_name": _short(error.type_name)}
        case RemoteError():
            extra = {"type_name": _short(error.type_name), "traceback": _short(error.traceback)}
    return Trouble(
        type(error).__name__,
        _short(error.what),
        _short(error.subject),
        _short(error.unchanged),
        _short(error.todo),
        _short(error.stage),
        extra,
        lines,
    )


def unpack(trouble: Trouble, subject: str) -> Exception:
    """Return the exception that was described.  ``subject``: what it is about, where it doesn't say that itself."""
    kind = _KINDS.get(trouble.kind)
    parts: dict[str, Any] = {
        "subject": trouble.subject or subject,
        "unchanged": trouble.unchanged,
        "todo": trouble.todo,
        "stage": trouble.stage,
    }
    extra = trouble.extra
    if kind is None:
        plain = _PLAIN_BUILTINS.get(trouble.kind)
        if plain is not None:
            return plain(trouble.what)
        name = extra.get("type_name") or trouble.kind
        what = trouble.what if trouble.kind == "RemoteError" else f"{name} on the other side: {trouble.what}"
        return RemoteError(what, type_name=name, traceback=extra.get("traceback", ""), **parts)
    if kind is BuildError:
        return BuildError(trouble.what, output=extra.get("output", ""), **parts)
    if kind is IncompatibleError:
        return IncompatibleError(trouble.what, changes=trouble.lines, **parts)
    if kind is NativeExceptionError:
        return NativeExceptionError(trouble.what, type_name=extra.get("type_name", ""), **parts)
    try:
        return kind(trouble.what, **parts)
    except TypeError:  # a kind with parts of its own, which didn't travel
        return RemoteError(f"{trouble.kind} on the other side: {trouble.what}", type_name=trouble.kind, **parts)


def _words(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - an exception's own code may do anything
        return type(error).__name__


def _short(text: str) -> str:
    """Keep what can travel: no surrogates, not more than people read."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
