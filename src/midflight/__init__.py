"""Hot code swapping for running Python programs: native libraries replaced while the program runs.

``calc = midflight.load("calc.c")`` gives a module; ``midflight.swap(calc)`` builds, verifies and loads its new version
and makes it current, or refuses and changes nothing.
"""

from midflight._access import function, variables, versions
from midflight._access import types_of as types
from midflight._core import Function, Pointer
from midflight._errors import (
    ArgumentRangeError,
    ArgumentTypeError,
    BadLibraryError,
    BuildError,
    CompilerNotFoundError,
    ConstructorError,
    Diagnostic,
    IncompatibleError,
    InterfaceError,
    LoadError,
    MidflightError,
    MissingFunction,
    MissingLibraryError,
    MissingVariableError,
    NativeExceptionError,
    SourceError,
    SourceNotFoundError,
    SwapError,
    SwapInsideError,
    TriggerError,
    UnloadedError,
    UnresolvedSymbolError,
    UnsupportedFunctionError,
    UnsupportedPlatformError,
    WrongMachineError,
)
from midflight._events import Loaded, Refused, Swapped, subscribe
from midflight._load import load, unload
from midflight._pin import pin
from midflight._swap import Transaction, aswap, rollback, swap, transaction
from midflight._variables import Variables
from midflight._version import Report, Version
from midflight.triggers.signals import on_signal
from midflight.triggers.timer import every
from midflight.triggers.trigger import Trigger
from midflight.triggers.watch import Watcher, watch

__all__ = [
    "ArgumentRangeError",
    "ArgumentTypeError",
    "BadLibraryError",
    "BuildError",
    "CompilerNotFoundError",
    "ConstructorError",
    "Diagnostic",
    "Function",
    "IncompatibleError",
    "InterfaceError",
    "LoadError",
    "Loaded",
    "MidflightError",
    "MissingFunction",
    "MissingLibraryError",
    "MissingVariableError",
    "NativeExceptionError",
    "Pointer",
    "Refused",
    "Report",
    "SourceError",
    "SourceNotFoundError",
    "SwapError",
    "SwapInsideError",
    "Swapped",
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
    "WrongMachineError",
    "aswap",
    "every",
    "function",
    "load",
    "on_signal",
    "pin",
    "rollback",
    "subscribe",
    "swap",
    "transaction",
    "types",
    "unload",
    "variables",
    "versions",
    "watch",
]

__version__ = "0.1.0"
