"""Runs pytest on the sanitized core, after making sure that it is the one that is imported."""

import sys
from pathlib import Path

import pytest

from midflight import _core

where = Path(sys.argv[1]).resolve()
if not Path(_core.__file__).resolve().is_relative_to(where):
    sys.exit(f"the core that would be tested is {_core.__file__}, not one below {where}")
sys.exit(pytest.main(sys.argv[2:]))
