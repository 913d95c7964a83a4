"""The table of test_matrix: kinds of data, each in seven situations."""

from __future__ import annotations

from tests.carry.rows_of_classes import CLASSES
from tests.carry.rows_of_pointers import POINTING
from tests.carry.rows_of_values import COMPOUNDS, NUMBERS

TABLES = {".c": [*NUMBERS, *COMPOUNDS, *POINTING], ".cc": CLASSES}
