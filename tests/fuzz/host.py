"""The process that thousands of damaged libraries go through.  `campaign` runs it: see there.

``python -m tests.fuzz.host DIRECTORY SEED STAGES``, with numbers on standard input, a line each; each is answered by a
line of JSON.  The process has no other protection than midflight's: a library that ends it has won.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from midflight.artifact.dwarf import reader as dwarf
from midflight.cli.diff import Side
from tests.fuzz import judge, originals
from tests.fuzz.damage import damage

HANG_SECONDS = 60
"""After these the process says where it is, and ends."""


def main(directory: Path, seed: int, stages: str) -> None:
    """Answer each number."""
    libraries = originals.make(directory)
    whole = {one.name: Side(one.name, dwarf.read(one.data), one.data, None) for one in libraries}
    path = directory / "damaged.so"
    for line in sys.stdin:
        index = int(line)
        original = originals.pick(libraries, index)
        made = damage(original, seed, index)
        path.unlink(missing_ok=True)
        path.write_bytes(made.data)
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        answer: dict[str, Any] = {"index": index, "of": original.name, "how": made.how}
        memory = _peak()
        for stage in stages.split(","):
            start = time.perf_counter()
            try:
                if stage == "inspect":
                    answer[stage] = list(judge.readings(path, whole[original.name]))
                else:
                    answer[stage] = [judge.load(path, declared=index % 2 == 0)]
            except BaseException:  # noqa: BLE001 - the very thing that is looked for
                answer["escaped"] = traceback.format_exc()
            answer[f"{stage} seconds"] = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        answer["grown"] = _peak() - memory
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
