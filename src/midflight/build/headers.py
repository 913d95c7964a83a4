"""Where midflight.h is: our builds of C and C++ find it there, and a build command is told in its environment."""

from __future__ import annotations

from pathlib import Path

HEADERS = Path(__file__).resolve().parent.parent / "include"

VARIABLE = "MIDFLIGHT_INCLUDE"
"""For build commands: ``cc -I"$MIDFLIGHT_INCLUDE" …``."""


def include() -> str:
    """Return the directory of midflight.h, for a build of your own: ``cc -I$(python -c …) …``.

    What `load` compiles by itself finds the header without it; a ``build=`` command has it as ``$MIDFLIGHT_INCLUDE``.
    """
    return str(HEADERS)
