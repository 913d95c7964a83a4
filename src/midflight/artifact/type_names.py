"""Types by their names: the one text of a type, and the type that a text names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from midflight.artifact.interface import (
    Array,
    Enum,
    Interface,
    Pointer,
    Record,
    Scalar,
    Signature,
    Typedef,
    Unsupported,
)

if TYPE_CHECKING:
    from midflight.artifact.interface import Type, TypeId

_KEYWORDS = frozenset({"struct", "class", "union", "enum"})
_QUALIFIERS = frozenset({"const", "volatile", "restrict"})
_SIZES = {"char": 1, "short": 2, "int": 4, "long": 8, "long long": 8}


class Named(NamedTuple):
    """A type that a text names.  ``interface``: the one that was asked, or one with this type added at its end."""

    interface: Interface
    type_id: TypeId


def canonical(interface: Interface, type_id: TypeId) -> str:
    """Write a type so that the same type is the same text, whatever typedefs and `const` it is declared with."""
    name = ""
    while isinstance(found := interface.types[type_id], Typedef):
        name, type_id = found.name, found.target
    match found:
        case Pointer(target, _):
            return f"{canonical(interface, target)} *"
        case Array(element, count):
            return f"{canonical(interface, element)}[{'' if count is None else count}]"
        case Signature(params, result):
            return f"{canonical(interface, result)} ({', '.join(canonical(interface, param) for param in params)})"
        case Scalar(_, "char", _):
            return "char"
        case Scalar(_, kind, size):
            return f"{kind}{size * 8}"
        case Record(name="") | Enum(name=""):
            return name or interface.spell(type_id)
        case _:
            return interface.spell(type_id)


def find_type(interface: Interface, text: str) -> Named | None:
    """Return the type that a declaration's words name: ``struct player``, ``player_t``, ``int``, ``player *``.

    In C++ a class may be named with or without its keyword.  None where the interface has no such type.
    """
    words = text.replace("*", " * ").split()
    stars = words.count("*")
    base = [word for word in words if word != "*" and word not in _QUALIFIERS]
    found = _base(interface, " ".join(base))
    if found is None and base and base[0] in _KEYWORDS and interface.language == "c++":
        found = _base(interface, " ".join(base[1:]))
    for _ in range(stars if found is not None else 0):
        assert found is not None  # noqa: S101 - the loop doesn't run otherwise
        found = _add(found.interface, Pointer(found.type_id))
    return found


def _base(interface: Interface, name: str) -> Named | None:
    if not name:
        return None
    declared = None
    for number, found in enumerate(interface.types):
        if isinstance(found, (Record, Enum, Typedef, Scalar, Unsupported)) and found.name == name:
            if not (isinstance(found, Record) and found.size is None):
                return Named(interface, number)
            declared = Named(interface, number)
    scalar = _scalar(name)
    return _add(interface, scalar) if declared is None and scalar is not None else declared


def _add(interface: Interface, wanted: Type) -> Named:
    if wanted in interface.types:
        return Named(interface, interface.types.index(wanted))
    return Named(msgspec.structs.replace(interface, types=(*interface.types, wanted)), len(interface.types))


def _scalar(name: str) -> Scalar | None:
    """Return a number type that C has by itself, whatever the order of its words."""
    words = name.split()
    match sorted(words):
        case ["double"] | ["float"]:
            return Scalar(name, "float", 8 if name == "double" else 4)
        case ["_Bool"] | ["bool"]:
            return Scalar("bool", "bool", 1)
        case ["char"]:
            return Scalar("char", "char", 1)
    signs = [word for word in words if word in {"signed", "unsigned"}]
    rest = [word for word in words if word not in {"signed", "unsigned", "int"}]
    plain = " ".join(rest) or ("int" if words else "")
    if plain not in _SIZES or len(signs) > 1:
        return None
    unsigned = signs == ["unsigned"]
    return Scalar(f"unsigned {plain}" if unsigned else plain, "uint" if unsigned else "int", _SIZES[plain])
