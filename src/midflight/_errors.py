"""Every error that midflight raises on purpose, one class per kind.

Each error says what happened, to what, what was left unchanged and what to do next.  A swap that fails fills in
``stage`` (the stage of the transaction that refused) and ``unchanged`` on its way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Sequence


class Words(TypedDict, total=False):
    """What every error can say besides what happened; see `MidflightError`."""

    subject: str
    unchanged: str
    todo: str
    stage: str


class CrashWords(Words, total=False):
    """What errors that tell of a crash can say too; see `ModuleCrashed`."""

    signal: int
    address: int | None
    backtrace: tuple[str, ...]
    text: str


class MidflightError(Exception):
    """The base of all of midflight's errors.

    ``what`` happened (a clause without a full stop), to ``subject`` (a path, a module, a function), what was left
    ``unchanged``, and what ``todo`` next.  ``stage`` names the stage of a load or a swap that failed, if one did.
    """

    usual_todo: ClassVar[str] = ""
    """What to do next where nothing more exact is said."""

    def __init__(self, what: str, *, subject: str = "", unchanged: str = "", todo: str = "", stage: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.subject = subject
        self.unchanged = unchanged
        self.todo = todo or self.usual_todo
        self.stage = stage

    def __str__(self) -> str:
        head = f"{self.subject}: {self.what}" if self.subject else self.what
        rest = [part for part in (self.unchanged, self.todo) if part]
        return "; ".join([head, *rest])


class _CrashError(MidflightError):
    """What all errors that tell of a crash have in common.  The classes below say what it means for each."""

    def __init__(
        self,
        what: str,
        *,
        signal: int = 0,
        address: int | None = None,
        backtrace: tuple[str, ...] = (),
        text: str = "",
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.signal = signal
        self.address = address
        self.backtrace = backtrace
        self.text = text

    def __str__(self) -> str:
        frames = "".join(f"\n  {frame}" for frame in self.backtrace)
        return super().__str__() + frames + (f"\n{self.text.rstrip()}" if self.text else "")


# ---- what was asked to be loaded ------------------------------------------------------------------------------------


class SourceNotFoundError(MidflightError, FileNotFoundError):
    """The file or directory that should be loaded isn't there."""

    __str__ = MidflightError.__str__


class SourceError(MidflightError, ValueError):
    """What was given is there, but is nothing that midflight can load or build."""


class CompilerNotFoundError(MidflightError):
    """No compiler for this source was found on this machine."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of a compiler: ``file``, 1-based ``line`` and ``column`` (0: not said), ``severity``, ``message``."""

    file: str
    line: int
    column: int
    severity: str
    message: str


