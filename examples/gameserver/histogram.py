"""Latencies in constant memory: a histogram whose steps are 3 % wide."""

from __future__ import annotations

import math

_FINE = 5
"""Each power of two is divided into 2 ** _FINE steps."""


class Histogram:
    """Counts of durations in whole nanoseconds."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = counts if counts is not None else {}

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        shift = max(nanoseconds.bit_length() - 1 - _FINE, 0)
        step = (shift << _FINE) + (nanoseconds >> shift)
        self.counts[step] = self.counts.get(step, 0) + 1

    def __len__(self) -> int:
        return sum(self.counts.values())

    def percentile(self, share: float) -> float:
        """Return the duration, in seconds, that ``share`` (0 to 1) of the counted ones don't exceed."""
        left = math.ceil(round(share * len(self), 6))
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return _upper_edge(step) / 1e9
        return 0.0


def _upper_edge(step: int) -> int:
    shift = max((step >> _FINE) - 1, 0)
    return ((step - (shift << _FINE) + 1) << shift) - 1
