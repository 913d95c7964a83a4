"""The histogram of times, against exact percentiles.

Would catch: a bucket that a value does not lie in, a hole between buckets, a percentile further off than promised, a
time too long to be counted.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import midflight
from midflight.soaking.stats import SoakStats

HISTOGRAM = Path(__file__).parents[2] / "native" / "histogram.c"
LONGEST = 2**41 - 1
EXPORTS = """
static mf_histogram all;
void clear(void) { all = (mf_histogram){0}; }
void fill(const uint64_t *values, long count) { for (long i = 0; i < count; i++) mf_histogram_add(&all, values[i]); }
uint64_t at(uint64_t bucket) { return all.at[bucket]; }
uint64_t longest(void) { return all.longest; }
uint64_t total(void) { return all.total; }
uint64_t low(uint64_t bucket) { return mf_histogram_lowest(bucket); }
uint64_t high(uint64_t bucket) { return mf_histogram_highest(bucket); }
uint64_t buckets(void) { return MF_HISTOGRAM_BUCKETS; }
"""


@pytest.fixture(scope="module")
def histogram(tmp_path_factory: pytest.TempPathFactory):
    """The histogram, as a module."""
    source = tmp_path_factory.mktemp("histogram") / "exports.c"
    source.write_text(f'#include "{HISTOGRAM}"\n{EXPORTS}')
    return midflight.load(source, flags=["-O2"])


def stats_of(histogram, values: list[int]) -> SoakStats:
    """Count values, and read them as an observer's are."""
    histogram.clear()
    histogram.fill(np.array(values, np.uint64), len(values))
    facts = [
        (histogram.low(index), histogram.high(index), count)
        for index in range(histogram.buckets())
        if (count := histogram.at(index))
    ]
    return SoakStats(len(values), _total=histogram.total(), _longest=histogram.longest(), _buckets=tuple(facts))


times = st.one_of(
    st.integers(0, 64), st.integers(0, LONGEST), st.floats(0, 41).map(lambda power: min(LONGEST, round(2**power)))
)


@settings(max_examples=300, deadline=None)
@given(st.lists(times, min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_percentiles_are_exact_to_a_sixteenth(histogram, values: list[int], share: float) -> None:
    stats = stats_of(histogram, values)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    found = round(stats.percentile(share) * 1e9)
    assert exact <= found <= exact + exact // 16 + 1
    assert stats.longest == pytest.approx(max(values) * 1e-9)
    assert stats.mean == pytest.approx(sum(values) / len(values) * 1e-9)


def test_buckets_join_without_a_hole(histogram) -> None:
    count = histogram.buckets()
    assert histogram.low(0) == 0
    for index in range(1, count):
        assert histogram.low(index) == histogram.high(index - 1) + 1
        assert histogram.high(index) - histogram.low(index) <= histogram.low(index) // 16
    assert histogram.high(count - 1) == LONGEST


def test_what_takes_longer_than_any_bucket_is_counted_all_the_same(histogram) -> None:
    stats = stats_of(histogram, [2**50, 1])
    assert stats.longest == pytest.approx(2**50 * 1e-9)
    assert stats.calls == 2
    assert stats.percentile(1.0) > 1000


def test_without_calls_there_are_no_times() -> None:
    stats = SoakStats()
    assert math.isnan(stats.median)
    assert math.isnan(stats.p99)
    assert math.isnan(stats.mean)
    assert (stats.longest, stats.error_rate) == (0, 0)
    assert not stats.median > 5
    assert str(stats) == "no calls"
