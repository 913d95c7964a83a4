"""What would become of a Go package's variables in another version, by their types: what carry.go does by values.

Guarantee: what a swap refuses whatever the values are is told here as refused; what it refuses for some values only is
told with the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midflight._version import Carried
from midflight.state.forecast import Forecast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.lanes.go.model import API, Shape

_SHOWN = 8
_NO_RESTORE = "the old version saves its state by MidflightSave, but the new one has no MidflightRestore"


@dataclass(slots=True)
class _Notes:
    """What becomes of one variable: ``refused``, by its types; ``own``: what is no other version's; ``changes``."""

    refused: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


def forecast(old: API, new: API) -> Forecast:
    """Return what would become of every variable that is carried, if the program had changed it."""
    if old.save_hook:
        what, how = (
            ("left", "MidflightSave and MidflightRestore see to it") if new.restore_hook else ("refused", _NO_RESTORE)
        )
        rows = [Carried(one.name, what, how) for one in old.variables if one.state]  # type: ignore[arg-type]
        return Forecast(tuple(rows or [Carried("MidflightSave", what, how)]), ())  # type: ignore[arg-type]
    return Forecast(tuple(_rows(old, new)), ())


def _rows(old: API, new: API) -> Iterator[Carried]:
    after = {one.name: one for one in new.variables if one.state}
    before = {one.name for one in old.variables if one.state}
    for one in old.variables:
        if not one.state or one.shape < 0:
            continue
        other = after.get(one.name)
        if old.shapes[one.shape].kind == "code" or _holds_only_code(old, one.shape):
            yield Carried(one.name, "initialised", "functions and channels are each version's own")
        elif other is None or other.shape < 0:
            yield Carried(one.name, "dropped", "the new version has no such variable")
        else:
            yield _row(one.name, _Walk(old, new).variable(one.name, one.shape, other.shape))
    for name in after:
        if name not in before:
            yield Carried(name, "initialised", "it is new")


def _row(name: str, notes: _Notes) -> Carried:
    if notes.refused:
        return Carried(name, "refused", _listed(notes.refused))
    if notes.own:
        how = "; once the program has assigned to it, a swap is refused"
        return Carried(name, "left", f"{_listed(notes.own)}{how}")
    return Carried(name, "migrated" if notes.changes else "carried", _listed(notes.changes))


def _listed(words: list[str]) -> str:
    found = list(dict.fromkeys(words))
    rest = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + rest


def _holds_only_code(api: API, number: int) -> bool:
    """Whether a variable holds nothing but functions, as isCode in carry.go has it."""
    seen = set()
    while number not in seen and api.shapes[number].kind in {"map", "slice", "array", "pointer"}:
        seen.add(number)
        number = api.shapes[number].elem
    return api.shapes[number].kind == "code"


class _Walk:
    """Goes through the types of one variable, side by side."""

    def __init__(self, old: API, new: API) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[int, int]] = set()
        self._notes = _Notes()
        self._gone = sorted({one.name for one in old.types if one.name} - {one.name for one in new.types})

    def variable(self, name: str, old: int, new: int) -> _Notes:
        """Return what becomes of it."""
        self._pair(name, old, new)
        return self._notes

    def _pair(self, path: str, old: int, new: int) -> None:
        if (old, new) in self._seen:
            return
        self._seen.add((old, new))
        before, after = self._old.shapes[old], self._new.shapes[new]
        became = f"{path}: {before.text} is {after.text} now"
        match before.kind, after.kind:
            case "code", _:
                self._notes.own.append(f"{path} is a {before.text}")
            case (("int" | "uint" | "float"), ("int" | "uint" | "float")):
                self._number(before, after, became)
            case "struct", "struct":
                self._struct(path, before, after)
            case (("map" | "pointer" | "slice" | "array" | "marshaled" | "any" | "complex"), _) if (
                before.kind == after.kind
            ):
                self._same_kind(path, before, after, became)
            case "slice", "array":
                self._notes.changes.append(f"{became}: with more than {after.length} elements the swap is refused")
                self._pair(f"{path}[]", before.elem, after.elem)
            case "array", "slice":
                self._notes.changes.append(became)
                self._pair(f"{path}[]", before.elem, after.elem)
            case _ if before.kind == after.kind:  # bool, string, bytes
                return
            case _:
                self._notes.refused.append(became)

    def _number(self, before: Shape, after: Shape, became: str) -> None:
        if before.kind == "float" and after.kind != "float":
            self._notes.refused.append(became)
        elif (before.kind, before.bits) != (after.kind, after.bits):
            widened = after.kind == "float" if before.kind != after.kind else after.bits > before.bits
            widened = widened or ((before.kind, after.kind) == ("uint", "int") and after.bits > before.bits)
            self._notes.changes.append(became + ("" if widened else ": a value that doesn't fit refuses the swap"))

    def _same_kind(self, path: str, before: Shape, after: Shape, became: str) -> None:
        match before.kind:
            case "map":
                self._pair(f"{path}[key]", before.key, after.key)
                self._pair(f"{path}[…]", before.elem, after.elem)
            case "pointer" | "slice":
                self._pair(path if before.kind == "pointer" else f"{path}[]", before.elem, after.elem)
            case "array":
                if before.length > after.length:
                    self._notes.refused.append(
                        f"{became}: it has room for {after.length} elements, not {before.length}"
                    )
                elif before.length < after.length:
                    self._notes.changes.append(became)
                self._pair(f"{path}[]", before.elem, after.elem)
            case "any":
                self._any(path)
            case "complex":
                if before.bits > after.bits:
                    self._notes.changes.append(f"{became}: a value that doesn't fit refuses the swap")
            case _ if before.text != after.text:
                self._notes.changes.append(
                    f"{became}: if it can't read what the other has written, the swap is refused"
                )

    def _any(self, path: str) -> None:
        if self._gone:
            names = ", ".join(self._gone[:_SHOWN])
            what = (
                f"{path}: what it holds is carried, but a {names}, which the new version hasn't got, refuses the swap"
            )
            self._notes.changes.append(what)

    def _struct(self, path: str, before: Shape, after: Shape) -> None:
        fields = {one.name: one.type for one in after.fields}
        for one in before.fields:
            if one.name in fields:
                self._pair(f"{path}.{one.name}", one.type, fields[one.name])
            else:
                self._notes.changes.append(f"{path}.{one.name} is dropped")
        names = {one.name for one in before.fields}
        self._notes.changes += [f"{path}.{name} is new" for name in fields if name not in names]
