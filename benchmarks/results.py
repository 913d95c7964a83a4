"""What a benchmark found: rows with their peers and targets, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """What has to hold: ``found`` is at most, or at least, ``limit``."""

    what: str
    found: float
    limit: float
    sense: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.found <= self.limit if self.sense == "at most" else self.found >= self.limit


@dataclass(frozen=True)
class Result:
    """One figure.  ``peers`` are others' figures in the same unit, ``parts`` what ours is made of."""

    name: str
    value: float
    unit: str
    peers: dict[str, float] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long each peer takes."""
        return {peer: value / self.value if self.value else 0.0 for peer, value in self.peers.items()}


def show(results: Sequence[Result]) -> None:
    """Print the table."""
    table = Table(title="midflight beside its peers", title_justify="left", show_lines=True)
    for heading in ("what", "midflight", "peers, parts", "target", ""):
        table.add_column(heading, justify="right" if heading == "midflight" else "left")
    for result in results:
        peers = [f"{peer} {_number(value)} ({result.ratios[peer]:.2f} x)" for peer, value in result.peers.items()]
        peers += [f"  {part} {_number(value)}" for part, value in result.parts.items()]
        targets = "\n".join(
            f"{target.what}: {target.sense} {_number(target.limit)}, found {_number(target.found)}"
            for target in result.targets
        )
        marks = "\n".join("[green]met[/]" if target.met else "[bold red]MISSED[/]" for target in result.targets)
        table.add_row(result.name, f"{_number(result.value)} {result.unit}", "\n".join(peers), targets, marks)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    targets_all = [target for result in results for target in result.targets]
    met = sum(target.met for target in targets_all)
    console.print(f"{met} of {len(targets_all)} targets met")


def write(results: Sequence[Result], path: Path) -> None:
    """Write ``{name: {value, unit, peers, ratios, parts, targets}}``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        result.name: {
            "value": result.value,
            "unit": result.unit,
            "peers": result.peers,
            "ratios": result.ratios,
            "parts": result.parts,
            "targets": [
                {
                    "what": target.what,
                    "sense": target.sense,
                    "limit": target.limit,
                    "found": target.found,
                    "met": target.met,
                }
                for target in result.targets
            ],
        }
        for result in results
    }
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
