"""The source files that this process has loaded: what `--watch` watches."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_PYTHON = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def source_files() -> frozenset[str]:
    """Return the files of all modules that are neither Python's own nor installed."""
    found = {getattr(module, "__file__", None) for module in tuple(sys.modules.values())}
    return frozenset(path for path in found if isinstance(path, str) and _is_own(path))


def of_error(error: BaseException) -> frozenset[str]:
    """Return the files that an error came from: what was being imported isn't among the modules any more."""
    found: set[str] = set()
    if isinstance(error, SyntaxError) and error.filename:
        found.add(error.filename)
    trace = error.__traceback__
    while trace is not None:
        found.add(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return frozenset(path for path in found if _is_own(path))


def _is_own(path: str) -> bool:
    return path.endswith(".py") and Path(path).is_absolute() and not path.startswith(_PYTHON) and Path(path).is_file()
