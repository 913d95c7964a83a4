"""Values on their way to and from Go: checked, and turned into what msgpack has.

What converts a type's values is made when it is first needed.  A struct that is data becomes an object of a class of
its own, made here; so do numbers, strings and containers of named types that have methods (those are subclasses
of int, str, list …).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from midflight._errors import UnloadedError
from midflight.lanes.go import checks, wire
from midflight.lanes.go.checks import Convert, MisfitError
from midflight.lanes.go.classes import BASES, Classes, GoStruct, GoValue, field_name

if TYPE_CHECKING:
    import msgspec

    from midflight.lanes.go.model import Func, Type


class Objects(Protocol):
    """What the conversion of live values needs: see `midflight.lanes.go.objects`."""

    def give(self, value: Any) -> msgspec.msgpack.Ext | None:
        """Return what stands for a live object in a message, None if it is none."""

    def callback(self, function: Callable[..., Any], func: Func, types: Types) -> msgspec.msgpack.Ext:
        """Return what stands for a Python function during the call under way."""


class _NoObjects:
    """Of a version that is gone."""

    def give(self, value: Any) -> msgspec.msgpack.Ext | None:  # noqa: ARG002 - as in `Objects`
        raise _unloaded()

    def callback(self, function: Any, func: Func, types: Types) -> msgspec.msgpack.Ext:  # noqa: ARG002 - the same
        raise _unloaded()


def _unloaded() -> UnloadedError:
    return UnloadedError("the version that these types belong to has been unloaded", todo="take them from the module")


class Types:
    """The types of one version, or of one live value, and how their values are converted."""

    def __init__(self, types: Sequence[Type], classes: Classes, objects: Objects) -> None:
        self.list = types
        self.classes = classes
        self.objects: Objects = objects
        self._to: dict[int, Convert] = {}
        self._from: dict[int, Convert | None] = {}
        self._class: dict[int, type] = {}
        self._numbered = {one.number: index for index, one in enumerate(types) if one.number >= 0}
        self._by_name = {one.name: index for index, one in enumerate(types) if one.number >= 0 and one.name}

    def let_go(self) -> None:
        """Break the circles of references: a version that is gone is freed at once, not at some later collection."""
        self._to.clear()
        self._from.clear()
        self.objects = _NoObjects()

    # ---- classes

    def class_of(self, index: int) -> type | None:
        """Return the class whose instances are the values of a type, if it has one of its own."""
        if index not in self._class:
            one = self.list[index]
            if one.kind == "struct":
                self._class[index] = self.classes.of(one, lambda: self._struct_class(index))
            elif one.kind in BASES and one.name and one.methods:
                base = BASES[one.kind]
                self._class[index] = self.classes.of(one, lambda: type(one.name, (GoValue, base), {}))
            else:
                return None
        return self._class[index]

    def _struct_class(self, index: int) -> type:
        one = self.list[index]
        fields: list[tuple[str, Any, Any]] = [
            (
                field_name(field.name),
                self.list[field.type].text,
                dataclasses.field(default_factory=self._zero(field.type)),
            )
            for field in one.fields
        ]
        name = one.name.rpartition(".")[2].split("[")[0] or "struct"
        return dataclasses.make_dataclass(
            name, fields, bases=(GoStruct,), slots=True, unsafe_hash=True, namespace={"__go_name__": one.name}
        )

    def _zero(self, index: int) -> Callable[[], Any]:
        """Return what makes a type's zero value."""
        one = self.list[index]
        simple: dict[str, Callable[[], Any]] = {
            "bool": bool, "int": int, "uint": int, "float": float, "complex": complex, "string": str, "slice": list,
            "map": dict,
        }  # fmt: skip
        if one.kind == "bytes":
            return lambda: bytes(one.length)
        if one.kind == "array":
            element = self._zero(one.elem)
            return lambda: tuple(element() for _ in range(one.length))
        if one.kind == "struct":
            return partial(self._make_struct, index)
        return simple.get(one.kind, lambda: None)

    def _make_struct(self, index: int) -> Any:
        return _call(self.class_of(index))

    def number_of(self, value: Any) -> int | None:
        """Return the place in the list of the type whose class a value is of: by name, whatever version it is from."""
        if isinstance(value, GoStruct):
            return self._by_name.get(getattr(value, "__go_name__", ""))
        if isinstance(value, GoValue):
            return self._by_name.get(type(value).__name__)
        return None

    def typed(self, value: Any) -> msgspec.msgpack.Ext | None:
        """Return data together with its type, None where that isn't known."""
        index = self.number_of(value)
        if index is None:
            return None
        return wire.extension(wire.TYPED, [self.list[index].number, self.to_go(index)(value)])

    def from_typed(self, number: int, value: Any) -> Any:
        """Convert data that came together with their type."""
        index = self._numbered.get(number)
        if index is None:
            return value
        convert = self.from_go(index)
        return value if convert is None else convert(value)

    # ---- to Go

    def to_go(self, index: int) -> Convert:
        """Return what checks a value and converts it."""
        found = self._to.get(index)
        if found is None:
            # A recursive type finds this while its own converter is being made.
            self._to[index] = partial(self._later_to, index)
            found = self._to[index] = self._make_to(index)
        return found

    def _later_to(self, index: int, value: Any) -> Any:
        return self._to[index](value)

    def _make_to(self, index: int) -> Convert:
        one = self.list[index]
        if one.kind in checks.SIMPLE:
            return checks.SIMPLE[one.kind]
        match one.kind:
            case "int" | "uint":
                return checks.integer(one)
            case "float":
                return checks.floating(one)
            case "bytes":
                return checks.octets(one)
            case "struct":
                return self._struct_to(index)
            case "object":
                return self._object_to(index)
            case "func":
                return self._func_to(one)
            case "any":
                return lambda value: self._any_to(value)  # noqa: PLW0108 - it has a second parameter
        return self._container_to(one)

    def _container_to(self, one: Type) -> Convert:
        if one.kind in {"slice", "array"}:
            return checks.sequence(one, self.to_go(one.elem))
        if one.kind == "map":
            return checks.mapping(one, self.to_go(one.key), self.to_go(one.elem), paired=not self.is_plain(one.key))
        if one.kind == "pointer":
            inner = self.to_go(one.elem)
            return lambda value: None if value is None else inner(value)
        return checks.refuse(one)

    def is_plain(self, index: int) -> bool:
        """Whether values of a type can be keys of a map in a message."""
        return self.list[index].kind in {"bool", "int", "uint", "float", "string"}

    def _struct_to(self, index: int) -> Convert:
        one = self.list[index]
        names = [field_name(field.name) for field in one.fields]
        converters = [self.to_go(field.type) for field in one.fields]
        zeros = [self._zero(field.type) for field in one.fields]
        known = set(names)

        def convert(value: Any) -> list[Any]:
            if isinstance(value, GoStruct):
                if getattr(value, "__go_name__", "") != one.name:
                    raise MisfitError(f"{type(value).__name__} isn't {one.name or one.text}")
                values = [getattr(value, name, zeros[at]) for at, name in enumerate(names)]
            elif isinstance(value, Mapping):
                unknown = [key for key in value if key not in known]
                if unknown:
                    raise MisfitError(
                        f"{one.name or 'the struct'} has no field {unknown[0]!r}; it has {', '.join(names)}"
                    )
                values = [value.get(name, zeros[at]) for at, name in enumerate(names)]
            else:
                raise MisfitError(f"{type(value).__name__} isn't {one.name or one.text} or a dict of its fields")
            made = []
            for name, converter, zero, item in zip(names, converters, zeros, values, strict=True):
                try:
                    made.append(converter(item() if item is zero else item))
                except MisfitError as misfit:
                    misfit.where.append(f".{name}")
                    raise
            return made

        return convert

    def _object_to(self, index: int) -> Convert:
        one = self.list[index]

        def convert(value: Any) -> Any:
            if value is None:
                return None
            given = self.objects.give(value) or self.typed(value)
            if given is None and isinstance(value, Mapping) and one.elem >= 0:
                number = self.list[one.elem].number
                given = wire.extension(wire.TYPED, [number, self.to_go(one.elem)(value)]) if number >= 0 else None
            if given is None:
                raise MisfitError(f"{type(value).__name__} isn't a {one.text.split(' ')[0]} of Go's")
            return given

        return convert

    def _func_to(self, one: Type) -> Convert:
        def convert(value: Any) -> Any:
            if value is None:
                return None
            given = self.objects.give(value)
            if given is not None:
                return given
            if not callable(value):
                raise MisfitError(f"{type(value).__name__} can't be called; the parameter is a {one.text}")
            return self.objects.callback(value, one.signature[0], self)

        return convert

    def _any_to(self, value: Any, depth: int = 0) -> Any:
        if value is None or type(value) in (bool, float, bytes):
            return value
        given = self.typed(value) or self.objects.give(value)
        if given is not None:
            return given
        if depth > wire.DEEPEST:
            raise MisfitError(f"the value is nested more than {wire.DEEPEST} deep, or contains itself")
        match value:
            case list() | tuple():
                return [self._any_to(item, depth + 1) for item in value]
            case dict():
                return {self._any_to(key, depth + 1): self._any_to(item, depth + 1) for key, item in value.items()}
        return checks.any_leaf(value)

    # ---- from Go

    def from_go(self, index: int) -> Convert | None:
        """Return what converts a value that was read from a message; None where it needs nothing."""
        if index not in self._from:
            # A recursive type finds this while its own converter is being made.
            self._from[index] = lambda value: self._later(index, value)
            self._from[index] = self._make_from(index)
        return self._from[index]

    def _later(self, index: int, value: Any) -> Any:
        convert = self._from[index]
        return value if convert is None else convert(value)

    def _make_from(self, index: int) -> Convert | None:
        convert, cls = self._plain_from(index), self.class_of(index)
        if cls is None or issubclass(cls, GoStruct):
            return convert
        wrap: Convert = cls
        return wrap if convert is None else lambda value: wrap(convert(value))

    def _plain_from(self, index: int) -> Convert | None:
        one = self.list[index]
        match one.kind:
            case "complex":
                return lambda parts: complex(parts[0], parts[1])
            case "slice" | "array":
                inner = self.from_go(one.elem)
                finish = tuple if one.kind == "array" else list
                if inner is None:
                    return None if one.kind == "slice" else tuple
                item: Convert = inner
                return lambda items: finish([item(one) for one in items])
            case "map":
                return self._map_from(one)
            case "struct":
                return self._struct_from(index)
            case "pointer":
                inner = self.from_go(one.elem)
                return None if inner is None else lambda value: None if value is None else inner(value)
        return None

    def _map_from(self, one: Type) -> Convert | None:
        key, element = self.from_go(one.key) or _same, self.from_go(one.elem)
        if not self.is_plain(one.key):
            item = element or _same
            return lambda pairs: {key(pair[0]): item(pair[1]) for pair in pairs}
        if key is _same and element is None:
            return None
        item = element or _same
        return lambda mapping: {key(name): item(value) for name, value in mapping.items()}

    def _struct_from(self, index: int) -> Convert:
        cls = self.class_of(index)
        converters = [self.from_go(field.type) or _same for field in self.list[index].fields]
        if all(converter is _same for converter in converters):
            return lambda values: _call(cls, *values)
        return lambda values: _call(cls, *[one(value) for one, value in zip(converters, values, strict=True)])


def _call(cls: Any, *values: Any) -> Any:
    return cls(*values)


def _same(value: Any) -> Any:
    return value
