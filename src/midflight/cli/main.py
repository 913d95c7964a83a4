"""The way in.  The command line's libraries belong to the extra ``midflight[cli]``; without them `main` says so."""

from __future__ import annotations

import sys

_EXTRA = ("click", "prompt_toolkit", "rich")


def main() -> None:
    """Run the command line on ``sys.argv``."""
    try:
        from midflight.cli import commands  # noqa: PLC0415 - its imports need the extra

        commands.main()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.exit(f"midflight: the command line needs {missing}; install it with: pip install 'midflight[cli]'")
