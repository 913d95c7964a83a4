"""A small library in an image, and short ways to describe its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from midflight import _core

if TYPE_CHECKING:
    from tests.conftest import Workshop

SOURCE = r"""
#include <stdint.h>
int add(int a, int b) { return a + b; }
int64_t add8(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h)
{ return a+b+c+d+e+f+g+h; }
double scale(double x, float by) { return x * by; }
uint8_t same_byte(uint8_t x) { return x; }
int first(const int *p) { return p ? p[0] : -1; }
void store(int *p, int x) { p[0] = x; }
static int here[2] = {5, 6};
int *place(void) { return here; }
const char *text(const char *t) { return t; }
int call(int (*function)(int), int x) { return function(x); }
"""


def param(name: str, kind: str = "int32", **changes: Any) -> Any:
    """Describe a parameter."""
    given = {
        "item": "v",
        "size": 0,
        "const": False,
        "type": kind,
        "extra": None,
        "target": "",
        "misfit": None,
    } | changes
    return (name, kind, *given.values())


def pointer_to_int(name: str, *, const: bool = False, **changes: Any) -> Any:
    """Describe an `int *`."""
    given = {"item": "i", "size": 4, "const": const, "type": "int *", "target": "int32"} | changes
    return param(name, "pointer", **given)


def result(kind: str = "int32", extra: Any = None, target: str = "") -> Any:
    """Describe a result."""
    return (kind, kind, extra, target)


@dataclass
class Library:
    """The library, loaded."""

    image: _core.Image

    def binding(self, name: str, params: Any = (), back: Any = None, **options: Any) -> _core.Binding:
        """Bind one of its functions."""
        return _core.Binding(f"lib.{name}", self.image.symbol(name), params, back or result(), **options)

    def function(
        self, name: str, params: Any = (), back: Any = None, **options: Any
    ) -> tuple[_core.Function, _core.Table]:
        """Return one of its functions as the only one of a table."""
        table = _core.Table("1", [self.binding(name, params, back, **options)])
        return _core.Function(_core.Cell("lib", table), 0, name), table


@pytest.fixture
def library(workshop: Workshop) -> Library:
    """Load the library."""
    return Library(_core.Image(workshop.library("lib", SOURCE).read_bytes(), "lib"))


ADD = (param("a"), param("b"))
