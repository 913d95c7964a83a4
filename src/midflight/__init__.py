"""Hot code swapping for running Python programs: native libraries replaced while the program runs.

``calc = midflight.load("calc.c")`` gives a module; ``midflight.swap(calc)`` builds, verifies and loads its new version
and makes it current, or refuses and changes nothing.
"""

from midflight._access import function, variables, versions
from midflight._access import types_of as types
from midflight._blocks import Block, blocks, new
from midflight._cancellation import Cancellation
from midflight._core import Function, Pointer
from midflight._errors import (
    ArgumentRangeError,
    ArgumentTypeError,
    BadLibraryError,
    BindError,
    BuildError,
    CallTimeoutError,
    CompilerNotFoundError,
    ConnectionLostError,
    ConstructorError,
    ControlError,
    Diagnostic,
    GateTimeoutError,
    GoError,
    GoPanicError,
    HandleError,
    HookError,
    IncompatibleError,
    IntegrityError,
    InterfaceError,
    LoadError,
    MidflightError,
    MissingFunction,
    MissingLibraryError,
    MissingVariableError,
    ModuleCrashed,
    NativeExceptionError,
    ProbeError,
    ProtocolError,
    RemoteError,
    RestartRefusedError,
    ServeError,
    ServiceError,
    SoakError,
    SourceError,
    SourceNotFoundError,
    StateError,
    SwapError,
    SwapInsideError,
    TargetError,
    TokenError,
    TriggerError,
    UnloadedError,
    UnresolvedSymbolError,
    UnsupportedFunctionError,
    UnsupportedPlatformError,
    WorkerCrashedError,
    WorkerError,
    WrongMachineError,
)
from midflight._events import Loaded, Refused, Soaked, Swapped, subscribe
from midflight._function_pointer import pointer
from midflight._handles import Handle, handle, object_of, release
from midflight._hooks import Swapping, after_swap, before_swap
from midflight._inspect import inspect
from midflight._integrity import Signed
from midflight._load import load, unload
from midflight._migrations import migrate, renamed
from midflight._offer import offer
from midflight._pin import pin
from midflight._probe import check
from midflight._services import provide
from midflight._shared import shared_array
from midflight._soak import Soak
from midflight._swap import Transaction, aswap, rollback, swap, transaction
from midflight._timeouts import call_timeout
from midflight._trial import Probe
from midflight._variables import Variables
from midflight._version import Carried, Report, Version
from midflight._wrap import wrap
from midflight.build.headers import include
from midflight.inspection.model import Finding, Inspection
from midflight.lanes import Limits
from midflight.soaking.stats import SoakStats
from midflight.triggers.signals import on_signal
from midflight.triggers.timer import every
from midflight.triggers.trigger import Trigger
from midflight.triggers.watch import Watcher, watch

__all__ = [
    "ArgumentRangeError",
    "ArgumentTypeError",
    "BadLibraryError",
    "BindError",
    "Block",
    "BuildError",
    "CallTimeoutError",
    "Cancellation",
    "Carried",
    "CompilerNotFoundError",
    "ConnectionLostError",
    "ConstructorError",
    "ControlError",
    "Diagnostic",
    "Finding",
    "Function",
    "GateTimeoutError",
    "GoError",
    "GoPanicError",
    "Handle",
    "HandleError",
    "HookError",
    "IncompatibleError",
    "Inspection",
    "IntegrityError",
    "InterfaceError",
    "Limits",
    "LoadError",
    "Loaded",
    "MidflightError",
    "MissingFunction",
    "MissingLibraryError",
    "MissingVariableError",
    "ModuleCrashed",
    "NativeExceptionError",
    "Pointer",
    "Probe",
    "ProbeError",
    "ProtocolError",
    "Refused",
    "RemoteError",
    "Report",
    "RestartRefusedError",
    "ServeError",
    "ServiceError",
    "Signed",
    "Soak",
    "SoakError",
    "SoakStats",
    "Soaked",
    "SourceError",
    "SourceNotFoundError",
    "StateError",
    "SwapError",
    "SwapInsideError",
    "Swapped",
    "Swapping",
    "TargetError",
    "TokenError",
    "Transaction",
    "Trigger",
    "TriggerError",
    "UnloadedError",
    "UnresolvedSymbolError",
    "UnsupportedFunctionError",
    "UnsupportedPlatformError",
    "Variables",
    "Version",
    "Watcher",
    "WorkerCrashedError",
    "WorkerError",
    "WrongMachineError",
    "after_swap",
    "aswap",
    "before_swap",
    "blocks",
    "call_timeout",
    "check",
    "every",
    "function",
    "handle",
    "include",
    "inspect",
    "load",
    "migrate",
    "new",
    "object_of",
    "offer",
    "on_signal",
    "pin",
    "pointer",
    "provide",
    "release",
    "renamed",
    "rollback",
    "shared_array",
    "subscribe",
    "swap",
    "transaction",
    "types",
    "unload",
    "variables",
    "versions",
    "watch",
    "wrap",
]

__version__ = "0.1.0"
