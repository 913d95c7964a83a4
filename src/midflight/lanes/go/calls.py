"""Calls into a Go worker: arguments in, results out.

Guarantees: a `Caller` may be used by any number of threads at once.  All arguments are checked before anything is
sent.  A Python function that is passed as an argument is called in the thread that makes the call, and what it
raises is raised by the call, unless Go does something else about it.
"""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from midflight import _core
from midflight._cancellation import Cancellation
from midflight._errors import (
    ArgumentRangeError,
    ArgumentTypeError,
    GoError,
    GoPanicError,
    MidflightError,
    UnloadedError,
)
from midflight.lanes.go import wire
from midflight.lanes.go.checks import MisfitError
from midflight.lanes.go.classes import GoStruct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midflight.lanes.go.code import GoCode
    from midflight.lanes.go.model import Func
    from midflight.lanes.go.values import Types


class Open(threading.local):
    """The calls that this thread is in: each one's Python functions, by number."""

    def __init__(self) -> None:
        self.calls: list[Callbacks] = []


open_calls = Open()


class Callbacks:
    """The Python functions that were passed to one call, and what they raised."""

    def __init__(self, code: GoCode) -> None:
        self.code = code
        self.raised: list[BaseException] = []
        self._functions: list[tuple[Callable[..., Any], Func, Types]] = []

    def add(self, function: Callable[..., Any], func: Func, types: Types) -> int:
        """Remember a function and return its number."""
        self._functions.append((function, func, types))
        return len(self._functions) - 1

    def __call__(self, number: int, payload: bytes) -> bytes:
        """Run a function for Go."""
        function, func, types = self._functions[number]
        try:
            arguments = self.code.decode(payload)[1 if func.context else 0 :]
            converters = [types.from_go(param.type) for param in func.params]
            given = [
                value if convert is None else convert(value)
                for value, convert in zip(arguments, converters, strict=True)
            ]
            if func.variadic:
                given[-1:] = given[-1]
            result = function(*given)
            return wire.encode([0, *self._results(function, func, types, result)])
        except BaseException as error:  # noqa: BLE001 - it is raised again by the call
            self.raised.append(error)
            return wire.encode([1, len(self.raised) - 1, f"{type(error).__name__}: {error}"])

    def _results(self, function: Callable[..., Any], func: Func, types: Types, result: Any) -> list[Any]:
        wanted = len(func.results)
        if wanted == 1:
            values: Sequence[Any] = (result,)
        elif wanted == 0:
            values = ()
        else:
            values = result if isinstance(result, (tuple, list)) else (result,)
        name = getattr(function, "__name__", "a callback")
        if len(values) != wanted:
            raise ArgumentTypeError(f"{wanted} results are expected, not {len(values)}", subject=name)
        made = []
        for param, value in zip(func.results, values, strict=True):
            try:
                made.append(types.to_go(param.type)(value))
            except MisfitError as misfit:
                raise misfit_error(misfit, "its result", name) from None
        return made


class Gone:
    """Stands for a version that has been unloaded."""

    def __getattr__(self, name: str) -> Any:
        raise UnloadedError("this version has been unloaded", todo="call the module itself")


GONE: Any = Gone()


