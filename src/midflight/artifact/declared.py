"""An interface from C declarations: text, or a header file.

For libraries without debug information.  The declarations are parsed by pycparser; records are laid out as the
compiler would.  What is declared must be what the library exports: a function that it lacks is an error here, not at
the first call.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pycparser import c_ast, c_parser

from midflight._errors import InterfaceError, SourceNotFoundError
from midflight.artifact.c_text import preprocess
from midflight.artifact.c_types import DeclaredTypes
from midflight.artifact.interface import Function, Interface, Variable
from midflight.artifact.layout import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midflight.artifact.elf import Symbol

TEXT_NAME = "<interface>"
_PRELUDE_NAME = "<built-in>"
_SYSTEM = ("/usr/", _PRELUDE_NAME, "<command-line>")
_PRELUDE = """
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long uint64_t; typedef unsigned long size_t; typedef long ssize_t; typedef long ptrdiff_t;
typedef long intptr_t; typedef unsigned long uintptr_t; typedef int wchar_t; typedef unsigned short char16_t;
typedef unsigned int char32_t; typedef long intmax_t; typedef unsigned long uintmax_t; typedef _Bool bool;
typedef long off_t; typedef long time_t; typedef int pid_t; typedef unsigned int uid_t; typedef unsigned int gid_t;
typedef unsigned int mode_t; typedef struct __va_list_tag *__builtin_va_list; typedef __builtin_va_list va_list;
"""
_ERROR_PLACE = re.compile(r"^(?P<file>.*?):(?P<line>\d+)(?::\d+)?: (?P<what>.*)$", re.DOTALL)


def read_header(path: Path, exports: Mapping[str, Symbol]) -> Interface:
    """Read a header file's declarations as the interface of a library with these exported symbols."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        what = "there is no such header file"
        raise SourceNotFoundError(what, subject=str(path), todo="check the path given as interface=") from error
    except OSError as error:
        what = f"the header file can't be read ({error.strerror})"
        raise InterfaceError(what, subject=str(path), todo="check the path given as interface=") from error
    return _read(text, str(path), path, exports)


def read_text(text: str, exports: Mapping[str, Symbol]) -> Interface:
    """Read C declarations as the interface of a library with these exported symbols."""
    return _read(text, TEXT_NAME, None, exports)


def parse(text: str) -> Interface:
    """Read C declarations by themselves, whatever a library exports; variables have no addresses then."""
    return _read(text, TEXT_NAME, None, None)


def _read(text: str, name: str, path: Path | None, exports: Mapping[str, Symbol] | None) -> Interface:
    try:
        tree = c_parser.CParser().parse(f"{_PRELUDE}{preprocess(text, name, path)}", _PRELUDE_NAME)
        return _Declarations(tree, name, exports).read()
    except c_parser.ParseError as error:
        raise _syntax_error(str(error), name) from error
    except RecursionError as error:
        what = "the declarations are nested too deeply"
        raise InterfaceError(what, subject=name, todo="take them apart, by typedefs or structs with names") from error


def _syntax_error(message: str, name: str) -> InterfaceError:
    found = _ERROR_PLACE.match(message)
    todo = "write them as C declarations, as in a header file"
    if found is None:
        return InterfaceError(f"the declarations can't be understood: {message}", subject=name, todo=todo)
    what = f"line {found['line']}: the declarations can't be understood here ({found['what'].strip()})"
    return InterfaceError(what, subject=found["file"] or name, todo=todo)


class _Declarations:
    """The declarations of one parsed text."""

    def __init__(self, tree: c_ast.FileAST, name: str, exports: Mapping[str, Symbol] | None) -> None:
        self._tree = tree
        self._name = name
        self._exports = exports
        self._types = DeclaredTypes(name)
        self._functions: dict[str, Function] = {}
        self._variables: dict[str, Variable] = {}
        self._missing: list[str] = []

    def read(self) -> Interface:
        own: list[c_ast.Node] = []
        for node, is_own in self._declarations():
            self._types.note(node)
            if is_own:
                own.append(node)
        for node in own:
            self._declaration(node)
        if self._missing:
            names = ", ".join(self._missing)
            what = f"the library doesn't export {names}"
            raise InterfaceError(what, subject=self._name, todo="correct the declarations, or the library")
        return Interface(
            types=self._types.finish(),
            functions=tuple(self._functions.values()),
            variables=tuple(self._variables.values()),
            origin="declared",
            language="c",
        )

    def _declarations(self) -> Iterator[tuple[c_ast.Node, bool]]:
        """Go through the declarations; tell for each whether it is the user's, rather than a system header's."""
        for node in self._tree.ext:
            place = node.coord
            file = str(place.file) if place is not None and place.file is not None else ""
            yield node, bool(file) and not file.startswith(_SYSTEM)

    def _declaration(self, node: c_ast.Node) -> None:
        if isinstance(node, c_ast.FuncDef):
            node = node.decl
        if isinstance(node, c_ast.Typedef):
            self._types.of(node.type)
            return
        if not isinstance(node, c_ast.Decl):
            return
        if isinstance(node.type, c_ast.FuncDecl):
            if "static" not in node.storage:
                self._function(node)
        elif node.name is None:
            self._types.of(node.type)
        elif "static" not in node.storage:
            self._variable(node)

    def _is_exported(self, node: c_ast.Decl, *, function: bool) -> bool:
        if self._exports is None:
            return True
        symbol = self._exports.get(node.name)
        if symbol is not None and symbol.is_function == function:
            return True
        # What another header of the user's declares may live in another library.
        if str(node.coord.file) == self._name and node.name not in self._missing:
            self._missing.append(node.name)
        return False

    def _function(self, node: c_ast.Decl) -> None:
        if not self._is_exported(node, function=True) or node.name in self._functions:
            return
        params, variadic = self._types.parameters(node.type)
        place = f"{node.coord.file}:{node.coord.line}" if str(node.coord.file) != TEXT_NAME else ""
        self._functions[node.name] = Function(
            name=node.name if node.name.isidentifier() else "",
            qualified=node.name,
            symbol=node.name,
            params=params,
            result=self._types.of(node.type.type),
            variadic=variadic,
            declared_in=place,
        )

    def _variable(self, node: c_ast.Decl) -> None:
        if not self._is_exported(node, function=False) or node.name in self._variables:
            return
        symbol = self._exports[node.name] if self._exports is not None else None
        type_id = self._types.of(node.type)
        const = self._types.is_const(node.type)
        if symbol is None:
            self._variables[node.name] = Variable(node.name, type_id, None, const, key=node.name)
            return
        size = size_of(self._types.table.types, type_id)
        if size is not None and symbol.size and size > symbol.size:
            what = f"line {node.coord.line}: {node.name} has {size} bytes here, but {symbol.size} in the library"
            raise InterfaceError(what, subject=self._name, todo="correct the declaration")
        address = None if symbol.thread_local else symbol.address
        self._variables[node.name] = Variable(
            node.name, type_id, address, const, thread_local=symbol.thread_local, key=node.name
        )
