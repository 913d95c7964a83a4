"""How the types of an interface look in Python: what a call takes, what it gives, what a struct's field is.

One writer for two readers: `inspect.Signature` shows short names, a stub file needs names that nothing else in it can
hide.  ``qualify`` says how a name is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midflight.artifact.interface import Array, Enum, Pointer, Record, Scalar, Signature, Unsupported, Void

if TYPE_CHECKING:
    from collections.abc import Callable

    from midflight.artifact.interface import Interface, Type, TypeId

_NUMBERS = {"int": "int", "uint": "int", "char": "int", "float": "float", "bool": "bool"}
_ITEMS = {"int": "c_int", "uint": "c_uint", "float": "c_float", "bool": "c_bool", "char": "c_char"}
_DEEPEST = 8


class Annotations:
    """Writes annotations.  ``class_name`` gives the name of a record's or an enum's class, "" where it has none."""

    def __init__(
        self, interface: Interface, qualify: Callable[[str], str], class_name: Callable[[TypeId], str]
    ) -> None:
        self._interface = interface
        self._name = qualify
        self._class_name = class_name

    def parameter(self, type_id: TypeId) -> str:
        """Return what may be passed for a parameter of a type."""
        found = self._interface.strip(type_id)
        match found:
            case Scalar():
                return self._name(_NUMBERS[found.kind])
            case Enum():
                name = self._class_name(type_id)
                return f"{name} | {self._name('int')}" if name else self._name("int")
            case Record():
                return self._class_name(type_id) or self._name("Any")
            case Pointer():
                return self._pointer_parameter(found)
        return self._name("Any")

    def result(self, type_id: TypeId) -> str:
        """Return what a result of a type is."""
        found = self._interface.strip(type_id)
        match found:
            case Void():
                return "None"
            case Scalar():
                return self._name(_NUMBERS[found.kind])
            case Enum():
                name = self._class_name(type_id)
                return f"{name} | {self._name('int')}" if name else self._name("int")
            case Record():
                return self._class_name(type_id) or self._name("Any")
            case Pointer():
                if _is_text(found, self._interface.strip(found.target)):
                    return f"{self._name('str')} | None"
                return f"{self._name('Pointer')} | None"
        return self._name("Any")

    def field(self, type_id: TypeId) -> str:
        """Return what reading a ctypes field of a type gives."""
        found = self._interface.strip(type_id)
        match found:
            case Scalar(kind="char"):
                return self._name("bytes")
            case Scalar():
                return self._name(_NUMBERS[found.kind])
            case Enum():
                return self._name("int")
            case Record():
                return self._class_name(type_id) or self._name("Any")
            case Array(element):
                inner = self._interface.strip(element)
                if isinstance(inner, Scalar) and inner.kind == "char":
                    return self._name("bytes")
                return f"{self._name('ctypes')}.Array[{self._ctype(element, 0)}]"
            case Pointer():
                if _is_text(found, self._interface.strip(found.target)):
                    return f"{self._name('bytes')} | None"
        return self._name("Any")

    def _pointer_parameter(self, pointer: Pointer) -> str:
        target = self._interface.strip(pointer.target)
        if isinstance(target, Signature):
            return self._callback(target)
        kinds = [self._name("Buffer"), self._name("Pointer"), self._name("Any"), "None"]
        if _is_text(pointer, target):
            return f"{self._name('str')} | {self._name('Buffer')} | {self._name('Pointer')} | None"
        if isinstance(target, Record):
            name = self._class_name(pointer.target)
            return " | ".join([*([name] if name else []), kinds[0], kinds[1], "None"])
        return " | ".join([kinds[0], f"{self._name('ctypes')}.Array[{kinds[2]}]", kinds[1], "None"])

    def _callback(self, signature: Signature) -> str:
        params = ", ".join(self._callback_parameter(param) for param in signature.params)
        taken = "..." if signature.variadic else f"[{params}]"
        result = self._callback_parameter(signature.result)
        return f"{self._name('Callable')}[{taken}, {result}] | {self._name('Pointer')} | None"

    def _callback_parameter(self, type_id: TypeId) -> str:
        found = self._interface.strip(type_id)
        match found:
            case Void():
                return "None"
            case Scalar():
                return self._name(_NUMBERS[found.kind])
        return self._name("Any")

    def _ctype(self, type_id: TypeId, depth: int) -> str:
        found = self._interface.strip(type_id)
        ctypes = self._name("ctypes")
        match found:
            case Scalar():
                return f"{ctypes}.{_ctype_name(found)}"
            case Enum():
                return f"{ctypes}.c_{'' if found.signed else 'u'}int{found.size * 8}"
            case Record():
                return self._class_name(type_id) or self._name("Any")
            case Array(element) if depth < _DEEPEST:
                return f"{ctypes}.Array[{self._ctype(element, depth + 1)}]"
        return self._name("Any")


def _ctype_name(scalar: Scalar) -> str:
    if scalar.kind in {"int", "uint"}:
        return f"{_ITEMS[scalar.kind]}{scalar.size * 8}"
    if scalar.kind == "float":
        return "c_double" if scalar.size == 8 else "c_float"  # noqa: PLR2004 - a double's size
    return _ITEMS[scalar.kind]


def _is_text(pointer: Pointer, target: Type) -> bool:
    return pointer.const and isinstance(target, Scalar) and target.kind == "char"


def unsupported_reason(interface: Interface, type_id: TypeId) -> str:
    """Return why a value of a type can't be passed from Python, "" where it can."""
    found = interface.strip(type_id)
    if isinstance(found, Unsupported):
        return f"{found.name}: {found.reason}" if found.name else found.reason
    return ""
