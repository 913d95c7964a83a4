"""A move that fails anywhere: afterwards every byte is as it was, the old version works, and nothing is left over.

Would catch: a step that changes what the old version sees and isn't undone, new blocks that nobody frees, a refused
version that stays loaded, a module that can't be swapped any more after a failure.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import signal
from functools import partial

import pytest

import midflight
from midflight import _stages
from midflight._control import control_of
from midflight._lane import data_of
from midflight.moving import blocks, customs, mover, pointers, variables
from tests.carry.conftest import blocks_of, memory_of

SOURCE = """
#include <midflight.h>
#if V == 1
struct player { short hp; struct player *friend; int (*act)(int); };
struct stats { int joined; long left; };
#else
struct player { int (*act)(int); HP hp; struct player *friend; };
struct stats { long left; int joined; };
#endif
struct action { int (*run)(int); const char *name; int n; };
struct cell { int (*run)(int); struct cell *next; long more[3]; };
struct stats stats = {1, 2};
struct player *players;
static struct action *actions;
struct cell *cells;
struct player **more;

int scaled(int n) { return n * V; }

void fill(int count, int heap)
{
    players = MF_NEW(struct player, count);
    for (int i = 0; i < count; i++) {
        players[i] = (struct player){.hp = 1, .friend = &players[count - 1 - i], .act = scaled};
    }
    more = MF_NEW(struct player *, 3);
    for (int i = 0; i < 3; i++) more[i] = MF_NEW(struct player, 1);
    actions = MF_NEW(struct action, 2);
    for (int i = 0; i < 2; i++) actions[i] = (struct action){scaled, "an action", i};
    for (int i = 0; heap && i < 3; i++) {
        struct cell *cell = malloc(sizeof *cell);
        *cell = (struct cell){scaled, cells, {0}};
        cells = cell;
    }
    stats.joined = count;
}

void set_hp(int index, int hp) { players[index].hp = hp; }

/* Goes through everything; each call adds what the version says. */
int total(void)
{
    int sum = stats.joined * 1000;
    for (int i = 0; i < stats.joined; i++) sum += players[i].friend->act(players[i].hp);
    for (int i = 0; i < 2; i++) sum += actions[i].run(100) + (actions[i].name[3] == 'a');
    for (struct cell *at = cells; at; at = at->next) sum += at->run(10000);
    return sum;
}
int version(void) { return V; }
#ifdef HOOK
int midflight_restore(void) { HOOK }
#endif
"""

COUNT = 50


def _total(version: int, lane: str, count: int = COUNT) -> int:
    return count * 1000 + count * version + 200 * version + 2 + (30000 * version if lane == "here" else 0)


@pytest.fixture(scope="module")
def versions(compiled):
    """Both versions; the second one's options are flags."""

    def make(number: int, *flags: str):
        flags = flags if any(flag.startswith("-DHP=") for flag in flags) else (*flags, "-DHP=int")
        return compiled(SOURCE, f"-DV={number}", *flags)

    return make


def _loaded(load, versions, lane: str, **options):
    module = load(versions(1), **options)
    module.fill(COUNT, int(lane == "here"))
    assert module.total() == _total(1, lane)
    return module


@pytest.fixture(scope="module")
def filled(load, versions, lane):
    """The first version, with data: one for all tests, as no swap of it succeeds."""
    module = _loaded(load, versions, lane)
    yield module
    assert midflight.swap(module, versions(2)).state
    assert module.total() == _total(2, lane)


def _bytes(module, lane: str) -> dict[str, bytes]:
    """Return all bytes that the version sees, also those in memory from malloc."""
    found = memory_of(module)
    address = int.from_bytes(found["cells"], "little")
    while lane == "here" and address:
        found[f"cell at {address:#x}"] = ctypes.string_at(address, 40)
        address = ctypes.c_uint64.from_address(address + 8).value
    return found


class AsBefore:
    """Asserts at its end that a module is as it was at its beginning."""

    def __init__(self, module, lane: str) -> None:
        self._module, self._lane = module, lane

    def __enter__(self) -> None:
        self._before = _bytes(self._module, self._lane)

    def __exit__(self, *_: object) -> None:
        assert _bytes(self._module, self._lane) == self._before
        assert self._module.version() == 1
        assert self._module.total() == _total(1, self._lane)
        assert {one.status for one in midflight.versions(self._module)} <= {"current", "unloaded"}


class BrokenError(Exception):
    """What the tests raise."""


CLASSES = (mover.Mover, blocks.Blocks, pointers.Pointers, variables.Chooser, customs.Customs)
NO_STEPS = {"run", "commit", "undo"}
"""The whole, and what runs after success or after a failure."""


def _steps() -> list[tuple[type, str]]:
    found = [(owner, name) for owner in CLASSES for name, step in vars(owner).items() if inspect.isfunction(step)]
    return [(owner, name) for owner, name in found if not name.startswith("__") and name not in NO_STEPS]


def _break(patch, owner: type, name: str, act) -> None:
    """Let something happen before and after a step: ``act("before")``, ``act("after")``."""
    step = getattr(owner, name)

    def broken(*arguments, **options):
        act("before")
        result = step(*arguments, **options)
        if inspect.isgenerator(result):
            result = list(result)
        act("after")
        return iter(result) if inspect.isgeneratorfunction(step) else result

    patch.setattr(owner, name, broken)


