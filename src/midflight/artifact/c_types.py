"""Types of the model from parsed C declarations."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Literal

from pycparser import c_ast

from midflight._errors import InterfaceError
from midflight.artifact.c_constants import Constants
from midflight.artifact.c_layout import Declared, struct_layout, union_layout
from midflight.artifact.interface import Array, Enum, Param, Pointer, Record, Scalar, Signature, Typedef, Unsupported
from midflight.artifact.layout import align_of, size_of
from midflight.artifact.type_table import TypeTable

if TYPE_CHECKING:
    from midflight.artifact.interface import Type, TypeId

_SCALARS: dict[str, Scalar] = {
    "char": Scalar("char", "char", 1),
    "char signed": Scalar("signed char", "int", 1),
    "char unsigned": Scalar("unsigned char", "uint", 1),
    "short": Scalar("short", "int", 2),
    "short unsigned": Scalar("unsigned short", "uint", 2),
    "int": Scalar("int", "int", 4),
    "int unsigned": Scalar("unsigned int", "uint", 4),
    "long": Scalar("long", "int", 8),
    "long unsigned": Scalar("unsigned long", "uint", 8),
    "long long": Scalar("long long", "int", 8),
    "long long unsigned": Scalar("unsigned long long", "uint", 8),
    "float": Scalar("float", "float", 4),
    "double": Scalar("double", "float", 8),
    "_Bool": Scalar("bool", "bool", 1),
}
_UNSUPPORTED: dict[str, Unsupported] = {
    "double long": Unsupported("long double", 16, "it has more bits than Python's floats"),
    "__int128": Unsupported("__int128", 16, "it is an integer of 128 bits"),
    "__int128 unsigned": Unsupported("unsigned __int128", 16, "it is an integer of 128 bits"),
    "_Float128": Unsupported("_Float128", 16, "it has more bits than Python's floats"),
    "__float128": Unsupported("__float128", 16, "it has more bits than Python's floats"),
    "_Float16": Unsupported("_Float16", 2, "it has fewer bits than Python's floats"),
    "_Complex double": Unsupported("complex double", 16, "it is a complex number"),
    "_Complex float": Unsupported("complex float", 8, "it is a complex number"),
    "_Complex double long": Unsupported("complex long double", 32, "it is a complex number"),
}
_PACK = re.compile(r"pack\s*\(\s*(?:(push|pop)\s*(?:,\s*\w+\s*)??(?:,\s*)?)?(\d+)?\s*\)")
_INT_MAX, _UINT_MAX = (1 << 31) - 1, (1 << 32) - 1


class DeclaredTypes:
    """Turns the type parts of declarations into the types of one interface."""

    def __init__(self, name: str) -> None:
        self.table = TypeTable()
        self._name = name
        self._typedefs: dict[str, c_ast.Node] = {}
        self._typedef_ids: dict[str, TypeId] = {}
        self._definitions: dict[str, c_ast.Node] = {}
        self._ids: dict[object, TypeId] = {}
        self._nodes: dict[TypeId, c_ast.Node] = {}
        self._pending: deque[TypeId] = deque()
        self._in_progress: set[TypeId] = set()
        self._packs: dict[int, int | None] = {}
        self._pack: list[int | None] = [None]
        self._constants = Constants(self._size_of_node)

    def note(self, node: c_ast.Node) -> None:
        """Remember what a declaration defines, before any of it is needed."""
        if isinstance(node, c_ast.Pragma):
            self._note_pack(node.string)
            return
        if isinstance(node, c_ast.FuncDef):
            node = node.decl
        if isinstance(node, c_ast.Typedef):
            self._typedefs[node.name] = node.type
        stack: list[c_ast.Node] = [node]
        while stack:
            inner = stack.pop()
            if isinstance(inner, (c_ast.Struct, c_ast.Union)) and inner.decls is not None:
                self._packs[id(inner)] = self._pack[-1]
                if inner.name:
                    self._definitions[_tag(inner)] = inner
            elif isinstance(inner, c_ast.Enum) and inner.values is not None:
                self._constants.add_enumerators(inner.values)
                if inner.name:
                    self._definitions[_tag(inner)] = inner
            stack += [child for _, child in inner.children()]

    def finish(self) -> tuple[Type, ...]:
        """Lay out the records that were only pointed to so far, and return the types."""
        while self._pending:
            self._complete(self._pending.popleft())
        return self.table.finish()

    def of(self, node: c_ast.Node) -> TypeId:
        """Return the type that a part of a declaration stands for."""
        match node:
            case c_ast.TypeDecl() | c_ast.Typename() | c_ast.Decl():
                return self.of(node.type)
            case c_ast.PtrDecl():
                return self.table.add(Pointer(self.of(node.type), self.is_const(node.type)))
            case c_ast.ArrayDecl():
                count = None if node.dim is None else self._constants.value(node.dim)
                if count is not None and count < 0:
                    raise self._error(node, "an array has a negative length")
                return self.table.add(Array(self._complete_type(node.type), count))
            case c_ast.FuncDecl():
                params, variadic = self.parameters(node)
                return self.table.add(Signature(tuple(param.type for param in params), self.of(node.type), variadic))
            case c_ast.IdentifierType():
                return self._named(node)
            case c_ast.Struct() | c_ast.Union():
                return self._record(node)
            case c_ast.Enum():
                return self._enum(node)
        raise self._error(node, f"midflight doesn't know this kind of declaration ({type(node).__name__})")

    def parameters(self, node: c_ast.FuncDecl) -> tuple[tuple[Param, ...], bool]:
        """Return a function's parameters, and whether more may follow."""
        params: list[Param] = []
        variadic = False
        for child in node.args.params if node.args is not None else ():
            if isinstance(child, c_ast.EllipsisParam):
                variadic = True
                continue
            if isinstance(child, c_ast.ID):
                raise self._error(child, f"parameter {child.name} has no type")
            params.append(Param(child.name or "", self._parameter_type(child.type)))
        if len(params) == 1 and not params[0].name and params[0].type == 0:
            return (), variadic
        return tuple(params), variadic

    def is_const(self, node: c_ast.Node) -> bool:
        """Tell whether what a part of a declaration stands for is constant, also behind a typedef."""
        for _ in range(64):
            if "const" in (getattr(node, "quals", None) or ()):
                return True
            match node:
                case c_ast.TypeDecl() | c_ast.Typename() | c_ast.ArrayDecl():
                    node = node.type
                case c_ast.IdentifierType() if len(node.names) == 1 and node.names[0] in self._typedefs:
                    node = self._typedefs[node.names[0]]
                case _:
                    return False
        return False

    def _parameter_type(self, node: c_ast.Node) -> TypeId:
        """Return a parameter's type: arrays and functions are pointers there."""
        if isinstance(node, c_ast.ArrayDecl):
            return self.table.add(Pointer(self.of(node.type), self.is_const(node.type)))
        type_id = self.of(node)
        found = self._behind_typedefs(type_id)
        if isinstance(found, Signature):
            return self.table.add(Pointer(type_id))
        if isinstance(found, Array):
            return self.table.add(Pointer(found.element, self.is_const(node)))
        return type_id

    def _behind_typedefs(self, type_id: TypeId) -> Type:
        found = self.table.types[type_id]
        while isinstance(found, Typedef):
            found = self.table.types[found.target]
        return found

    def _named(self, node: c_ast.IdentifierType) -> TypeId:
        names = list(node.names)
        if len(names) == 1 and names[0] in self._typedefs:
            return self._typedef(names[0])
        if names == ["void"]:
            return 0
        words = sorted(names)
        for superfluous in ("int", "signed"):
            if superfluous in words and len(words) > 1 and not (superfluous == "signed" and "char" in words):
                rest = [word for word in words if word != superfluous]
                if superfluous == "signed" or {"short", "long"} & set(rest):
                    words = rest
        if words in (["signed"], ["unsigned"]):
            words = ["int"] if words == ["signed"] else ["int", "unsigned"]
        key = " ".join(words)
        found: Type | None = _SCALARS.get(key) or _UNSUPPORTED.get(key)
        if found is None:
            raise self._error(node, f"the type {' '.join(names)} isn't known")
        return self.table.add(found)

    def _typedef(self, name: str) -> TypeId:
        if name not in self._typedef_ids:
            self._typedef_ids[name] = self.table.add(Typedef(name, self.of(self._typedefs[name])))
        return self._typedef_ids[name]

    def _record(self, node: c_ast.Struct | c_ast.Union) -> TypeId:
        tag = _tag(node) if node.name else ""
        key: object = tag or id(node)
        if key not in self._ids:
            definition = self._definitions.get(tag) if tag else node
            kind: Literal["struct", "union"] = "union" if isinstance(node, c_ast.Union) else "struct"
            type_id = self._ids[key] = self.table.reserve(Record(tag, kind, None))
            if definition is not None and definition.decls is not None:
                self._nodes[type_id] = definition
                self._pending.append(type_id)
        return self._ids[key]

    def _enum(self, node: c_ast.Enum) -> TypeId:
        tag = _tag(node) if node.name else ""
        definition = self._definitions.get(tag, node) if tag else node
        if definition.values is None:
            return self.table.add(Enum(tag, 4, signed=False, items=()))
        items = tuple((item.name, self._constants.names[item.name]) for item in definition.values.enumerators)
        values = [value for _, value in items] or [0]
        signed = min(values) < 0
        size = 4 if min(values) >= -_INT_MAX - 1 and max(values) <= (_INT_MAX if signed else _UINT_MAX) else 8
        return self.table.add(Enum(tag, size, signed, items))

    def _complete_type(self, node: c_ast.Node) -> TypeId:
        """Return a type whose size is needed now, its records laid out."""
        type_id = self.of(node)
        inner = type_id
        while isinstance(found := self.table.types[inner], (Typedef, Array)):
            inner = found.target if isinstance(found, Typedef) else found.element
        if inner in self._in_progress:
            raise self._error(node, "a record contains itself")
        if inner in self._nodes:
            self._complete(inner)
        return type_id

    def _complete(self, type_id: TypeId) -> None:
        node = self._nodes.pop(type_id, None)
        if node is None:
            return
        self._in_progress.add(type_id)
        pack, align = self._packs.get(id(node)), 1
        members: list[Declared] = []
        for child in node.decls:
            if isinstance(child, c_ast.Pragma):
                word, _, number = child.string.removeprefix("midflight ").partition(" ")
                if word == "packed":
                    pack = 1
                elif word == "aligned":
                    align = max(align, int(number))
            elif isinstance(child, c_ast.Decl):
                members.append(self._member(child))
        lay_out = union_layout if isinstance(node, c_ast.Union) else struct_layout
        layout = lay_out(members, pack=pack, align=align)
        name = _tag(node) if node.name else ""
        kind: Literal["struct", "union"] = "union" if isinstance(node, c_ast.Union) else "struct"
        self.table.replace(type_id, Record(name, kind, layout.size, layout.fields, layout.align))
        self._in_progress.discard(type_id)

    def _member(self, node: c_ast.Decl) -> Declared:
        type_id = self._complete_type(node.type)
        types = self.table.types
        size = size_of(types, type_id)
        if size is None:
            found = self._behind_typedefs(type_id)
            if not isinstance(found, Array):
                raise self._error(node, f"member {node.name or ''} has no known size")
            size = 0  # a flexible array
        align = align_of(types, type_id)
        for alignas in node.align or ():
            wanted = alignas.alignment
            named = isinstance(wanted, c_ast.Typename)
            align = max(align, align_of(types, self.of(wanted)) if named else self._constants.value(wanted))
        if node.bitsize is None:
            return Declared(node.name or "", type_id, size, align)
        return Declared(node.name, type_id, size, align, self._constants.value(node.bitsize))

    def _size_of_node(self, node: c_ast.Node) -> int | None:
        return size_of(self.table.types, self._complete_type(node))

    def _note_pack(self, text: str) -> None:
        found = _PACK.fullmatch(text.strip())
        if found is None:
            return
        action, number = found.groups()
        size = int(number) if number else None
        if action == "push":
            self._pack.append(self._pack[-1] if size is None else size)
        elif action == "pop":
            if len(self._pack) > 1:
                self._pack.pop()
        else:
            self._pack[-1] = size

    def _error(self, node: c_ast.Node, what: str) -> InterfaceError:
        place = node.coord
        line = f"line {place.line}: " if place is not None and place.line else ""
        return InterfaceError(f"{line}{what}", subject=self._name, todo="correct the declarations")


def _tag(node: c_ast.Node) -> str:
    keyword = {c_ast.Struct: "struct", c_ast.Union: "union"}.get(type(node), "enum")
    return f"{keyword} {node.name}"
