"""pin, unload and asyncio.

Would catch: a pinned view that follows a swap, a pinned version that is unloaded, a call into unloaded code, an event
loop that is held up.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import midflight
from tests.lanes import is_there


@pytest.fixture
def module(numbered, load):
    return load(numbered.make(1), name="subject")


def test_a_pin_stays_in_one_version_while_the_module_goes_on(module, numbered) -> None:
    with midflight.pin(module) as one:
        report = midflight.swap(module, numbered.make(2))
        assert (one.whoami(), module.whoami()) == (1, 2)
        assert report.old.status == "draining"
        assert report.old.held_by == ("1 pin",)
        kept = one.whoami
    assert [version.status for version in midflight.versions(module)] == ["unloaded", "current"]
    with pytest.raises(midflight.UnloadedError, match="pin has ended"):
        kept()


def test_pins_nest_and_reading_through_them_reads_their_version(module, numbered) -> None:
    with midflight.pin(module) as first:
        midflight.swap(module, numbered.make(2))
        with midflight.pin(module) as second:
            assert (first.whoami(), second.whoami()) == (1, 2)
            assert midflight.types(first) == midflight.types(second)
    with pytest.raises(midflight.SwapError, match="pinned"), midflight.pin(module) as one:
        midflight.swap(one)


def test_unload_ends_the_module(module) -> None:
    path, kept = midflight.versions(module)[0].path, module.whoami
    version = midflight.unload(module)
    assert version.status == "unloaded"
    assert not is_there(path)
    assert not Path(path).exists()
    for use in (kept, module.whoami, lambda: midflight.swap(module), lambda: midflight.unload(module)):
        with pytest.raises(midflight.UnloadedError):
            use()
    with pytest.raises(midflight.UnloadedError), midflight.pin(module):
        pass


def test_unload_waits_for_a_call_if_told_to(module, gate) -> None:
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(module.linger, gate.begun, gate.end)
        gate.wait_begun()
        assert midflight.unload(module, timeout=0.01).status == "draining"
        gate.let_end()
        assert call.result() == 1
    assert midflight.versions(module)[0].status == "unloaded"


def test_a_swap_while_it_is_unloaded_is_refused_or_comes_first(numbered, load) -> None:
    """Whoever comes second is told so; nothing stays mapped either way."""
    for _ in range(20):
        module = load(numbered.make(1), name="race")
        with ThreadPoolExecutor(2) as pool:
            swapping = pool.submit(midflight.swap, module, numbered.make(2))
            unloading = pool.submit(midflight.unload, module)
            assert unloading.result().status == "unloaded"
            error = swapping.exception()
            assert error is None or isinstance(error, midflight.UnloadedError)
        assert all(version.status == "unloaded" for version in midflight.versions(module))


def test_unload_inside_a_call_that_would_wait_for_itself_is_refused(module) -> None:
    def end() -> int:
        midflight.unload(module, timeout=None)
        return 0

    with pytest.raises(midflight.SwapInsideError):
        module.call_back(end)
    assert module.whoami() == 1


def test_aswap_leaves_the_loop_running(numbered, load) -> None:
    async def play() -> tuple[int, int]:
        module = load(numbered.make(1), name="loop")
        turns = 0
        swapping = asyncio.ensure_future(midflight.aswap(module, numbered.make(2)))
        while not swapping.done():
            turns += 1
            assert module.whoami() in {1, 2}
            await asyncio.sleep(0)
        assert (await swapping).new.number == 2
        with pytest.raises(midflight.BadLibraryError):
            await midflight.aswap(module, broken)
        return turns, module.whoami()

    broken = numbered.root / "broken.so"
    broken.write_bytes(numbered.template[:2000])

    turns, answer = asyncio.run(play())
    assert turns > 0
    assert answer == 2


def test_many_tasks_call_while_one_swaps(numbered, load) -> None:
    async def play() -> set[int]:
        module = load(numbered.make(1), name="tasks")
        seen = set()

        async def call() -> None:
            for _ in range(200):
                seen.add(module.whoami())
                await asyncio.sleep(0)

        async def swap() -> None:
            for number in range(2, 12):
                await midflight.aswap(module, numbered.make(number))

        await asyncio.gather(swap(), *(call() for _ in range(20)))
        return seen

    assert asyncio.run(play()) <= set(range(1, 12))
