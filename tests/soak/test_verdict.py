"""What figures say about a new version, and what they don't.

Would catch: a version that is sent back by chance, by three slow calls or by what the old one did too; one that stays
although its figures speak against it; a comparison of what was hardly called.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from midflight._trial import Soaking
from midflight.soaking.stats import SoakStats, UnderWay
from midflight.soaking.verdict import findings, not_compared, wilson

SOAKING = Soaking(30.0)


def stats(times: list[float], errors: int = 0, crashes: int = 0, under_way: float = 0.0) -> SoakStats:
    """Return the figures of calls that took so long, all of a function ``f``."""
    values = sorted(round(time * 1e9) for time in times)
    buckets = tuple((value, value, values.count(value)) for value in dict.fromkeys(values))
    calls = (UnderWay("f", 1, under_way),) if under_way else ()
    one = SoakStats(len(values), errors, crashes, calls, {}, sum(values), max(values, default=0), buckets)
    return replace(one, functions={"f": one})


def found(old: SoakStats, new: SoakStats, **options) -> list[str]:
    """What speaks against a version."""
    unjudged, elsewhere = options.pop("unjudged", ()), options.pop("elsewhere", False)
    return list(findings(old, new, replace(SOAKING, **options), unjudged, elsewhere=elsewhere))


FAST, SLOW = [1e-3] * 1_000, [1e-2] * 1_000


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "speaks"),
    [
        ((1000, 0), (3, 3), True),
        ((0, 0), (3, 3), True),
        ((1000, 0), (2, 2), False),
        ((1000, 0), (1000, 15), False),
        ((1000, 0), (1000, 40), True),
        ((1000, 300), (10, 5), False),
        ((1000, 300), (1000, 300), False),
        ((1000, 300), (1000, 400), True),
        ((1000, 1000), (1000, 1000), False),
        ((1000, 0), (1000, 0), False),
    ],
)
def test_error_rates(old, new, speaks) -> None:
    before, after = (stats([1e-3] * calls, errors) for calls, errors in (old, new))
    said = found(before, after)
    assert bool(said) == speaks
    if speaks:
        assert said[0].startswith(f"f fails: {new[1]:,} of {new[0]:,} calls; ")


def test_the_allowed_rate_is_the_users() -> None:
    old, new = stats(FAST), stats(FAST, 40)
    assert found(old, new, max_error_rate=0.01)
    assert not found(old, new, max_error_rate=0.05)
    assert not found(old, stats(FAST, 1_000), max_error_rate=1.0)


def test_a_function_that_always_fails_isnt_hidden_by_many_that_dont() -> None:
    good, bad = stats([1e-3] * 10_000).functions["f"], stats([1e-3] * 5, 5).functions["f"]
    new = replace(good, calls=10_005, errors=5, functions={"f": good, "g": bad})
    assert found(stats(FAST), new) == ["g fails: 5 of 5 calls; the old one wasn't called"]


def test_equal_versions_hardly_ever_differ_by_chance() -> None:
    chance = random.Random(7)
    sent_back = 0
    for _ in range(300):
        errors = [sum(chance.random() < 0.02 for _ in range(500)) for _ in range(2)]
        sent_back += bool(found(stats(FAST[:500], errors[0]), stats(FAST[:500], errors[1])))
    assert sent_back <= 3


def test_wilsons_interval() -> None:
    """Known values for three standard deviations."""
    assert wilson(3, 3) == pytest.approx(0.25)
    assert wilson(0, 10) == pytest.approx(0, abs=1e-12)
    assert wilson(500, 1_000) == pytest.approx(0.4528, abs=1e-4)


# ---- times -----------------------------------------------------------------------------------------------------------


def test_a_slow_version_is_found_by_its_median() -> None:
    said = found(stats(FAST), stats(SLOW[:100]))
    assert said == ["f is slow: its median is 10 ms, and was 1 ms (100 calls, and 1,000 of the old version)"]


def test_and_by_its_slowest_calls() -> None:
    new = [1e-3] * 950 + [1e-1] * 50
    assert found(stats(FAST), stats(new)) == [
        "f is slow: its p99 is 100 ms, and was 1 ms (1,000 calls, and 1,000 of the old version)"
    ]


def test_three_slow_calls_say_nothing() -> None:
    for calls in (27, 100, 997, 5_000):
        assert not found(stats(FAST), stats([1e-3] * calls + [9.0] * 3))


@pytest.mark.parametrize("factor", [1.5, 1.9])
def test_what_is_allowed_is_allowed(factor) -> None:
    assert not found(stats(FAST), stats([1e-3 * factor] * 1_000))
    assert found(stats(FAST), stats([1e-3 * factor] * 1_000), max_slowdown=1.2)


@pytest.mark.parametrize(("old", "new"), [(1000, 29), (29, 1000), (0, 1000), (1000, 3)])
def test_few_calls_are_not_compared_and_it_says_so(old, new) -> None:
    before, after = stats(FAST[:old]), stats(SLOW[:new])
    assert not found(before, after)
    assert list(not_compared(before, after)) == [
        f"too few calls of the old and the new version to compare times: f ({old:,} and {new:,} calls)"
    ]


def test_a_version_that_nobody_called_is_unknown() -> None:
    assert list(not_compared(stats(FAST), SoakStats())) == ["the new version wasn't called, so nothing is known of it"]
    assert list(not_compared(stats(FAST), stats(FAST))) == []


def test_differences_that_any_machine_makes_say_nothing() -> None:
    old = stats([2e-7] * 1_000)
    assert not found(old, stats([9e-7] * 1_000)), "a median of less than a microsecond more"
    assert not found(old, stats([2e-7] * 950 + [5e-5] * 50)), "a twentieth of the calls interrupted"
    assert found(old, stats([5e-6] * 1_000))
    assert not found(old, stats([6e-5] * 1_000), elsewhere=True), "the other side had gone to sleep"
    assert found(old, stats([6e-4] * 1_000), elsewhere=True)


def test_the_same_distribution_is_never_slow() -> None:
    chance = random.Random(3)
    for _ in range(50):
        old, new = ([chance.lognormvariate(-7, 1.5) for _ in range(1_000)] for _ in range(2))
        assert not found(stats(old), stats(new))


# ---- crashes and hangs -----------------------------------------------------------------------------------------------


def test_one_crash_is_enough() -> None:
    assert found(stats(FAST), stats([1e-3], 1, 1)) == ["f has crashed"]


@pytest.mark.parametrize(
    ("longest", "under_way", "soak", "hangs"),
    [
        (1e-3, 6.0, 30.0, True),
        (1e-3, 4.0, 30.0, False),
        (1e-3, 4.0, 6.0, True),
        (1.0, 9.0, 30.0, False),
        (1.0, 11.0, 30.0, True),
        (0.0, 6.0, 30.0, True),
        (0.0, 4.0, 30.0, False),
    ],
)
def test_hangs(longest, under_way, soak, hangs) -> None:
    old = stats([longest] * 10) if longest else SoakStats()
    said = found(old, stats([], under_way=under_way), seconds=soak)
    assert bool(said) == hangs
    if hangs:
        assert f"f hangs: a call has been under way for {under_way:.3g} s; " in said[0]
    assert not found(old, stats([], under_way=under_way), seconds=soak, unjudged={"f"})


def test_a_call_of_the_old_version_that_is_under_way_says_how_long_they_take() -> None:
    assert not found(stats([], under_way=3.0), stats([], under_way=20.0))
    assert found(stats([], under_way=1.0), stats([], under_way=20.0))
