"""One thread calls a function on and on while another replaces it 100 times; the library calls back into this program.

Prints what happened.  Exits with 1 if a call gave a wrong result, or was begun by one version and ended by the other.
"""

from __future__ import annotations

import collections
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import midflight

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent
VERSIONS = (HERE / "tick.c", HERE / "tock.c")
RELOADS = 100
COUNT = 1000


class Listener:
    """The host's own object, which the library talks to."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def hear(self, word: str, _count: int) -> None:
        """Take notice of what the library says.  This is the callback."""
        self.words.append(word)


class Caller(threading.Thread):
    """Calls ``work`` without pause.  ``beat`` is set after each call."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(name="caller")
        self.calls: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.beat = threading.Event()
        self.enough = False
        self._module = module
        self._listener = Listener()

    def run(self) -> None:
        """Call until it is enough; nothing that goes wrong gets lost."""
        try:
            while not self.enough:
                self._call_once()
                self.beat.set()
        except Exception as error:  # noqa: BLE001 - it is reported, and fails the program
            self.wrong.append(repr(error))

    def wait_for_call(self) -> None:
        """Wait until a call is over."""
        self.beat.clear()
        while self.is_alive() and not self.beat.wait(timeout=0.1):
            pass

    def _call_once(self) -> None:
        self._listener.words.clear()
        result = self._module.work(COUNT, self._listener.hear)
        begun, ended = self._listener.words
        self.calls[begun] += 1
        if begun != ended or result != COUNT * (COUNT + 1) // 2:
            self.wrong.append(f"begun by {begun}, ended by {ended}, result {result}")


def reload_often(module: ModuleType, caller: Caller) -> list[midflight.Report]:
    """Replace the library again and again, with a call or more between any two times."""
    reports = []
    for turn in range(1, RELOADS + 1):
        reports.append(midflight.swap(module, VERSIONS[turn % 2]))
        caller.wait_for_call()
    return reports


def main() -> int:
    """Run both threads and tell what happened."""
    module = midflight.load(VERSIONS[0], name="clock")
    caller = Caller(module)
    caller.start()
    try:
        reports = reload_often(module, caller)
    finally:
        caller.enough = True
        caller.join()

    midflight.versions(module)  # looks once more whether the last one can be unloaded
    unloaded = sum(report.old.status == "unloaded" for report in reports)
    spent = sorted(report.seconds for report in reports)
    print(f"{len(reports)} reloads, the median one in {spent[len(spent) // 2] * 1e3:.1f} ms")
    print(f"{sum(caller.calls.values())} calls: {caller.calls['tick']} said tick, {caller.calls['tock']} said tock")
    print(f"{unloaded} of the {len(reports)} versions that were replaced are unloaded")
    for line in caller.wrong:
        print(f"wrong: {line}")
    if caller.wrong or unloaded != RELOADS:
        return 1
    print("every call was begun and ended by the same version, and none was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
