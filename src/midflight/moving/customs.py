"""Structs that the user's functions migrate: in Python, or in C (``midflight_migrate_player`` of the new version)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midflight._errors import HookError, MidflightError
from midflight._lane import migrate_by
from midflight.artifact.hooks import migrated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midflight._control import Generation
    from midflight._lane import Code
    from midflight.state.layout import Migration
    from midflight.state.ops import Custom


@dataclass(slots=True)
class _Batch:
    """All structs of one type: (old, new) addresses.  ``names``: of what the pairs from an index on belong to."""

    custom: Custom
    pairs: list[tuple[int, int]] = field(default_factory=list)
    names: list[tuple[int, str]] = field(default_factory=list)

    def where(self, index: int) -> str:
        """Return what the pair of an index belongs to."""
        start, name = next(one for one in reversed(self.names) if one[0] <= index)
        return name.replace("[]", f"[{index - start}]")


@dataclass(slots=True)
class Customs:
    """Runs such functions, for one move."""

    old: Generation
    new: Generation
    functions: Mapping[str, Callable[[Any, Any], object]]
    _batches: dict[str, _Batch] = field(default_factory=dict)

    def note(self, name: str, migration: Migration, source: int, target: int, count: int) -> None:
        """Note what is to be migrated in ``count`` elements of something that lie back to back."""
        for one in migration.customs:
            batch = self._batches.setdefault(one.name, _Batch(one))
            batch.names.append((len(batch.pairs), name if count == 1 else f"{name}[]"))
            for index in range(count):
                place = source + index * migration.from_size + one.start
                batch.pairs.append((place, target + index * migration.to_size + one.to))

    def run(self) -> None:
        """Migrate all that was noted.  Raises `HookError`."""
        assert self.old.code is not None  # noqa: S101 - both versions are loaded
        assert self.new.code is not None  # noqa: S101 - the same
        for name, batch in self._batches.items():
            function = self.functions.get(name)
            if function is not None:
                old, new = self.old.code.ctypes.of(batch.custom.old), self.new.code.ctypes.of(batch.custom.new)
                _run_python(name, function, (old, new), batch)
            else:
                self._run_native(self.new.code, name, batch)

    def _run_native(self, code: Code, name: str, batch: _Batch) -> None:
        function = migrated(self.new.interface)[name]
        try:
            migrate_by(code, function, batch.pairs, batch.custom.sizes)
        except MidflightError as error:
            what = error.what if isinstance(error, HookError) else f"raised {type(error).__name__}: {error.what}"
            raise HookError(f"{function.name} {what}", todo=f"mend {function.name}") from error


def _run_python(name: str, function: Callable[[Any, Any], object], classes: tuple[Any, Any], batch: _Batch) -> None:
    old, new = classes
    for index, (source, target) in enumerate(batch.pairs):
        try:
            function(old.from_address(source), new.from_address(target))
        except Exception as error:
            what = f"the migration of {name} raised {type(error).__name__} at {batch.where(index)}: {error}"
            raise HookError(what, todo="mend the function that migrates it") from error
