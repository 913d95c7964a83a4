"""A short run of what `make fuzz` does at length: damaged libraries through all that reads and loads them.

Would catch a library that ends the process, one that is refused by anything but an error of midflight's, one that takes
for ever or all memory; and a fuzzer that wouldn't notice.
"""

from __future__ import annotations

import random

import pytest

from tests.fuzz import campaign, guided, originals
from tests.fuzz.__main__ import SEED
from tests.fuzz.damage import damage

READ, LOADED = 200, 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("stages", "count"), [("inspect", READ), ("load", LOADED)])
def test_damaged_libraries(stages, count):
    outcome = campaign.run(SEED, range(count), stages)
    assert not outcome.problems, "\n".join(outcome.problems)
    assert (outcome.inputs, outcome.died) == (count, 0)
    assert outcome.refused[stages] > count // 4
    assert outcome.accepted[stages] > count // 10  # so that something was tried


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    return originals.make(tmp_path_factory.mktemp("originals"))


def test_a_number_stands_for_one_library(libraries, tmp_path):
    again = originals.make(tmp_path)
    assert again == libraries  # wherever they are compiled
    for index in range(100):
        one = damage(originals.pick(libraries, index), SEED, index)
        assert one == damage(originals.pick(again, index), SEED, index)
        assert one.data != originals.pick(libraries, index).data
        assert one.data != damage(originals.pick(libraries, index), SEED + 1, index).data


def test_each_kind_of_damage_comes_up(libraries):
    told = " ".join(damage(originals.pick(libraries, index), SEED, index).how for index in range(500))
    for way in ("flipped bits", "truncated", "swapped sections", "ELF header", "relocations", "debug entries", "notes"):
        assert f"{way}: " in told
    assert {originals.pick(libraries, index).name for index in range(100)} == {one.name for one in libraries}


DYING = """
import json, os, sys
for line in sys.stdin:
    index = int(line)
    if index == 2:
        os.abort()
    answer = {"index": index, "how": "test", "inspect": ["Error"], "inspect seconds": 0.1, "grown": 0}
    answer |= {3: {"escaped": "Traceback"}, 4: {"inspect seconds": 11.0}, 5: {"grown": 1 << 30}}.get(index, {})
    print(json.dumps(answer), flush=True)
"""


def test_the_fuzzer_notices(monkeypatch):
    """A host that dies, an exception that is none of midflight's, much time, much memory."""
    monkeypatch.setattr(campaign._Host, "program", ("-c", DYING))
    outcome = campaign.run(7, range(1, 7), "inspect")
    assert (outcome.inputs, outcome.died) == (6, 1)
    died, escaped, slow, grown = outcome.problems
    assert "status -6" in died
    assert "python -m tests.fuzz --seed 7 --index 2 --stages inspect" in died
    assert "Traceback" in escaped
    assert "took 11.0 s" in slow
    assert "1024 MiB" in grown


@pytest.mark.parametrize("target", guided.TARGETS)
def test_what_atheris_is_given(target):
    """Each target takes its own seeds, and what becomes of them."""
    dice = random.Random(SEED)
    for seed in guided.seeds(target):
        guided.TARGETS[target](seed)
        for _ in range(50):
            data = bytearray(seed)
            data[dice.randrange(len(data))] = dice.randrange(256)
            guided.TARGETS[target](bytes(data))
