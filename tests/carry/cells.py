"""What the table of test_matrix is made of: rows of cells, a row for each kind of data."""

from __future__ import annotations

from dataclasses import dataclass, field

COLUMNS = ("unchanged", "moved", "reordered", "grown", "shrunk", "removed", "type changed")

TYPES, POINTERS, VALUES = "by their types", "by where they point", "by their values"
"""Steps of a move; each refuses all that it finds, and then the next one isn't reached."""

GONE = "dropped (the new version has no such variable)"
COPYABLE = (
    "isn't trivially copyable, so that copying its bytes isn't copying it; carry it by the hooks midflight_save and"
    " midflight_restore, or let it start fresh"
)


@dataclass(frozen=True, eq=False)
class Cell:
    """One situation.

    ``text``: the second version's declarations, ``check``: an expression that is true if the data are right in it; both
    as in the first version where they aren't given.  ``says``: the report, by variable.  ``refused``: the refusals, at
    the step ``at``.
    """

    text: str | None = None
    check: str | None = None
    says: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """A kind of data.

    ``text``: declarations; ``body``: functions that both versions have; ``set``: statements that change the data;
    ``check``: an expression that is true then.  ``names``: of the variables and blocks, as a report names them.
    ``cells``: by column; what isn't there is as it was.  ``lanes``: where it holds.
    """

    name: str
    names: tuple[str, ...]
    text: str
    set: str
    check: str
    cells: dict[str, tuple[Cell, ...]]
    body: str = ""
    lanes: tuple[str, ...] = ("here", "worker")

    def in_column(self, column: str) -> tuple[Cell, ...]:
        """Return the situations of one column."""
        usual = Cell(says={name: "carried (as they are)" if " of " in name else "carried" for name in self.names})
        if column == "removed":
            usual = Cell("", "1", dict.fromkeys(self.names, GONE))
        return self.cells.get(column, (usual,))


def became(name: str, how: str, text: str, check: str | None = None, **others: str) -> Cell:
    """Return the situation of a variable that is migrated."""
    return Cell(text, check, {name: f"migrated ({how})", **others})


def refused(text: str | None, *refusals: str, at: str, check: str = "1") -> Cell:
    """Return the situation of data that can't be carried."""
    return Cell(text, check, refused=refusals, at=at)


def always(*refusals: str, at: str) -> dict[str, tuple[Cell, ...]]:
    """Return cells that refuse the data even where nothing changes."""
    cell = refused(None, *refusals, at=at)
    return dict.fromkeys((column for column in COLUMNS if column != "removed"), (cell,))
