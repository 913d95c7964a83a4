"""Which of a library's functions are hooks: called by midflight when versions come and go, not by programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from midflight._errors import InterfaceError
from midflight.artifact.interface import Pointer, Scalar, Void

if TYPE_CHECKING:
    from collections.abc import Collection

    from midflight.artifact.interface import Function, Interface

HOOKS = ("midflight_loaded", "midflight_save", "midflight_restore", "midflight_unloading")

MIGRATION = "midflight_migrate_"
"""How the names of functions begin that migrate a struct: midflight_migrate_player(const void *old, void *new)."""

CHECK = "midflight_check_"
"""How the names of functions begin that check a version before it becomes current: int midflight_check_adds(void)."""

_INT, _MIGRATES = 4, 2


def take_hooks(interface: Interface, exports: Collection[str] = ()) -> Interface:
    """Return the interface with its hooks, migrations and checks apart from its functions.

    ``exports``: names that the library has, where that isn't said in ``unknown``.  Raises `InterfaceError` for a hook
    of another type, or of an unknown one: what it returns must be known.
    """
    hooks = tuple(function for function in interface.functions if function.name in HOOKS)
    checks = tuple(function for function in interface.functions if function.name.startswith(CHECK))
    for function in (*hooks, *checks):
        _check(interface, function)
    named = {function.name for function in (*hooks, *checks)}
    for name in (*exports, *interface.unknown):
        if name not in named and (name in HOOKS or name.startswith(CHECK)):
            what = f"{name} is exported, but nothing says whether it returns an int"
            raise InterfaceError(what, todo=f"build with -g, or declare it in interface=: int {name}(void);")
    migrations = tuple(function for function in interface.functions if function.symbol.startswith(MIGRATION))
    for function in migrations:
        _check_migration(interface, function)
    apart = {function.qualified for function in (*hooks, *migrations, *checks)}
    if not apart:
        return interface
    others = tuple(one for one in interface.functions if one.qualified not in apart)
    return msgspec.structs.replace(interface, functions=others, hooks=hooks, migrations=migrations, checks=checks)


def migrated(interface: Interface) -> dict[str, Function]:
    """Return the functions that migrate structs, by the structs' names without keyword."""
    return {function.symbol.removeprefix(MIGRATION): function for function in interface.migrations}


def returns_int(interface: Interface, hook: Function) -> bool:
    """Whether a hook says how it went."""
    return not isinstance(interface.strip(hook.result), Void)


def _check(interface: Interface, hook: Function) -> None:
    result = interface.strip(hook.result)
    is_int = isinstance(result, Scalar) and result.kind == "int" and result.size == _INT
    if hook.params or hook.variadic or not (is_int or isinstance(result, Void)):
        what = f"{hook.name} is declared as {interface.describe(hook)}"
        raise InterfaceError(what, todo=f"make it int {hook.name}(void), or void {hook.name}(void)")


def _check_migration(interface: Interface, function: Function) -> None:
    pointers = [param for param in function.params if isinstance(interface.strip(param.type), Pointer)]
    if function.variadic or len(function.params) != _MIGRATES or len(pointers) != _MIGRATES:
        what = f"the migration {function.name} is declared as {interface.describe(function)}"
        raise InterfaceError(what, todo=f"make it void {function.symbol}(const void *old, void *new)")