@pytest.fixture(scope="module")
def reached(load, versions, lane) -> list[tuple[type, str]]:
    """All steps that a move like those of the tests goes through."""
    module, found = _loaded(load, versions, lane, name="tried"), {}
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _steps():
            _break(patch, owner, name, lambda _, step=(owner, name): found.setdefault(step))
        midflight.swap(module, versions(2))
    assert module.total() == _total(2, lane)
    midflight.unload(module)
    return list(found)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_fails_changes_nothing(filled, reached, lane, versions, when) -> None:
    def act(now: str) -> None:
        if now == when:
            raise BrokenError

    assert {"choose", "search", "make", "mapping", "patches", "_fill", "fill", "_carry", "rows"} <= {
        name for _, name in reached
    }
    for owner, name in reached:
        with pytest.MonkeyPatch.context() as patch, AsBefore(filled, lane):
            _break(patch, owner, name, act)
            with pytest.raises(BrokenError):
                midflight.swap(filled, versions(2))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["changed", "stretch", "put"])
def test_memory_that_cannot_be_reached_changes_nothing(filled, lane, versions, monkeypatch, step, when) -> None:
    data = data_of(control_of(filled).current.code)

    def act(now: str) -> None:
        if now == when:
            raise midflight.WorkerCrashedError("it is gone")

    _break(monkeypatch, type(data), step, act)
    with AsBefore(filled, lane), pytest.raises(midflight.WorkerCrashedError, match="it is gone"):
        midflight.swap(filled, versions(2))


@pytest.mark.parametrize("nth", [1, 2, 4])
def test_memory_for_blocks_runs_out(filled, lane, versions, monkeypatch, nth) -> None:
    class Full:
        """A heap that has room for a few blocks more only."""

        left = nth

        def __init__(self, heap) -> None:
            self._heap = heap

        def __getattr__(self, name: str):
            return getattr(self._heap, name)

        def make(self, *arguments):
            self.left -= 1
            if not self.left:
                raise MemoryError
            return self._heap.make(*arguments)

    make = blocks.Blocks.make

    def with_little(self) -> None:
        self.heap = Full(self.heap)
        make(self)

    monkeypatch.setattr(blocks.Blocks, "make", with_little)
    with AsBefore(filled, lane), pytest.raises(MemoryError):
        midflight.swap(filled, versions(2))
    assert len(blocks_of(filled)) == 6, "the new blocks are freed"


def test_a_value_is_lost_in_the_last_element(load, lane, versions) -> None:
    module = _loaded(load, versions, lane)
    new = versions(2, "-DHP=signed char")
    module.set_hp(COUNT - 1, 300)
    before = _bytes(module, lane)
    for _ in range(3):
        with pytest.raises(midflight.StateError) as caught:
            midflight.swap(module, new)
        assert caught.value.refusals == (f"players[{COUNT - 1}].hp: 300 does not fit signed char",)
        assert caught.value.stage == "move"
        assert _bytes(module, lane) == before
    module.set_hp(COUNT - 1, 1)
    midflight.swap(module, new)
    assert module.total() == _total(2, lane)


def test_the_restore_hook_refuses(filled, lane, versions) -> None:
    new = versions(2, "-DHOOK=return stats.joined == 50 && players[49].friend == players ? 7 : 0;")
    with AsBefore(filled, lane), pytest.raises(midflight.HookError, match="it returned 7"):
        midflight.swap(filled, new)


def test_the_restore_hook_crashes(filled, lane, versions) -> None:
    new = versions(2, "-DHOOK=return *(volatile int *)8;")
    with AsBefore(filled, lane), pytest.raises(midflight.HookError, match="crashed"):
        midflight.swap(filled, new)


def test_the_switch_fails(filled, lane, versions, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenError

    monkeypatch.setattr(_stages, "report", lambda *_: None)
    monkeypatch.setattr(_stages, "switch", broken)
    with AsBefore(filled, lane), pytest.raises(BrokenError):
        midflight.swap(filled, versions(2))


def test_a_hook_of_the_program_fails_after_the_switch(filled, lane, versions) -> None:
    calls = []

    @midflight.after_swap(filled)
    def check(swapping) -> None:
        calls.append((swapping.new.number, filled.total()))
        raise BrokenError

    with pytest.raises(midflight.HookError):
        midflight.swap(filled, versions(2))
    midflight.after_swap(filled).remove(check)
    assert [total for _, total in calls] == [_total(2, lane)]
    assert filled.version() == 1
    assert filled.total() == _total(1, lane)


def test_all_modules_of_a_transaction_are_as_before(filled, load, lane, versions) -> None:
    other = _loaded(load, versions, lane, name="other")
    other.set_hp(0, 1000)
    for first, second in ((filled, other), (other, filled)):
        with AsBefore(filled, lane), pytest.raises(midflight.StateError, match="1000 does not fit"):
            _swap_both((first, versions(2)), (second, versions(2)), other, versions(2, "-DHP=signed char"))
    assert [one.number for one in midflight.versions(other)] == [1]
    assert other.version() == 1


def _swap_both(first, second, narrow, narrow_path) -> None:
    with midflight.transaction() as both:
        for module, path in (first, second):
            both.swap(module, narrow_path if module is narrow else path)


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_worker_is_killed_in_the_middle(versions, monkeypatch, which) -> None:
    module = _loaded(partial(midflight.load, lane="worker"), versions, "worker")

    def kill(self, *arguments) -> None:
        victim = self.old if which == "old" else self.new
        os.kill(data_of(victim.code).process, signal.SIGKILL)
        fill(self, *arguments)

    fill = mover.Mover._fill
    monkeypatch.setattr(mover.Mover, "_fill", kill)
    before = _bytes(module, "worker")
    if which == "new":
        with pytest.raises(midflight.WorkerCrashedError):
            midflight.swap(module, versions(2))
        assert _bytes(module, "worker") == before
        assert module.version() == 1
        assert module.total() == _total(1, "worker")
        monkeypatch.undo()
    midflight.swap(module, versions(2))
    assert module.version() == 2
    assert module.total() == _total(2, "worker"), "its data were in safety already"
