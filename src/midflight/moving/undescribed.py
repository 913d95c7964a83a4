"""Variables that nothing describes: of parts of a library that were built without debug information.

They can't be carried, because nobody knows what they are.  But whether they were changed can be seen, and is said.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from midflight._fork import Lock
from midflight._version import Carried
from midflight.artifact.elf import Elf
from midflight.artifact.gaps import find_gaps
from midflight.artifact.symbol_table import read_names

if TYPE_CHECKING:
    from midflight._control import Generation
    from midflight._lane import Data


def changed(old: Generation, data: Data) -> Carried | None:
    """Say how much of a version's data has changed that nothing describes; None if nothing has."""
    gaps = gaps_of(old)
    if gaps and not data.here and old.table.inside:
        # Asking would wait for the call that is under way.
        how = f"{sum(size for _, size in gaps)} bytes; whether something has changed can't be seen while a call runs"
        return Carried("what no debug information describes", "left", how)
    found = [size for (_, size), flag in zip(gaps, data.changed(gaps), strict=True) if flag]
    if not found:
        return None
    how = f"{sum(found)} bytes in which something has changed: of parts built without -g, or of a language's runtime"
    return Carried("what no debug information describes", "left", how)


_remembered: OrderedDict[tuple[str, tuple[int | None, ...]], tuple[tuple[int, int], ...]] = OrderedDict()
_mutex = Lock()  # protects _remembered
_MOST = 64


def gaps_of(old: Generation) -> tuple[tuple[int, int], ...]:
    """Return the places of such data, as link-time addresses and sizes; remembers them."""
    # The same library may be described or not: by its debug information, or by a user's text that has functions only.
    key = old.artifact.sha256, tuple(one.address for one in old.interface.variables)
    with _mutex:
        found = _remembered.get(key)
    if found is None:
        elf = Elf(old.artifact.read())
        found = tuple(find_gaps(elf, old.interface, read_names(elf)))
        with _mutex:
            _remembered[key] = found
            while len(_remembered) > _MOST:
                _remembered.popitem(last=False)
    return found
