"""Libraries that must never leave this process: OpenMP's runtimes.

They start threads of their own and don't end them when they are unloaded, and the loader would unload them with the
last library that needs them: the threads would run on in nothing.

Guarantees: may be called from any thread; a runtime is kept once, not once for each version.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from midflight import _core

OPENMP: Final = ("libgomp.so.1", "libomp.so.5", "libiomp5.so")
_PLAIN = ("libc.so", "libm.so", "libgcc_s.so", "libstdc++.so", "libpthread.so", "libdl.so", "librt.so", "ld-linux")
"""How the names of libraries begin that need none of them."""

_kept: set[str] = set()


def keep(data: bytes) -> None:
    """Keep those that came with a library, which has just been loaded: it, or what it needs, may need one."""
    if all(name.startswith(_PLAIN) for name in _core.needs(data)[0]):
        return
    for name in OPENMP:
        if name not in _kept:
            try:
                ctypes.CDLL(name, mode=os.RTLD_NOW | os.RTLD_NODELETE | os.RTLD_NOLOAD)
            except OSError:
                continue  # it isn't there
            _kept.add(name)
