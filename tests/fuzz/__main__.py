"""``python -m tests.fuzz``: damaged libraries by the thousand, through all that reads libraries and through `load`.

A seed and a number stand for one damaged library; each problem is printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import campaign, originals
from tests.fuzz.damage import damage

SEED = 20261121


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = _options()
    seed = secrets.randbelow(1 << 32) if options.seed == "random" else int(options.seed)
    indices = [options.index] if options.index is not None else range(options.start, options.start + options.count)
    print(f"seed {seed}, inputs {indices}, stages {options.stages}", flush=True)
    if options.keep is not None and options.index is not None:
        _keep(seed, options.index, options.keep)
    begun, told = time.monotonic(), 0

    def tell(outcome: campaign.Outcome) -> None:
        nonlocal told
        for problem in outcome.problems[told:]:
            print(f"---- {problem}", flush=True)
        told = len(outcome.problems)
        if outcome.inputs % 250 == 0:
            print(f"{outcome.inputs} in {time.monotonic() - begun:.0f} s, problems {told}", flush=True)

    outcome = campaign.run(seed, indices, options.stages, tell, jobs=options.jobs)
    print(outcome)
    return bool(outcome.problems)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", default=SEED, help="a number, or 'random'")
    parser.add_argument("--count", type=int, default=10_000, help="how many libraries to damage")
    parser.add_argument("--start", type=int, default=0, help="the first one's number")
    parser.add_argument("--index", type=int, help="only this one")
    parser.add_argument("--stages", default="inspect,load", help="what they go through: inspect, load, or both")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="host processes at a time")
    parser.add_argument("--keep", type=Path, help="with --index: where to write the damaged library")
    return parser.parse_args()


def _keep(seed: int, index: int, path: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = damage(originals.pick(originals.make(Path(directory)), index), seed, index)
    path.write_bytes(made.data)
    print(f"{path}: {made.how}")


if __name__ == "__main__":
    sys.exit(main())
