"""An interface from a Protocol class whose methods are annotated as the library's functions are.

```python
class Calc(Protocol):
    def add(self, a: c_int, b: c_int) -> c_int: ...
    def mean(self, values: POINTER(c_double), n: c_size_t) -> float: ...
```

Annotations may be

- ctypes types: ``c_int``, ``POINTER(c_double)``, ``c_char_p``, ``c_void_p``, arrays, Structure and Union
  classes, callback classes made by ``CFUNCTYPE``;
- ``float``: a C ``double``; ``bool``: a C ``bool``; ``None``: ``void``; an ``IntEnum`` class: a C enum;
- ``str``: a ``const char *`` with text; ``bytes``: a ``const char *`` too, ``bytearray``: an ``unsigned char *``
  that is written to;
- ``int``: a 64-bit integer (``int64_t``);
- ``Annotated[int, "int32"]``: a type by its name in C, with or without ``_t``: ``"int32"``, ``"size_t"``,
  ``"unsigned long"``, ``"const double *"``.

``int`` is 64 bits wide because that is the safe choice where a function takes an ``int`` after all: in registers and in
each stack slot a 64-bit argument's low half is the 32-bit one, while the other way round the high half would be
garbage.  A result is different: the high half of a register that returns an ``int`` is garbage.  So an ``int`` result
should be annotated exactly, and is taken as 64 bits where it is not.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import types as builtin_types
import typing
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from midflight._errors import InterfaceError
from midflight.artifact.interface import (
    Array,
    Enum,
    Field,
    Function,
    Interface,
    Param,
    Pointer,
    Record,
    Scalar,
    Signature,
    Variable,
)
from midflight.artifact.type_table import TypeTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midflight.artifact.elf import Symbol
    from midflight.artifact.interface import TypeId

_INT64 = Scalar("long", "int", 8)
_CHAR = Scalar("char", "char", 1)
_PLAIN: dict[Any, Scalar] = {int: _INT64, float: Scalar("double", "float", 8), bool: Scalar("bool", "bool", 1)}
_BY_NAME: dict[str, Scalar] = {
    "int": Scalar("int", "int", 4),
    "unsigned int": Scalar("unsigned int", "uint", 4),
    "unsigned": Scalar("unsigned int", "uint", 4),
    "short": Scalar("short", "int", 2),
    "unsigned short": Scalar("unsigned short", "uint", 2),
    "long": _INT64,
    "unsigned long": Scalar("unsigned long", "uint", 8),
    "long long": Scalar("long long", "int", 8),
    "unsigned long long": Scalar("unsigned long long", "uint", 8),
    "char": _CHAR,
    "signed char": Scalar("signed char", "int", 1),
    "unsigned char": Scalar("unsigned char", "uint", 1),
    "float": Scalar("float", "float", 4),
    "double": Scalar("double", "float", 8),
    "float32": Scalar("float", "float", 4),
    "float64": Scalar("double", "float", 8),
    "bool": Scalar("bool", "bool", 1),
    "_Bool": Scalar("bool", "bool", 1),
    "size": Scalar("size_t", "uint", 8),
    "ssize": Scalar("ssize_t", "int", 8),
    "intptr": Scalar("intptr_t", "int", 8),
    "uintptr": Scalar("uintptr_t", "uint", 8),
    "ptrdiff": Scalar("ptrdiff_t", "int", 8),
    "wchar": Scalar("wchar_t", "int", 4),
    **{f"int{bits}": Scalar(f"int{bits}_t", "int", bits // 8) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": Scalar(f"uint{bits}_t", "uint", bits // 8) for bits in (8, 16, 32, 64)},
}
# The letter by which ctypes tells a simple type.
_BY_CODE: dict[str, Scalar] = {
    "c": _CHAR,
    "b": Scalar("signed char", "int", 1),
    "B": Scalar("unsigned char", "uint", 1),
    "h": Scalar("short", "int", 2),
    "H": Scalar("unsigned short", "uint", 2),
    "i": Scalar("int", "int", 4),
    "I": Scalar("unsigned int", "uint", 4),
    "l": _INT64,
    "L": Scalar("unsigned long", "uint", 8),
    "q": Scalar("long long", "int", 8),
    "Q": Scalar("unsigned long long", "uint", 8),
    "f": Scalar("float", "float", 4),
    "d": Scalar("double", "float", 8),
    "?": Scalar("bool", "bool", 1),
    "u": Scalar("wchar_t", "int", 4),
}
# The base classes of ctypes' classes; only a class made from each leads to them officially.
_POINTER: Any = ctypes.POINTER(ctypes.c_int).__base__
_FUNCTION: Any = ctypes.CFUNCTYPE(None).__base__
_SIMPLE: Any = ctypes.c_int.__base__
_ADVICE = "annotate it with a ctypes type, or with int, float, bool, str, bytes or None"
_KINDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_NO_CLASSES = frozenset({"Protocol", "Generic", "object"})


def read(protocol: type, exports: Mapping[str, Symbol]) -> Interface:
    """Read a Protocol class as the interface of a library with these exported symbols."""
    return _Reader(protocol, exports).read()


def read_function(function: Any, name: str) -> Interface:
    """Read a callable's annotations as the type of a C function called ``name``.  Raises `InterfaceError`."""
    plain = inspect.isroutine(function)
    return _Reader(type(name, (), {}), {}).read_one(name, staticmethod(function if plain else function.__call__))


