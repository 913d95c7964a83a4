"""Where a path leads: every directory entry whose exchange makes the path mean another file."""

from __future__ import annotations

import stat
from pathlib import Path

_MOST_LINKS = 40


def trail(path: Path) -> list[Path]:
    """Return the entries that decide what an absolute path means, each in its real directory.

    These are the symbolic links on the way and the file itself; where the way breaks off, the first entry that isn't
    there is the last.
    """
    found: list[Path] = []
    waiting = list(reversed(path.parts[1:]))
    here = Path("/")
    while waiting:
        name = waiting.pop()
        if name == "..":
            here = here.parent
            continue
        entry = here / name
        try:
            mode = entry.lstat().st_mode
        except OSError:
            found.append(entry)
            break
        if stat.S_ISLNK(mode):
            found.append(entry)
            if len(found) > _MOST_LINKS:
                break
            target = entry.readlink()
            here = Path("/") if target.is_absolute() else here
            waiting += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        elif waiting:
            here = entry
        else:
            found.append(entry)
    return found