class BuildError(MidflightError):
    """The compiler or build command failed.  ``output`` is its own text, ``diagnostics`` what could be read from it."""

    def __init__(
        self,
        what: str,
        *,
        output: str,
        command: Sequence[str] = (),
        diagnostics: Sequence[Diagnostic] = (),
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.output = output
        self.command = tuple(command)
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        head = super().__str__()
        return f"{head}\n{self.output.rstrip()}" if self.output.strip() else head


# ---- what was read --------------------------------------------------------------------------------------------------


class BadLibraryError(MidflightError, ValueError):
    """The bytes aren't a shared library that can be loaded safely: empty, text, truncated, or with wild offsets."""


class WrongMachineError(BadLibraryError):
    """A shared library, but for another machine or word size than this process."""


class IntegrityError(MidflightError):
    """Bytes that aren't those that were expected, or a file or directory that somebody else may have put there."""


class InterfaceError(MidflightError, ValueError):
    """What a library offers can't be told: no usable debug information, or an ``interface=`` that doesn't fit it."""


class IncompatibleError(MidflightError):
    """A new version doesn't offer what the current one does.  ``changes`` names each function or type, a line each."""

    def __init__(
        self,
        what: str,
        *,
        changes: Sequence[str],
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.changes = tuple(changes)


# ---- loading --------------------------------------------------------------------------------------------------------


class LoadError(MidflightError):
    """The system's loader refused the library.  ``what`` carries the loader's own words."""


class UnresolvedSymbolError(LoadError):
    """The library needs a symbol that nothing provides: ``symbol``, as the linker calls it."""

    def __init__(self, what: str, *, symbol: str = "", **rest: Unpack[Words]) -> None:
        super().__init__(what, **rest)
        self.symbol = symbol


class MissingLibraryError(LoadError):
    """The library needs another library that can't be found."""


class ConstructorError(_CrashError, LoadError):
    """A constructor of the library raised a C++ exception while the library was being loaded, or crashed.

    ``signal``, ``address``, ``backtrace``: of a crash, as `ModuleCrashed` has them; else 0, None and ().
    """


class UnsupportedPlatformError(MidflightError):
    """This operating system, processor or C library can't be served."""


# ---- calling --------------------------------------------------------------------------------------------------------


class MissingFunction(MidflightError, AttributeError):  # noqa: N818 - the name is part of the public contract
    """The current version has no such function."""


class MissingVariableError(MidflightError, KeyError):
    """The current version has no such variable."""


class UnsupportedFunctionError(MidflightError, TypeError):
    """The function exists, but has a type that can't be called from Python."""


class ArgumentTypeError(MidflightError, TypeError):
    """A wrong number of arguments, or an argument of the wrong type."""


class ArgumentRangeError(MidflightError, OverflowError):
    """An integer that doesn't fit the parameter's type."""


class UnloadedError(MidflightError):
    """The module or version has been unloaded."""

    usual_todo = "load it again"


class NativeExceptionError(MidflightError):
    """Native code raised a C++ exception that left the called function.  ``type_name`` is its C++ type."""

    def __init__(
        self,
        what: str,
        *,
        type_name: str = "",
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.type_name = type_name


class ModuleCrashed(_CrashError):  # noqa: N818 - the name is part of the public contract
    """A function of a module crashed in this process, which goes on.  See docs/crashes.md for what may be broken now.

    ``signal``: its number; ``address``: the one of a fault, or None; ``backtrace``: functions, innermost first, as
    "function (file:line)".
    """


# ---- code that runs elsewhere ---------------------------------------------------------------------------------------


class WorkerError(MidflightError):
    """Something is wrong with the process that a version runs in."""


class WorkerCrashedError(_CrashError, WorkerError):
    """The process that a version runs in has died during a call, or before it was ready.

    ``signal``: its number, 0 if it exited; ``address``: the one of a fault, or None; ``backtrace``: functions,
    innermost first, as "function (file:line)"; ``text``: what the language's runtime wrote about it, "" if nothing.
    """


class CallTimeoutError(WorkerError, TimeoutError):
    """A call took longer than it was given.  Whether it has been carried out, or still will be, can't be said."""

    __str__ = MidflightError.__str__


class ConnectionLostError(MidflightError, ConnectionError):
    """The other side of a socket can't be reached, or was lost during a call, which isn't repeated."""

    usual_todo = "see that the other side runs and can be reached; the next call connects anew"

    __str__ = MidflightError.__str__


class ProtocolError(MidflightError):
    """The other side of a socket speaks another protocol or version, or broke its rules."""

    usual_todo = "see that both sides run the same version of midflight"


class TokenError(MidflightError, PermissionError):
    """The two sides of a socket don't have the same token."""

    __str__ = MidflightError.__str__


class RemoteError(MidflightError):
    """An exception on the other side that has no kind here.  ``type_name`` and ``traceback`` are from there."""

    def __init__(
        self,
        what: str,
        *,
        type_name: str = "",
        traceback: str = "",
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.type_name = type_name
        self.traceback = traceback


# ---- Go ------------------------------------------------------------------------------------------------------------


class GoError(MidflightError):
    """An error that a Go function returned, or one to pass to Go: ``GoError("no such order")``.

    ``type_name``: its Go type; ``chain``: the texts of the errors that it wraps, outermost first; ``results``: what the
    function returned besides.  Two are equal if their texts and types are.
    """

    def __init__(
        self,
        what: str,
        *,
        type_name: str = "",
        chain: tuple[str, ...] = (),
        results: tuple[Any, ...] = (),
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.type_name = type_name
        self.chain = chain
        self.results = results

    def __str__(self) -> str:
        return self.what

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GoError):
            return NotImplemented
        return (self.what, self.type_name) == (other.what, other.type_name)

    def __hash__(self) -> int:
        return hash((self.what, self.type_name))


class GoPanicError(MidflightError):
    """Go code panicked inside a call.  ``type_name``: of what it panicked with; ``stack``: Go's stack trace."""

    def __init__(
        self,
        what: str,
        *,
        type_name: str = "",
        stack: str = "",
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.type_name = type_name
        self.stack = stack

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stack}" if self.stack else super().__str__()


# ---- serving ---------------------------------------------------------------------------------------------------------


class ServeError(MidflightError):
    """Serving can't be done as asked."""


class BindError(ServeError, ValueError):
    """An address that can't be listened on, or is none."""

    usual_todo = "choose an address that is free, and that this user may use"


class TargetError(ServeError, ValueError):
    """What should be served isn't there, or is nothing that can be served."""


class ControlError(ServeError):
    """The supervisor can't be reached, or doesn't answer as it should."""

    usual_todo = "see what its log says, and ask again"


class RestartRefusedError(ServeError):
    """New processes didn't become ready; those before them go on.  ``words`` are the last lines that one wrote."""

    def __init__(
        self,
        what: str,
        *,
        words: Sequence[str] = (),
        **rest: Unpack[Words],
    ) -> None:
        super().__init__(what, **rest)
        self.words = tuple(words)


# ---- swapping -------------------------------------------------------------------------------------------------------


class SwapError(MidflightError):
    """A swap can't be done as asked: nothing to go back to, a module that isn't midflight's, a failed transaction."""


class SwapInsideError(SwapError):
    """A swap that would have to wait for the very call that it is asked from."""


class StateError(SwapError):
    """Data can't be carried to the new version.  ``refusals`` says for each variable why, a line each."""

    def __init__(self, what: str, *, refusals: Sequence[str], **rest: Unpack[Words]) -> None:
        super().__init__(what, **rest)
        self.refusals = tuple(refusals)


class GateTimeoutError(SwapError, TimeoutError):
    """Calls under way didn't end in time, and the data can't move meanwhile.  ``inside`` says who, a line each."""

    __str__ = MidflightError.__str__

    def __init__(self, what: str, *, inside: Sequence[str], **rest: Unpack[Words]) -> None:
        super().__init__(what, **rest)
        self.inside = tuple(inside)


class ProbeError(_CrashError, SwapError):
    """A new version didn't pass its probe, in a process of its own.

    ``kind``: what went wrong; ``signal``: the number of the one that ended the process, or 0; ``address``: the one of a
    fault, or None; ``backtrace``: functions, innermost first, as "function (file:line)"; ``text``: a check's traceback,
    or what the process wrote before it ended.
    """

    def __init__(
        self,
        what: str,
        *,
        kind: Literal["crash", "hang", "exit", "check", "memory", "replay", "start", "load"] = "crash",
        **rest: Unpack[CrashWords],
    ) -> None:
        super().__init__(what, **rest)
        self.kind = kind


class SoakError(SwapError):
    """A candidate that got a share of the calls did worse than the current version.  ``findings``: how, a line each."""

    def __init__(self, what: str, *, findings: Sequence[str] = (), **rest: Unpack[Words]) -> None:
        super().__init__(what, **rest)
        self.findings = tuple(findings)


class HookError(SwapError):
    """A hook of the library's or of the program's has refused, raised, crashed or not returned in time."""


# ---- what native code is given --------------------------------------------------------------------------------------


class ServiceError(MidflightError, ValueError):
    """A host service can't be provided: nobody calls it, or its type isn't known or doesn't fit."""


class HandleError(MidflightError, LookupError):
    """A handle that stands for no Python object: stale, forged, or another module's."""

    __str__ = MidflightError.__str__


# ---- triggers -------------------------------------------------------------------------------------------------------


class TriggerError(MidflightError, ValueError):
    """What should start swaps can't be set up as asked: a wrong signal, thread, or number of seconds."""


# ---- whose doing it is -----------------------------------------------------------------------------------------------

CRASHES = (WorkerCrashedError, ModuleCrashed)
"""A call ended like this because the code of its version crashed."""

FAULTS = (*CRASHES, NativeExceptionError, CallTimeoutError, GoError, GoPanicError)
"""A call ended like this because of what the code of its version did: what soak counts as errors."""

NOT_CALLED = (ArgumentTypeError, ArgumentRangeError, UnsupportedFunctionError, MissingFunction, UnloadedError)
"""A call like this never reached the code: the caller's mistake."""
