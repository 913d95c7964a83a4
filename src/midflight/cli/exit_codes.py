"""The exit codes of `midflight doctor`."""

from __future__ import annotations

from typing import Final

EXIT_CODES: Final = {"swappable": 0, "swappable, stays resident": 1, "needs a worker": 2, "refused": 3}

NO_VERDICT: Final = 4
"""For a file that isn't there, a source that doesn't build, a wrong usage."""
