"""How a check gets to the probing process: by value, with all of the program's own code that it uses.

The program's top level must not run again over there.  So functions and classes of the program's own modules travel
themselves, whatever module they are in; only what is installed is imported there, and modules that a check names as
such.  References to the module under trial arrive as the candidate.
"""

from __future__ import annotations

import functools
import io
import pickle
import site
import sys
import sysconfig
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
from cloudpickle import cloudpickle as inner

from midflight import _core
from midflight._control import control_of, is_pinned
from midflight._errors import MidflightError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight._control import Control
    from midflight.probing.candidate import Candidate

_PACKAGES = frozenset({"site-packages", "dist-packages"})  # also those that only a .pth file names
_CANDIDATE, _FUNCTION, _TYPE = "candidate", "function", "type"


class CannotTravelError(Exception):
    """Something can't be taken to another process; the text says what, and why."""


def pack(value: Any, control: Control) -> bytes:
    """Return a function, or a dictionary of functions, for another process.  Raises `CannotTravelError`."""
    try:
        return _packed(value, control)
    except CannotTravelError:
        raise
    except Exception as error:  # noqa: BLE001 - any object may raise anything
        culprit = _culprit(value, control)
        if culprit is None:
            raise CannotTravelError(_reason(error)) from None
        name, inside = culprit
        raise CannotTravelError(f"it refers to {name}, which can't be taken along ({_reason(inside)})") from None


def unpack(data: bytes, candidate: Candidate | None) -> Any:
    """Return what was packed.  ``candidate``: None where there is none yet."""
    return _Unpacker(io.BytesIO(data), candidate).load()


# ---- packing --------------------------------------------------------------------------------------------------------


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # it says nothing of its types
    """Takes the program's own functions and classes by value, and the module under trial by name."""

    def __init__(self, file: io.BytesIO, control: Control) -> None:
        super().__init__(file)
        self._control = control
        current = control.current
        code = current.code if current is not None else None
        self._classes = {id(found): name for name, found in code.ctypes.namespace().items()} if code else {}

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, _core.Function):
            return self._function(value)
        if isinstance(value, type) and id(value) in self._classes:
            return _TYPE, self._classes[id(value)]
        return None

    def _module(self, module: types.ModuleType) -> tuple[str, str] | None:
        if is_pinned(module):
            raise CannotTravelError(f"it refers to {module.__name__}, a version that the program has pinned")
        try:
            control = control_of(module)
        except MidflightError:
            if module.__name__ == "__main__":
                what = "it refers to the module __main__ itself, which would have to run again"
                raise CannotTravelError(what) from None
            return None
        if control is not self._control:
            what = f"it refers to {control.name}, another module of midflight's, which the probe hasn't got"
            raise CannotTravelError(what)
        return _CANDIDATE, ""

    def _function(self, function: _core.Function) -> tuple[str, str]:
        if not self._control.has(function):
            raise CannotTravelError(f"it refers to {function.__name__}, a function of another module of midflight's")
        return _FUNCTION, function.__name__

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType) and _is_own(value.__module__):
            return self._dynamic_function_reduce(value)
        if isinstance(value, type) and _is_own(value.__module__):
            return inner._dynamic_class_reduce(value)  # noqa: SLF001 - what cloudpickle does for classes of __main__
        return super().reducer_override(value)


def _packed(value: Any, control: Control) -> bytes:
    file = io.BytesIO()
    _Packer(file, control).dump(value)
    return file.getvalue()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _culprit(value: Any, control: Control) -> tuple[str, Exception] | None:
    """Return what a function refers to that can't be packed, and why."""
    for name, found in _references(value):
        try:
            _packed(found, control)
        except Exception as error:  # noqa: BLE001 - any object may raise anything
            return name, error
    return None


def _references(value: Any) -> Iterator[tuple[str, Any]]:
    function = value.func if isinstance(value, functools.partial) else value
    function = getattr(function, "__func__", function)
    if isinstance(function, dict):
        yield from function.items()
    if not isinstance(function, types.FunctionType):
        return
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # it is empty
            continue
    yield "its default values", (function.__defaults__, function.__kwdefaults__)


# ---- whose code it is -----------------------------------------------------------------------------------------------


@functools.cache
def _installed() -> tuple[Path, ...]:
    found = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return tuple({Path(name).resolve() for name in found})


def _is_own(name: str | None) -> bool:
    """Whether a module belongs to the program itself, and isn't installed."""
    if name == "__main__":
        return True
    if name is None or name.partition(".")[0] in {"midflight", "cloudpickle"}:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and _is_own_file(file)


@functools.lru_cache(maxsize=1024)
def _is_own_file(file: str) -> bool:
    path = Path(file).resolve()
    if not _PACKAGES.isdisjoint(path.parts):
        return False
    return not any(path.is_relative_to(directory) for directory in _installed())


# ---- unpacking ------------------------------------------------------------------------------------------------------


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, candidate: Candidate | None) -> None:
        super().__init__(file)
        self._candidate = candidate

    def persistent_load(self, pid: Any) -> Any:
        kind, name = pid
        candidate = self._candidate
        if candidate is None:
            raise CannotTravelError("a stand-in refers to the module under trial, which isn't there yet")
        match kind:
            case "candidate":
                return candidate.module
            case "function":
                return candidate.function(name)
            case _:
                return candidate.classes[name]
