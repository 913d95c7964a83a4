"""What is told of a Go package; the same structs as in golang/runtime/model.go."""

from __future__ import annotations

import keyword
from typing import Any

import msgspec

from midflight._errors import BadLibraryError
from midflight.build.go_host import detach

FORMAT = 1


class Param(msgspec.Struct, frozen=True):
    """A parameter or a result."""

    name: str
    type: int


class Func(msgspec.Struct, frozen=True):
    """A function, a method, or the type of a func."""

    name: str = ""
    doc: str = ""
    params: tuple[Param, ...] = ()
    results: tuple[Param, ...] = ()
    variadic: bool = False
    context: bool = False
    error: bool = False
    why: str = ""
    place: str = ""

    def names(self) -> list[str]:
        """Return the parameters' names as Python may write them: each once, no keywords."""
        made: list[str] = []
        for index, param in enumerate(self.params, 1):
            name = param.name if param.name not in {"", "_"} else f"arg{index}"
            name = f"{name}_" if keyword.iskeyword(name) else name
            while name in made:
                name += "_"
            made.append(name)
        return made

    def timeout_name(self) -> str:
        """Return the keyword for the time that a context is given."""
        return "timeout_" if "timeout" in self.names() else "timeout"

    def cancel_name(self) -> str:
        """Return the keyword for what cancels a context."""
        return "cancel_" if "cancel" in self.names() else "cancel"


class Field(msgspec.Struct, frozen=True):
    """A field of a struct."""

    name: str
    type: int
    doc: str = ""


class Type(msgspec.Struct, frozen=True):
    """A type; others are referred to by their number in the list."""

    kind: str = "unsupported"
    name: str = ""
    text: str = ""
    doc: str = ""
    why: str = ""
    bits: int = 0
    length: int = 0
    elem: int = -1
    key: int = -1
    number: int = -1
    fields: tuple[Field, ...] = ()
    methods: tuple[Func, ...] = ()
    signature: tuple[Func, ...] = ()


class Variable(msgspec.Struct, frozen=True):
    """A variable of the package."""

    name: str
    type: int
    doc: str = ""
    exported: bool = True
    state: bool = False
    shape: int = -1


class Shape(msgspec.Struct, frozen=True):
    """What is carried of a type; others are referred to by their number in the list."""

    kind: str
    text: str = ""
    bits: int = 0
    length: int = 0
    elem: int = -1
    key: int = -1
    fields: tuple[Field, ...] = ()


class Constant(msgspec.Struct, frozen=True):
    """An exported constant."""

    name: str
    type: int
    value: str
    doc: str = ""


class Skipped(msgspec.Struct, frozen=True):
    """An exported name that can't be served."""

    name: str
    why: str


class API(msgspec.Struct, frozen=True):
    """All that a package offers."""

    format: int
    toolchain: str = ""
    package: str = ""
    path: str = ""
    doc: str = ""
    types: tuple[Type, ...] = ()
    shapes: tuple[Shape, ...] = ()
    functions: tuple[Func, ...] = ()
    variables: tuple[Variable, ...] = ()
    constants: tuple[Constant, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    save_hook: bool = False
    restore_hook: bool = False

    @property
    def stateful(self) -> bool:
        """Whether there is anything that goes from version to version."""
        return self.save_hook or self.restore_hook or any(one.state for one in self.variables)

    def methods(self) -> list[tuple[Type, Func]]:
        """Return the methods of the package's own types, each once."""
        found: dict[str, tuple[Type, Func]] = {}
        for one in self.types:
            if one.name.isidentifier():
                for func in one.methods:
                    found.setdefault(f"{one.name}.{func.name}", (one, func))
        return list(found.values())


class Description(msgspec.Struct, frozen=True):
    """What Go says of the type of a live value."""

    types: tuple[Type, ...]
    root: int


_decoder = msgspec.json.Decoder(API)


def read_api(data: bytes) -> API:
    """Read the API behind a host program.  Raises `BadLibraryError`."""
    text = detach(data)
    try:
        if text is None:
            raise BadLibraryError("the Go host program is cut off", todo="build it again")
        api = _decoder.decode(text)
        _check(api.types, _direct(api))
        _check_shapes(api)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = f"what the Go host program says about itself can't be read ({error})"
        raise BadLibraryError(what, todo="build it again") from None
    if api.format != FORMAT:
        what = "the Go host program was made by another version of midflight"
        raise BadLibraryError(what, todo="load the package from its source")
    return api


def read_description(raw: Any) -> Description:
    """Read what Go says of a type.  Raises `BadLibraryError`."""
    try:
        made = msgspec.convert(raw, Description)
        _check(made.types, [made.root])
    except msgspec.MsgspecError as error:
        what = f"what the worker says about a type can't be read ({error})"
        raise BadLibraryError(what, todo="report this") from None
    return made


def _check(types: tuple[Type, ...], used: list[int]) -> None:
    """Raise `msgspec.ValidationError` unless all numbers of types lead somewhere."""
    for one in types:
        used += [number for number in (one.elem, one.key) if number != -1]
        used += [field.type for field in one.fields]
        used += _used((*one.methods, *one.signature))
    if any(not 0 <= number < len(types) for number in used):
        raise msgspec.ValidationError("a type is missing")


def _check_shapes(api: API) -> None:
    used = [one.shape for one in api.variables]
    for one in api.shapes:
        used += [one.elem, one.key, *(field.type for field in one.fields)]
    if any(not -1 <= number < len(api.shapes) for number in used):
        raise msgspec.ValidationError("a shape is missing")


def _direct(api: API) -> list[int]:
    variables = [one.type for one in api.variables]
    return [*variables, *(one.type for one in api.constants), *_used(api.functions)]


def _used(funcs: tuple[Func, ...]) -> list[int]:
    return [param.type for func in funcs for param in (*func.params, *func.results)]
