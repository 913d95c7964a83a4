"""The model of what a library offers: functions, types and variables.

An `Interface` is plain data (msgspec structs), so that it can be compared, cached by content and sent to another
process.  Types refer to each other by their index in `Interface.types`, which also makes recursive types plain data.
Index 0 is always `Void`.

Names are spelled as in C: ``struct player``, ``unsigned int``, ``ns::vec``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

TypeId: TypeAlias = int
"""An index into `Interface.types`."""


class Void(msgspec.Struct, frozen=True, tag="void"):
    """No value."""


class Scalar(msgspec.Struct, frozen=True, tag="scalar"):
    """A number: ``size`` in bytes.  ``char`` is a one-byte character type (signed as the platform has it)."""

    name: str
    kind: Literal["int", "uint", "float", "bool", "char"]
    size: int


class Pointer(msgspec.Struct, frozen=True, tag="pointer"):
    """An address.  ``const``: what it points to may not be written through it."""

    target: TypeId
    const: bool = False


class Array(msgspec.Struct, frozen=True, tag="array"):
    """``count`` elements (None: a flexible array member, or of unknown length)."""

    element: TypeId
    count: int | None


class Field(msgspec.Struct, frozen=True):
    """A member: ``offset`` in bytes; for a bit-field also ``bit_size`` and ``bit_offset``.

    ``bit_offset`` is counted from the start of the record (as DWARF's DW_AT_data_bit_offset), and ``offset`` is then
    the byte offset of the storage unit of the declared type.  An anonymous struct or union member has the name "".
    """

    name: str
    type: TypeId
    offset: int
    bit_size: int | None = None
    bit_offset: int | None = None


class Record(msgspec.Struct, frozen=True, tag="record"):
    """A struct, class or union.  ``size`` is None where it is only declared (an opaque type).

    ``trivial``: False where copying its bytes isn't copying it (C++: virtual functions, constructors, destructors or
    base classes that matter).
    """

    name: str
    kind: Literal["struct", "union"]
    size: int | None
    fields: tuple[Field, ...] = ()
    align: int | None = None
    trivial: bool = True


class Enum(msgspec.Struct, frozen=True, tag="enum"):
    """An enumeration and its ``(name, value)`` pairs in order of declaration."""

    name: str
    size: int
    signed: bool
    items: tuple[tuple[str, int], ...]


class Signature(msgspec.Struct, frozen=True, tag="signature"):
    """A function type, as the target of a `Pointer`."""

    params: tuple[TypeId, ...]
    result: TypeId
    variadic: bool = False


class Typedef(msgspec.Struct, frozen=True, tag="typedef"):
    """Another name for a type."""

    name: str
    target: TypeId


class Unsupported(msgspec.Struct, frozen=True, tag="unsupported"):
    """A type that Python can't hold (long double, a vector, __int128, a reference to a member …), and why."""

    name: str
    size: int | None
    reason: str


class Foreign(msgspec.Struct, frozen=True, tag="foreign"):
    """A type of another language's, where the same text is the same type: ``map[string]int``."""

    name: str


Type: TypeAlias = Void | Scalar | Pointer | Array | Record | Enum | Signature | Typedef | Unsupported | Foreign


class Param(msgspec.Struct, frozen=True):
    """A parameter: its ``name`` ("" where none is given)."""

    name: str
    type: TypeId


class Function(msgspec.Struct, frozen=True):
    """An exported function.

    ``name``: the attribute of the module, "" where only `midflight.function` finds it (ambiguous, or not an
    identifier).  ``qualified``: the full name, in C++ with namespaces and parameter types (``ns::add(int, int)``), in
    C the name itself; unique within an interface.  ``symbol``: the linker's name.  ``declared_in``: "file:line" or "".
    """

    name: str
    qualified: str
    symbol: str
    params: tuple[Param, ...]
    result: TypeId
    variadic: bool = False
    declared_in: str = ""


class Variable(msgspec.Struct, frozen=True):
    """A global or static variable.

    ``name``: the key in `midflight.variables`: the plain name where it is unambiguous, else with its scope
    (``file.c:count``, ``function.count``, ``ns::Class::count``); unique within an interface.  ``address``: its
    link-time address (add the image's base), None where it can't be said (thread-local, optimised away).  ``scope``: ""
    for an exported variable, else the file or the function that it is private to.  ``key``: its name with all its
    scopes (``file.c:count``, ``file.c:function.count``, ``ns::Class::count``), by which the same variable is found in
    another version, whatever else is called like it.  ``split``: it has no address, as it lies in pieces.
    """

    name: str
    type: TypeId
    address: int | None
    const: bool = False
    exported: bool = True
    thread_local: bool = False
    scope: str = ""
    key: str = ""
    split: bool = False


class Interface(msgspec.Struct, frozen=True):
    """All that a library offers.  ``origin``: what it was read from.

    ``unknown``: names of exported functions that nothing is said about (assembler, or a part built without ``-g``).
    ``needs``: functions that the library calls and doesn't have, as it declares them itself; ``needs_variables``: names
    of variables that it uses and doesn't have.

    ``hooks``, ``migrations`` and ``checks``: functions that midflight calls, and programs don't (see
    `midflight.artifact.hooks`).
    """

    types: tuple[Type, ...]
    functions: tuple[Function, ...]
    variables: tuple[Variable, ...] = ()
    origin: Literal["dwarf", "declared"] = "dwarf"
    language: str = ""
    unknown: tuple[str, ...] = ()
    needs: tuple[Function, ...] = ()
    hooks: tuple[Function, ...] = ()
    migrations: tuple[Function, ...] = ()
    needs_variables: tuple[str, ...] = ()
    checks: tuple[Function, ...] = ()

    def strip(self, type_id: TypeId) -> Type:
        """Return the type behind all typedefs."""
        found = self.types[type_id]
        while isinstance(found, Typedef):
            found = self.types[found.target]
        return found

    def spell(self, type_id: TypeId) -> str:
        """Return the type's name as a C programmer writes it, as far as one line can."""
        found = self.types[type_id]
        match found:
            case Void():
                return "void"
            case Pointer(target, const):
                inner = self.strip(target)
                if isinstance(inner, Signature) and not isinstance(self.types[target], Typedef):
                    params = ", ".join(self.spell(param) for param in inner.params)
                    return f"{self.spell(inner.result)} (*)({params})"
                return f"{'const ' if const else ''}{self.spell(target)} *".replace("* *", "**")
            case Array(element, count):
                return f"{self.spell(element)}[{'' if count is None else count}]"
            case Signature(params, result):
                return f"{self.spell(result)} ({', '.join(self.spell(param) for param in params)})"
            case Record(name="") | Enum(name=""):
                return f"{found.kind if isinstance(found, Record) else 'enum'} {{…}}"
            case _:
                return found.name

    def describe(self, function: Function) -> str:
        """Return the function's declaration as one line of C."""
        params = [self.declare(param.type, param.name) for param in function.params]
        if function.variadic:
            params.append("...")
        name = function.qualified.split("(", 1)[0]
        return self.declare(function.result, f"{name}({', '.join(params) or 'void'})")

    def declare(self, type_id: TypeId, name: str) -> str:
        """Return the declaration of something of a type: ``const char *name``, ``int (*name)(int)``."""
        spelled = self.spell(type_id)
        if "(*)" in spelled:
            return spelled.replace("(*)", f"(*{name})", 1)
        head, bracket, rest = spelled.partition("[")
        space = "" if not name or head.endswith("*") else " "
        return f"{head}{space}{name}{bracket}{rest}"
