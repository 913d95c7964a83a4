"""Constant expressions in C declarations: array lengths, bit widths, enumerators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pycparser import c_ast

from midflight._errors import InterfaceError

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST_BITS = 128
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_INTEGER = re.compile(r"(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)[uUlL]*")
_BINARY: dict[str, Callable[[int, int], int]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": lambda one, other: abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1),
    "%": lambda one, other: abs(one) % abs(other) * (1 if one >= 0 else -1),
    "<<": lambda one, other: one << other,
    ">>": lambda one, other: one >> other,
    "&": lambda one, other: one & other,
    "|": lambda one, other: one | other,
    "^": lambda one, other: one ^ other,
    "==": lambda one, other: int(one == other),
    "!=": lambda one, other: int(one != other),
    "<": lambda one, other: int(one < other),
    ">": lambda one, other: int(one > other),
    "<=": lambda one, other: int(one <= other),
    ">=": lambda one, other: int(one >= other),
    "&&": lambda one, other: int(bool(one and other)),
    "||": lambda one, other: int(bool(one or other)),
}


class Constants:
    """The enumerators seen so far, and what expressions of them are worth."""

    def __init__(self, size_of: Callable[[c_ast.Node], int | None]) -> None:
        self.names: dict[str, int] = {}
        self._size_of = size_of

    def add_enumerators(self, values: c_ast.EnumeratorList) -> None:
        """Give an enumeration's names their values."""
        following = 0
        for item in values.enumerators:
            if item.value is not None:
                following = self.value(item.value)
            self.names[item.name] = following
            following += 1

    def value(self, node: c_ast.Node) -> int:
        """Return an expression's value."""
        try:
            value = self._value(node)
        except (ValueError, ZeroDivisionError, KeyError, OverflowError) as error:
            raise _error(node) from error
        if value is None or value.bit_length() > _LARGEST_BITS:
            raise _error(node)
        return value

    def _value(self, node: c_ast.Node) -> int | None:
        match node:
            case c_ast.Constant():
                return _constant(node.value)
            case c_ast.ID():
                return self.names[node.name]
            case c_ast.Cast():
                return self.value(node.expr)
            case c_ast.TernaryOp():
                return self.value(node.iftrue if self.value(node.cond) else node.iffalse)
            case c_ast.UnaryOp(op="sizeof") if isinstance(node.expr, c_ast.Typename):
                return self._size_of(node.expr)
            case c_ast.UnaryOp():
                return _unary(node.op, self.value(node.expr))
            case c_ast.BinaryOp():
                one, other = self.value(node.left), self.value(node.right)
                if node.op in {"<<", ">>"} and not 0 <= other < _LARGEST_BITS:
                    return None
                return _BINARY[node.op](one, other)
        return None


def _unary(operator: str, value: int) -> int | None:
    return {"-": -value, "+": value, "~": ~value, "!": int(not value)}.get(operator)


def _constant(text: str) -> int | None:
    if text.endswith("'"):
        body = text[text.index("'") + 1 : -1]
        if body.startswith("\\x"):
            return int(f"0{body[1:]}", 0)
        if body.startswith("\\"):
            known = _ESCAPES.get(body[1:])
            return int(body[1:], 8) if known is None else known
        return ord(body)
    found = _INTEGER.fullmatch(text)
    if found is None:
        return None
    digits = found.group(1)
    octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
    return int(digits, 8 if octal else 0)


def _error(node: c_ast.Node) -> InterfaceError:
    line = f"line {node.coord.line}: " if node.coord is not None and node.coord.line else ""
    what = f"{line}this isn't a constant that midflight can work out"
    return InterfaceError(what, todo="write the number out")