class _Reader:
    def __init__(self, protocol: type, exports: Mapping[str, Symbol]) -> None:
        self._protocol = protocol
        self._exports = exports
        self._table = TypeTable()
        self._records: dict[Any, TypeId] = {}

    def read(self) -> Interface:
        methods, attributes = self._members()
        functions = [name for name in methods if not self._is_exported(name, function=True)]
        variables = [name for name in attributes if not self._is_exported(name, function=False)]
        if functions or variables:
            what = f"the library doesn't export {', '.join(functions + variables)}"
            raise InterfaceError(what, subject=self._subject(), todo="correct the class, or the library")
        if not methods and not attributes:
            what = "the class has no methods that declare functions"
            raise InterfaceError(what, subject=self._subject(), todo="write a method for each function")
        read_functions = tuple(self._function(name, method) for name, method in methods.items())
        read_variables = tuple(self._variable(name, annotation) for name, annotation in attributes.items())
        types = self._table.finish()
        return Interface(types, read_functions, read_variables, origin="declared", language="c")

    def read_one(self, name: str, member: Any) -> Interface:
        found = self._function(name, member)
        return Interface(self._table.finish(), (found,), origin="declared", language="c")

    def _subject(self, name: str = "") -> str:
        return f"{self._protocol.__name__}.{name}" if name else self._protocol.__name__

    def _is_exported(self, name: str, *, function: bool) -> bool:
        symbol = self._exports.get(name)
        return symbol is not None and symbol.is_function == function

    def _members(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the methods and the annotated attributes, those of base classes first."""
        methods: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        for owner in reversed(self._protocol.__mro__):
            if owner.__name__ in _NO_CLASSES:
                continue
            for name, member in vars(owner).items():
                function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
                if not name.startswith("__") and inspect.isfunction(function) and not _is_machinery(function):
                    methods[name] = member
            if "__annotations__" in vars(owner):
                attributes.update(self._hints(owner, owner.__name__))
        return methods, attributes

    def _hints(self, holder: Any, name: str) -> dict[str, Any]:
        try:
            return typing.get_type_hints(holder, include_extras=True)
        except (NameError, TypeError, SyntaxError, AttributeError) as error:
            what = f"an annotation can't be resolved ({error})"
            raise InterfaceError(what, subject=name, todo="make the names it uses global in its module") from error

    def _function(self, name: str, member: Any) -> Function:
        function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        hints = self._hints(function, self._subject(name))
        params: list[Param] = []
        variadic = False
        signature = inspect.signature(function)
        for index, parameter in enumerate(signature.parameters.values()):
            if index == 0 and not isinstance(member, staticmethod) and parameter.name not in hints:
                continue  # self
            if parameter.kind == inspect.Parameter.VAR_POSITIONAL:
                variadic = True
            elif parameter.kind in _KINDS:
                if parameter.name not in hints:
                    what = f"parameter {parameter.name} has no annotation"
                    raise InterfaceError(what, subject=self._subject(name), todo=_ADVICE)
                params.append(Param(parameter.name, self._of(hints[parameter.name], name)))
            else:
                what = f"a C function has no parameter like **{parameter.name}"
                raise InterfaceError(what, subject=self._subject(name), todo="remove it")
        if "return" not in hints:
            what = "the result has no annotation"
            raise InterfaceError(what, subject=self._subject(name), todo="annotate it; None where there is none")
        result = self._of(hints["return"], name)
        return Function(name, name, name, tuple(params), result, variadic, _place(function))

    def _variable(self, name: str, annotation: Any) -> Variable:
        symbol = self._exports[name]
        address = None if symbol.thread_local else symbol.address
        return Variable(name, self._of(annotation, name), address, thread_local=symbol.thread_local, key=name)

    def _of(self, annotation: Any, name: str) -> TypeId:
        """Return the type that an annotation stands for."""
        add = self._table.add
        if annotation is None or annotation is type(None):
            return 0
        if get_origin(annotation) is Annotated:
            return self._annotated(annotation, name)
        if get_origin(annotation) in {typing.Union, builtin_types.UnionType}:
            return self._optional(annotation, name)
        if annotation is str or annotation is bytes:
            return add(Pointer(add(_CHAR), const=True))
        if annotation in (bytearray, memoryview):
            return add(Pointer(add(_BY_NAME["unsigned char"])))
        plain = _PLAIN.get(annotation) if isinstance(annotation, type) else None
        if plain is not None:
            return add(plain)
        if isinstance(annotation, type):
            if issubclass(annotation, enum.IntEnum):
                items = tuple((item, int(member)) for item, member in annotation.__members__.items())
                return add(Enum(f"enum {annotation.__name__}", 4, any(value < 0 for _, value in items), items))
            found = self._ctype(annotation, name)
            if found is not None:
                return found
        shown = getattr(annotation, "__name__", None) or repr(annotation)
        what = f"{shown} isn't a type that C knows"
        raise InterfaceError(what, subject=self._subject(name), todo=_ADVICE)

    def _annotated(self, annotation: Any, name: str) -> TypeId:
        inner, *notes = get_args(annotation)
        for note in notes:
            if isinstance(note, str):
                return self._by_name(note, name)
            if isinstance(note, type) and self._ctype(note, name) is not None:
                return self._of(note, name)
        return self._of(inner, name)

    def _by_name(self, note: str, name: str) -> TypeId:
        """Return the type with a name in C; stars make pointers of it: ``"const double *"``."""
        words = note.replace("*", " * ").split()
        const = "const" in words
        stars = words.count("*")
        key = " ".join(word for word in words if word not in {"const", "*"})
        if key == "void" and stars:
            found: TypeId = 0
        else:
            scalar = _BY_NAME.get(key) or _BY_NAME.get(key.removesuffix("_t"))
            if scalar is None:
                what = f"{note!r} isn't a type that midflight knows"
                raise InterfaceError(what, subject=self._subject(name), todo='write it as in C: "int32", "size_t"')
            found = self._table.add(scalar)
        for star in range(stars):
            found = self._table.add(Pointer(found, const and star == 0))
        return found

    def _optional(self, annotation: Any, name: str) -> TypeId:
        """Return the pointer type of ``str | None`` and its like: any pointer may be None."""
        rest = [one for one in get_args(annotation) if one is not type(None)]
        if len(rest) == 1:
            found = self._of(rest[0], name)
            if isinstance(self._table.types[found], Pointer):
                return found
        what = f"{annotation} isn't one type of C"
        raise InterfaceError(what, subject=self._subject(name), todo=_ADVICE)

    def _ctype(self, kind: Any, name: str) -> TypeId | None:
        """Return the type of a ctypes class; None where it is none."""
        add = self._table.add
        if kind is ctypes.c_void_p:
            return add(Pointer(0))
        if kind is ctypes.c_char_p:
            return add(Pointer(add(_CHAR), const=True))
        if kind is ctypes.c_wchar_p:
            return add(Pointer(add(_BY_CODE["u"]), const=True))
        if issubclass(kind, _POINTER):
            return add(Pointer(self._ctype_or_raise(kind._type_, name)))
        if issubclass(kind, ctypes.Array):
            return add(Array(self._ctype_or_raise(kind._type_, name), kind._length_))
        if issubclass(kind, _FUNCTION):
            params = tuple(self._of(param, name) for param in getattr(kind, "_argtypes_", ()))
            return add(Pointer(add(Signature(params, self._of(getattr(kind, "_restype_", None), name)))))
        if issubclass(kind, (ctypes.Structure, ctypes.Union)):
            return self._record(kind, name)
        if issubclass(kind, _SIMPLE):
            scalar = _BY_CODE.get(getattr(kind, "_type_", ""))
            return None if scalar is None else add(scalar)
        return None

    def _ctype_or_raise(self, kind: Any, name: str) -> TypeId:
        found = self._ctype(kind, name)
        if found is None:
            what = f"{kind.__name__} can't be passed"
            raise InterfaceError(what, subject=self._subject(name), todo=_ADVICE)
        return found

    def _record(self, kind: Any, name: str) -> TypeId:
        """Take a Structure or Union class as it is: its offsets are ctypes' own."""
        if kind not in self._records:
            is_union = issubclass(kind, ctypes.Union)
            fields = _all_fields(kind)
            label = f"{'union' if is_union else 'struct'} {kind.__name__}"
            size = ctypes.sizeof(kind) if fields else None
            align = ctypes.alignment(kind) if fields else None
            record = Record(label, "union" if is_union else "struct", size, (), align)
            self._records[kind] = type_id = self._table.reserve(record)
            self._table.complete(type_id, tuple(self._field(kind, field, name) for field in fields))
        return self._records[kind]

    def _field(self, kind: Any, field: tuple[Any, ...], name: str) -> Field:
        label, held = field[0], field[1]
        descriptor = getattr(kind, label)
        anonymous = label in getattr(kind, "_anonymous_", ())
        type_id = self._ctype_or_raise(held, name)
        if len(field) == 2:  # noqa: PLR2004 - a name and a type: no bit-field
            return Field("" if anonymous else label, type_id, descriptor.offset)
        if hasattr(descriptor, "bit_offset"):  # Python 3.14
            start, bits = descriptor.byte_offset * 8 + descriptor.bit_offset, descriptor.bit_size
        else:
            start, bits = descriptor.offset * 8 + (descriptor.size & 0xFFFF), descriptor.size >> 16
        unit = ctypes.sizeof(held)
        return Field(label, type_id, start // (unit * 8) * unit, bits, start)


def _all_fields(kind: Any) -> list[tuple[Any, ...]]:
    """Return the fields of a record class and of the record classes that it derives from."""
    found: list[tuple[Any, ...]] = []
    for owner in reversed(kind.__mro__):
        found += vars(owner).get("_fields_", ())
    return found


def _is_machinery(function: Any) -> bool:
    """Tell whether a function was put into the class by the typing module."""
    return getattr(function, "__module__", "") == "typing"


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
