"""Would catch a verdict on a library that nobody here wrote that has become another one, or that isn't true.

``golden/`` has what was judged of each, looked at one by one; ``loaded`` in it is what really happened when the library
was loaded and unloaded.  After a change that is meant, ``python -m tests.doctor.real`` writes all of them anew: look at
the difference before you commit it.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from tests.doctor import real

pytestmark = pytest.mark.timeout(900)  # the first one may have to fetch them, over whatever network there is

LIBRARIES = real.listed()
_ENOUGH = 30


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    real.fetch()


@pytest.fixture(autouse=True)
def _found_by_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", real.LIBRARY_PATH)


def judged(library: real.Library) -> dict[str, object]:
    """Return what was judged of a library."""
    return json.loads(library.golden.read_text(encoding="utf-8"))


def test_there_are_enough_and_each_golden_file_is_somebodys():
    assert len(LIBRARIES) > _ENOUGH
    assert {path.name for path in real.GOLDEN.iterdir()} == {library.golden.name for library in LIBRARIES}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_the_verdict_is_the_one_that_was_looked_at(library: real.Library):
    was = judged(library)
    del was["loaded"]
    changed = real.differences(was, real.kept(midflight.inspect(library.path)))
    assert not changed, f"of {library.path}:\n" + "\n".join(changed)


def test_what_really_happens_is_what_was_judged():
    with ThreadPoolExecutor(2) as both:
        happened = dict(zip(LIBRARIES, both.map(real.loaded, LIBRARIES), strict=True))
    changed = [
        f"{library.name}: {line}"
        for library, now in happened.items()
        for line in real.differences(judged(library)["loaded"], now)
    ]
    assert not changed, "\n".join(changed)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_the_verdict_is_true(library: real.Library):
    """A version that stays, a worker and a refusal are each said beforehand; more may be feared than happens."""
    was = judged(library)
    verdict, status, lane = was["verdict"], was["loaded"]["status"], was["loaded"].get("lane")
    if status == "refused":
        assert verdict == "refused"
    elif lane == "worker":
        assert verdict == "needs a worker"
    elif status == "resident":
        assert verdict == "swappable, stays resident" or "threads" in was["findings"]
        assert ("thread" in was["loaded"]["held by"]) == (verdict == "swappable")
    else:
        assert (lane, status) == ("here", "unloaded")
        assert verdict == "swappable" or was["findings"].get("thread-destructors") == "resident"