class Caller:
    """One function or method of Go's, to be called."""

    def __init__(self, code: GoCode, number: int, func: Func, types: Types, subject: str) -> None:
        self.code = code
        self.number = number
        self.func = func
        self.types = types
        self.subject = subject
        self.names = func.names()
        self.converters = [types.to_go(param.type) for param in func.params]
        self._count = len(func.params)
        self._results = [types.from_go(param.type) for param in func.results]
        self._calls_back = any(_may_hold_func(types, param.type, set()) for param in func.params)
        # The commonest case needs none of the rest.
        self._plain = not (func.context or func.variadic or self._calls_back)

    def let_go(self) -> None:
        """Be called no more."""
        self.code = GONE
        self.converters, self._results = [], []

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call a function."""
        return self.run((), arguments, keywords)

    def run(
        self, head: tuple[Any, ...], arguments: tuple[Any, ...], keywords: dict[str, Any], receiver: Any = None
    ) -> Any:
        """Call it; ``head``: what the message begins with; ``receiver``: of a method of a value that Python has."""
        if self._plain and not keywords and len(arguments) == self._count:
            return self._run(head, arguments, receiver)
        timeout, cancellation = self._context(keywords) if self.func.context else (None, None)
        arguments = self._bind(arguments, keywords)
        if not self.func.context:
            return self._run(head, arguments, receiver)
        if cancellation is None or cancellation.cancelled:
            return self._run((*head, timeout, None if cancellation is None else True), arguments, receiver)
        with self.code.cancels.watching(cancellation) as key:
            return self._run((*head, timeout, key), arguments, receiver)

    def _run(self, head: tuple[Any, ...], arguments: tuple[Any, ...], receiver: Any) -> Any:
        if self._calls_back:
            callbacks = Callbacks(self.code)
            open_calls.calls.append(callbacks)
            try:
                message = [*head, *self._converted(arguments)]
                answer = self.code.message(self.number, message, self.subject, callbacks)
            finally:
                open_calls.calls.pop()
        else:
            callbacks = None
            answer = self.code.message(self.number, [*head, *self._converted(arguments)], self.subject)
        if answer[0] != wire.VALUE:
            self._raise(answer, callbacks)
        if answer[2]:
            self._take_back(answer[2], arguments, receiver)
        return self._result(answer[1])

    def _converted(self, arguments: tuple[Any, ...]) -> list[Any]:
        made: list[Any] = []
        try:
            for convert, value in zip(self.converters, arguments, strict=True):
                made.append(convert(value))
        except MisfitError as misfit:
            raise misfit_error(misfit, f"parameter {self.names[len(made)]}", self.subject) from None
        except RecursionError:
            what = f"parameter {self.names[len(made)]}: the value is nested too deep, or contains itself"
            raise ArgumentTypeError(what, subject=self.subject) from None
        return made

    def _context(self, keywords: dict[str, Any]) -> tuple[float | None, Cancellation | None]:
        """Take out of the keywords what is for the context."""
        timeout: Any = keywords.pop(self.func.timeout_name(), None)
        if timeout is not None and (isinstance(timeout, (str, bool)) or not hasattr(timeout, "__float__")):
            what = f"timeout is a number of seconds, not {type(timeout).__name__}"
            raise ArgumentTypeError(what, subject=self.subject)
        cancellation: Any = keywords.pop(self.func.cancel_name(), None)
        if cancellation is not None and not isinstance(cancellation, Cancellation):
            what = f"cancel is a midflight.Cancellation, not {type(cancellation).__name__}"
            raise ArgumentTypeError(what, subject=self.subject)
        return None if timeout is None else max(0.0, float(timeout)), cancellation

    def _bind(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """Arrange arguments by position; those of a variadic function's dots become a list."""
        try:
            bound = signature(self.func, self.types, with_context=False).bind(*arguments, **keywords)
        except TypeError as error:
            shown = ", ".join(self.names)
            raise ArgumentTypeError(str(error), subject=self.subject, todo=f"it takes ({shown})") from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def _result(self, values: list[Any]) -> Any:
        results = self._results
        if len(values) != len(results):
            raise MidflightError(
                "the worker's answer has another form than its interface", subject=self.subject, todo="report this"
            )
        if len(results) == 1:
            convert = results[0]
            return values[0] if convert is None else convert(values[0])
        if not results:
            return None
        return tuple(value if one is None else one(value) for value, one in zip(values, results, strict=True))

    def _take_back(self, changed: dict[int, Any], arguments: tuple[Any, ...], receiver: Any) -> None:
        """Bring what Go changed through a pointer into the object that was passed."""
        for index, values in changed.items():
            if index >= 0:
                target, type_ = arguments[index], self.types.list[self.func.params[index].type].elem
                _assign(self.types, type_, target, values)
            else:
                self.code.take_back_receiver(receiver, values)

    def _raise(self, answer: list[Any], callbacks: Callbacks | None) -> None:
        kind, *rest = answer
        if kind == wire.FAILED:
            text, type_name, chain, results = rest
            values = tuple(
                value if one is None else one(value) for value, one in zip(results, self._results, strict=True)
            )
            raise GoError(text, type_name=type_name, chain=tuple(chain), results=values, subject=self.subject)
        if kind == wire.RAISED and callbacks is not None and rest[0] < len(callbacks.raised):
            _core.raised_by_callback()
            raise callbacks.raised[rest[0]]
        raise_failure(kind, rest, self.subject)


