"""What changed between two interfaces, judged for those who call the functions.

A change is *compatible* where every call that worked before still means the same.

- Incompatible: a function that is gone or lost its plain name; another number of parameters; a parameter or result of
  another type; a struct, reached by value or through a pointer, whose size or members changed; an enumerator that is
  gone or has another value; a type that lost its definition.
- Compatible: new functions, new enumerators, an opaque type that got a definition, a pointer parameter that became a
  pointer to const, a renamed parameter.  Only calls with keyword arguments see a parameter's name, and a swap that
  improves a name shouldn't be refused; but it is reported.  A parameter that takes another one's name is incompatible:
  the arguments have changed places, and of the same type they may be.
- Changes of variables are compatible here: calls don't see them, and the carrying of state judges them by itself.

Types are compared by what they are, not by how they are spelled: typedefs don't count, nor do ``long`` and
``long long`` where both are 64-bit integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from midflight.artifact.compare_params import pair_up
from midflight.artifact.compare_types import Part, TypePairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midflight.artifact.interface import Function, Interface, Param, Variable


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    ``kind``: what happened to the ``subject`` (a function's, type's or variable's name as its language spells it);
    ``detail``: to which part of it, and how; ``category``: what the subject is.  ``parts``: the same for programs.
    """

    kind: Literal["removed", "changed", "added"]
    category: Literal["function", "type", "variable"]
    subject: str
    detail: str
    compatible: bool
    parts: tuple[Part, ...] = ()

    @property
    def what(self) -> str:
        """The change as one line for people."""
        return f"{self.subject}: {self.detail}"

    def __str__(self) -> str:
        return self.what


def compare(old: Interface, new: Interface) -> list[Change]:
    """Return all differences: removed functions first, then changed ones, types, added functions, variables."""
    pairs, removed, added = _match(old, new)
    types = TypePairs(old, new)
    changes = [_removed(function, new) for function in removed]
    for before, after in pairs:
        changes += _function(before, after, types)
    changes += [
        Change("changed", "type", difference.subject, difference.detail, difference.compatible, difference.parts)
        for difference in types.records_and_enums()
    ]
    changes += [Change("added", "function", function.qualified, "is new", compatible=True) for function in added]
    changes += _variables(old, new, types)
    return changes


def compare_calls(caller: Interface, wanted: Function, callee: Interface, offered: Function) -> list[str]:
    """Return why who calls a function as ``wanted`` can't be given the one that is ``offered``.

    They are one call's two sides, not an old and a new one: an opaque type or a missing const on either is no matter.
    """
    here = _one_call(caller, wanted, callee, offered)
    return here if here and _one_call(callee, offered, caller, wanted) else []


def _one_call(old: Interface, before: Function, new: Interface, after: Function) -> list[str]:
    types = TypePairs(old, new)
    changes = _function(before, msgspec.structs.replace(after, name=before.name), types)
    found = [change.detail for change in changes if not change.compatible]
    found += [f"{one.subject}: {one.detail}" for one in types.records_and_enums() if not one.compatible]
    return found


def _match(old: Interface, new: Interface) -> tuple[list[tuple[Function, Function]], list[Function], list[Function]]:
    """Pair the functions: by full name, then what is left by plain name where that leaves no doubt."""
    after = {function.qualified: function for function in new.functions}
    pairs: list[tuple[Function, Function]] = []
    removed: list[Function] = []
    for function in old.functions:
        same = after.pop(function.qualified, None)
        if same is None:
            removed.append(function)
        else:
            pairs.append((function, same))
    before_by_path, after_by_path = _by_path(removed), _by_path(list(after.values()))
    for path, candidates in before_by_path.items():
        others = after_by_path.get(path, [])
        if len(candidates) == len(others) == 1:
            pairs.append((candidates[0], others[0]))
            removed.remove(candidates[0])
            del after[others[0].qualified]
    return pairs, removed, list(after.values())


def _by_path(functions: list[Function]) -> dict[str, list[Function]]:
    found: dict[str, list[Function]] = {}
    for function in functions:
        found.setdefault(function.qualified.split("(", 1)[0], []).append(function)
    return found


def _removed(function: Function, new: Interface) -> Change:
    if function.symbol in new.unknown:
        detail = "is still exported, but its parameters aren't known any more (a part of the library lacks -g)"
        return Change("changed", "function", function.qualified, detail, compatible=False)
    return Change("removed", "function", function.qualified, "is gone", compatible=False)


def _function(old: Function, new: Function, types: TypePairs) -> Iterator[Change]:
    def change(detail: str, *parts: Part, compatible: bool) -> Change:
        return Change("changed", "function", old.qualified, detail, compatible, parts)

    if old.name and old.name != new.name:
        detail = f"its plain name {old.name} isn't unambiguous any more" if not new.name else f"is {new.name} now"
        yield change(detail, Part("name", old.name, old=old.name, new=new.name), compatible=False)
    if len(old.params) != len(new.params):
        detail = f"takes {_count(len(new.params))} ({_names(new)}), took {_count(len(old.params))} ({_names(old)})"
        parts = pair_up(old.params, new.params, types.spell_old, types.spell_new)
        yield change(detail, *parts, compatible=False)
    else:
        taken = {param.name for param in old.params if param.name}
        for index, (before, after) in enumerate(zip(old.params, new.params, strict=True)):
            label = f"parameter {before.name or after.name or index + 1}"
            difference = types.parameter(before.type, after.type)
            if difference is not None:
                part = _parameter(index, before, after, types)
                yield change(f"{label}: {difference.detail}", part, compatible=difference.compatible)
            if before.name and after.name and before.name != after.name:
                part = Part("parameter name", before.name, index + 1, before.name, after.name)
                was = f", as another one was before (position {_place(old, after.name)})" if after.name in taken else ""
                yield change(f"{label} is called {after.name} now{was}", part, compatible=not was)
    difference = types.result(old.result, new.result)
    if difference is not None:
        part = Part("result", old=types.spell_old(old.result), new=types.spell_new(new.result))
        yield change(f"result: {difference.detail}", part, compatible=difference.compatible)
    if old.variadic != new.variadic:
        yield change("is variadic now" if new.variadic else "isn't variadic any more", compatible=False)


def _parameter(index: int, old: Param, new: Param, types: TypePairs) -> Part:
    return Part("parameter", old.name or new.name, index + 1, types.spell_old(old.type), types.spell_new(new.type))


def _place(function: Function, name: str) -> int:
    return 1 + [param.name for param in function.params].index(name)


def _count(number: int) -> str:
    return f"{number} parameter{'' if number == 1 else 's'}"


def _names(function: Function) -> str:
    return ", ".join(param.name or "unnamed" for param in function.params) or "none"


def _variables(old: Interface, new: Interface, types: TypePairs) -> Iterator[Change]:
    before: dict[str, Variable] = {variable.name: variable for variable in old.variables if variable.exported}
    after: dict[str, Variable] = {variable.name: variable for variable in new.variables if variable.exported}
    for name, variable in before.items():
        other = after.get(name)
        if other is None:
            yield Change("removed", "variable", name, "is gone", compatible=True)
            continue
        difference = types.result(variable.type, other.type)
        if difference is not None:
            part = Part("type", old=types.spell_old(variable.type), new=types.spell_new(other.type))
            yield Change("changed", "variable", name, difference.detail, compatible=True, parts=(part,))
        if variable.const != other.const:
            detail = "is constant now" if other.const else "isn't constant any more"
            yield Change("changed", "variable", name, detail, compatible=True)
    for name in after:
        if name not in before:
            yield Change("added", "variable", name, "is new", compatible=True)