def raise_failure(kind: int, rest: list[Any], subject: str) -> None:
    """Raise what an answer without results says."""
    if kind == wire.PANIC:
        text, type_name, stack = rest
        todo = "its worker goes on; see Go's stack trace"
        raise GoPanicError(f"Go panicked: {text}", type_name=type_name, stack=stack, subject=subject, todo=todo)
    raise ArgumentTypeError(str(rest[0]) if rest else "the worker refused", subject=subject)


def misfit_error(misfit: MisfitError, place: str, subject: str) -> ArgumentTypeError | ArgumentRangeError:
    """Return the error for a value that doesn't fit."""
    what = f"{place}{''.join(reversed(misfit.where))}: {misfit.what}"
    return ArgumentRangeError(what, subject=subject) if misfit.range else ArgumentTypeError(what, subject=subject)


def _assign(types: Types, index: int, target: Any, values: list[Any]) -> None:
    fields = types.list[index].fields
    for field, value in zip(fields, values, strict=True):
        convert = types.from_go(field.type)
        made = value if convert is None else convert(value)
        if isinstance(target, GoStruct):
            name = next((name for name in (field.name, f"{field.name}_") if hasattr(target, name)), None)
            if name is not None:
                setattr(target, name, made)
        elif isinstance(target, dict):
            target[field.name] = made


def assign_struct(types: Types, index: int, target: GoStruct, values: list[Any]) -> None:
    """Let a data object have the fields that Go gave back."""
    _assign(types, index, target, values)


def _may_hold_func(types: Types, index: int, seen: set[int]) -> bool:
    if index in seen:
        return False
    seen.add(index)
    one = types.list[index]
    if one.kind == "func":
        return True
    inner = [number for number in (one.elem, one.key) if number >= 0]
    if one.kind == "struct":
        inner += [field.type for field in one.fields]
    return any(_may_hold_func(types, number, seen) for number in inner)


# ---- signatures -----------------------------------------------------------------------------------------------------


def signature(func: Func, types: Types, *, with_context: bool = True) -> inspect.Signature:
    """Return a function's signature, as Python shows it; annotations are Go's own words."""
    made = []
    names = func.names()
    for index, (name, param) in enumerate(zip(names, func.params, strict=True)):
        variadic = func.variadic and index == len(names) - 1
        kind = inspect.Parameter.VAR_POSITIONAL if variadic else inspect.Parameter.POSITIONAL_OR_KEYWORD
        text = short(types, types.list[param.type].elem if variadic else param.type)
        made.append(inspect.Parameter(name, kind, annotation=text))
    if func.context and with_context:
        for name, annotation in ((func.timeout_name(), "float | None"), (func.cancel_name(), "Cancellation | None")):
            made.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return inspect.Signature(made, return_annotation=results_text(func, types))


def results_text(func: Func, types: Types) -> str:
    """Spell what a function returns, as Go does."""
    parts = [short(types, param.type) for param in func.results]
    if not parts:
        return "None"
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def short(types: Types, index: int) -> str:
    """Spell a type without what is in the structs that it names."""
    one = types.list[index]
    match one.kind:
        case "slice":
            return one.name or f"[]{short(types, one.elem)}"
        case "array":
            return one.name or f"[{one.length}]{short(types, one.elem)}"
        case "map":
            return one.name or f"map[{short(types, one.key)}]{short(types, one.elem)}"
        case "pointer":
            return one.name or f"*{short(types, one.elem)}"
        case "object":
            return f"*{one.name}" if one.text.startswith("*") and one.name else one.name or one.text
    return one.name or one.text


def extension_of_callback(function: Callable[..., Any], func: Func, types: Types) -> msgspec.msgpack.Ext:
    """Return what stands for a Python function in the message of the call that is being made."""
    if not open_calls.calls:
        raise MisfitError("a Python function can only be passed to a call")
    number = open_calls.calls[-1].add(function, func, types)
    return msgspec.msgpack.Ext(wire.CALLBACK, number.to_bytes(8, "big"))
