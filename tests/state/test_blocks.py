"""Typed blocks in both lanes, from C and from Python.

Would catch a block that is lost, freed twice or freed while somebody looks at it; a view of another layout than the
library's; a block passed where another type is expected; blocks left behind by a version that never became current, by
a worker that has crashed, or by a module that is gone.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import midflight
from midflight import _core

GAME = r"""
#include <midflight.h>
#include <stdlib.h>
struct player { int hp; float x; char name[12]; unsigned level : 3, wins : 7; struct player *next; };
typedef struct { double v[3]; } vec_t;
struct packet { short length; struct player items[]; };
static struct player *players;
static struct packet *packet;
__attribute__((constructor)) static void start(void)
{
    players = MF_NEW(struct player, 3);
    players[1].hp = 42;
}
int hp(int index) { return players[index].hp; }
int grow(int count)
{
    struct player *grown = MF_RESIZE(players, struct player, count);
    if (grown == NULL) return 0;
    players = grown;
    return 1;
}
void drop(void) { MF_FREE(players); players = NULL; }
void release(void *block) { MF_FREE(block); }
void free_wrongly(void)
{
    int *numbers = MF_NEW(int, 2);
    MF_FREE(numbers);
    MF_FREE(numbers);
    MF_FREE(&players);
    MF_FREE(&players[1]);
    MF_FREE(NULL);
}
void vectors(int count) { MF_NEW(vec_t, count); }
void send(int count)
{
    packet = MF_NEW_FLEX(struct packet, items, count);
    packet->items[count - 1].hp = 9;
    packet = MF_RESIZE_FLEX(packet, struct packet, items, count + 2);
}
long total(const struct player *some, int count)
{
    long sum = 0;
    for (int i = 0; i < count; i++) sum += some[i].hp;
    return sum;
}
void heal(struct player *one) { one->hp += 100; }
double length(const vec_t *one) { return one->v[0]; }
double *doubles(double *some) { return some; }
struct player *chosen(void) { return players; }
int waited_for(void) { return midflight_should_yield(); }
void crash(void) { abort(); }
int keeps(struct player *some, int (*ask)(void)) { some->hp = 5; int said = ask(); return some->hp + said; }
"""


def load_game(tmp_path, load, **options):
    path = tmp_path / "game.c"
    path.write_text(GAME)
    return load(path, **options)


@pytest.fixture
def game(tmp_path, load):
    """A library that makes typed blocks."""
    return load_game(tmp_path, load)


def of(module, kind):
    """The library's blocks of a type."""
    return [one for one in midflight.blocks(module) if one.type == kind]


# ---- the library's own


def test_a_librarys_block_is_seen_without_a_copy(game) -> None:
    (players,) = midflight.blocks(game)
    assert (players.type, players.count, len(players), players.version) == ("struct player", 3, 3, 1)
    array = players.array
    assert array["hp"].tolist() == [0, 42, 0]
    array["hp"][2] = 7
    assert game.hp(2) == 7


def test_the_layout_of_an_array_is_the_librarys(game) -> None:
    dtype = midflight.blocks(game)[0].array.dtype
    player = midflight.types(game).player
    assert dtype.itemsize == ctypes.sizeof(player)
    for name in ("hp", "x", "name", "next"):
        assert dtype.fields[name][1] == getattr(player, name).offset
    assert dtype["level"].kind == dtype["wins"].kind == "V"
    assert dtype["name"] == "S12"


def test_a_block_grows_and_what_is_new_is_zero(game) -> None:
    (before,) = midflight.blocks(game)
    assert game.grow(100_000)
    (players,) = midflight.blocks(game)
    assert players.count == 100_000
    assert players.array["hp"].nonzero()[0].tolist() == [1]
    assert before.freed
    assert not game.grow(2**31 - 1) or players.freed
    assert game.hp(1) == 42


def test_a_flexible_array_is_the_blocks_tail(game) -> None:
    game.send(4)
    (packet,) = of(game, "struct packet")
    assert (packet.count, len(packet.tail)) == (1, 6)
    assert packet.tail["hp"].tolist() == [0, 0, 0, 9, 0, 0]
    assert packet.array.dtype.names == ("length",)
    with pytest.raises(midflight.ArgumentTypeError, match="flexible"):
        _ = of(game, "struct player")[0].tail


def test_a_view_outlives_the_block_that_the_library_frees(game) -> None:
    (players,) = midflight.blocks(game)
    array = players.array
    game.drop()
    assert players.freed
    assert midflight.blocks(game) == []
    with pytest.raises(midflight.MidflightError, match="has been freed"):
        _ = players.array
    game.vectors(8)
    assert array["hp"].tolist() == [0, 42, 0]
    assert of(game, "vec_t")[0].address != players.address


def test_what_is_freed_wrongly_is_said_and_does_no_harm(tmp_path, load, capfd) -> None:
    game = load_game(tmp_path, load)
    game.free_wrongly()
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 3
    assert all("version 1 of game: MF_FREE(0x" in line and "no block begins there" in line for line in said)
    assert len(midflight.blocks(game)) == 1
    assert game.hp(1) == 42


def test_a_pointer_to_a_block_can_be_followed_and_passed_on(game) -> None:
    chosen = game.chosen()
    assert chosen[1].hp == 42
    game.heal(chosen)
    assert game.hp(0) == 100
    doubles = midflight.new(game, "double", 2)
    assert game.doubles(game.doubles(doubles)).address == doubles.address


def test_should_yield_says_when_a_call_is_waited_for(game) -> None:
    code = midflight._control.control_of(game).current.code
    assert game.waited_for() == 0
    code.set_yield(True)
    assert game.waited_for() == 1
    code.set_yield(False)
    assert game.waited_for() == 0


# ---- Python's own


def test_a_block_of_pythons_is_passed_to_functions(game) -> None:
    players = midflight.new(game, "struct player", 1000)
    players.array["hp"] = range(1000)
    assert game.total(players, 1000) == 499_500
    game.heal(players)
    assert players.array["hp"][0] == 100
    assert players.version is None
    assert players in midflight.blocks(game)


def test_a_block_lives_as_long_as_its_object(game) -> None:
    players = midflight.new(game, "struct player", 10)
    assert len(midflight.blocks(game)) == 2
    array = players.array
    del players
    assert len(midflight.blocks(game)) == 1
    array["hp"] = 3
    assert game.total(midflight.new(game, "struct player", 10), 10) == 0


def test_a_block_isnt_freed_while_a_call_is_inside(game) -> None:
    players = [midflight.new(game, "struct player", 1)]

    def forget() -> int:
        players.clear()
        gc.collect()
        midflight.new(game, "struct player", 1).array["hp"] = 77
        return 1

    def call() -> int:
        return game.keeps(players[0], forget)

    assert call() == 6
    assert len(midflight.blocks(game)) == 1


@pytest.mark.parametrize("kind", ["struct player", " struct  player ", "vec_t", "double", "unsigned long", "char"])
def test_types_are_named_as_in_c(game, kind) -> None:
    assert midflight.new(game, kind, 3).count == 3


def test_pointers_and_numbers_can_be_elements(game) -> None:
    assert midflight.new(game, "struct player *", 3).array.dtype == np.uint64
    doubles = midflight.new(game, "double", 3)
    doubles.array[:] = 1.5
    assert game.doubles(doubles) is not None
    assert midflight.new(game, "char", 8).array.dtype == np.int8


@pytest.mark.parametrize(
    ("kind", "count", "why"),
    [("struct nobody", 1, "isn't a type"), ("void", 1, "isn't a type"), ("double", -1, "can't be -1 elements")],
)
def test_what_cant_be_made_is_refused(game, kind, count, why) -> None:
    with pytest.raises(midflight.ArgumentTypeError, match=why):
        midflight.new(game, kind, count)


def test_more_than_there_is_raises_memory_error(game) -> None:
    with pytest.raises(MemoryError):
        midflight.new(game, "double", 2**60)


def test_a_flexible_array_can_be_made(game) -> None:
    packet = midflight.new(game, "struct packet", tail=5)
    assert len(packet.tail) == 5
    with pytest.raises(midflight.ArgumentTypeError, match="flexible"):
        midflight.new(game, "struct player", tail=5)


def test_a_block_of_another_type_is_refused(game) -> None:
    with pytest.raises(midflight.ArgumentTypeError, match="a block of struct player was given"):
        game.length(midflight.new(game, "struct player"))


def test_a_block_that_the_library_has_freed_is_refused(game) -> None:
    (players,) = midflight.blocks(game)
    assert game.total(players, 3) == 42
    game.drop()
    with pytest.raises(midflight.ArgumentTypeError, match="has been freed"):
        game.total(players, 3)


def test_the_library_cant_free_pythons_block(tmp_path, load, capfd) -> None:
    game = load_game(tmp_path, load)
    vectors = midflight.new(game, "vec_t", 2)
    game.release(vectors)
    assert "it belongs to Python" in capfd.readouterr().err
    assert vectors.count == 2


def test_without_numpy_a_view_is_a_ctypes_array(game, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    (players,) = midflight.blocks(game)
    assert players.array[1].hp == 42
    players.array[1].hp = 5
    assert game.hp(1) == 5
    assert len(players.memory) == 3 * ctypes.sizeof(midflight.types(game).player)


# ---- swaps


def test_blocks_survive_a_swap(game, tmp_path) -> None:
    mine = midflight.new(game, "struct player", 2)
    mine.array["hp"] = 4
    (players,) = [one for one in midflight.blocks(game) if one.version]
    array = players.array
    (tmp_path / "game.c").write_text(GAME.replace("players = MF_NEW(struct player, 3);", "return;"))
    midflight.swap(game)
    assert game.total(mine, 2) == 8
    array["hp"][0] = 1
    assert game.total(players, 3) == 43


def test_a_block_follows_its_move(game) -> None:
    from midflight._blocks import Layout
    from midflight._control import control_of

    mine = midflight.new(game, "struct player", 2)
    old = mine.array
    layout = Layout(control_of(game).current)
    facts = mine.heap.make(mine.kind, 3, 0)
    before = mine.address
    mine.moved(mine.heap, facts, layout, mine.kind)
    mine.heap.condemn(before, True, 1)
    assert (mine.address, mine.count) == (facts[0], 3)
    assert len(midflight.blocks(game)) == 2
    mine.heap.retire(1)
    old["hp"] = 6
    assert mine.array["hp"].tolist() == [0, 0, 0]
    del mine
    assert len(midflight.blocks(game)) == 1


def test_a_version_that_isnt_taken_leaves_no_blocks(game, tmp_path) -> None:
    (tmp_path / "game.c").write_text(GAME + "int midflight_loaded(void) { return 1; }")
    with pytest.raises(midflight.HookError):
        midflight.swap(game)
    gc.collect()
    midflight._retire.settle()
    assert [one.version for one in midflight.blocks(game)] == [1]


def test_views_outlive_the_module(tmp_path, load) -> None:
    module = load_game(tmp_path, load)
    mine = midflight.new(module, "double", 10)
    array = midflight.blocks(module)[0].array
    heap = weakref.ref(midflight._control.control_of(module).heaps)
    midflight.unload(module)
    del module
    gc.collect()
    midflight._retire.settle()
    assert array["hp"].tolist() == [0, 42, 0]
    mine.array[:] = 2
    assert heap() is not None
    del mine, array
    gc.collect()
    assert heap() is None


# ---- processes


def test_a_forks_child_has_its_own_blocks(game) -> None:
    mine = midflight.new(game, "struct player", 2)
    large = midflight.new(game, "double", 100_000)
    large.array[:] = 3
    mine.array["hp"] = 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mine.array["hp"] = 50
            ok = game.total(mine, 2) == 100 and large.array.sum() == 300_000
            game.heal(mine)
            ok = ok and mine.array["hp"][0] == 150 and len(midflight.blocks(game)) == 3
            status = 0 if ok else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine.array["hp"].tolist() == [1, 1]
    assert game.total(mine, 2) == 2


def test_threads_make_and_free_side_by_side(game) -> None:
    barrier, wrong = threading.Barrier(4), []

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(200):
            mine = midflight.new(game, "struct player", 1 + turn % 50)
            mine.array["hp"] = number
            if game.total(mine, mine.count) != number * mine.count:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(midflight.blocks(game)) == 1


def test_a_crash_drops_the_librarys_blocks_and_keeps_pythons(tmp_path) -> None:
    module = load_game(tmp_path, midflight.load, lane="worker")
    mine = midflight.new(module, "struct player", 2)
    mine.array["hp"] = 8
    module.vectors(5)
    module.grow(50)
    with pytest.raises(midflight.WorkerCrashedError):
        module.crash()
    assert module.hp(1) == 42
    assert sorted(one.type for one in midflight.blocks(module)) == ["struct player", "struct player"]
    assert module.total(mine, 2) == 16


def test_blocks_count_for_a_workers_memory_limit(tmp_path) -> None:
    module = load_game(tmp_path, midflight.load, lane="worker", limits=midflight.Limits(memory=64 << 20))
    assert module.grow(100_000)
    assert not module.grow(4_000_000)
    assert module.hp(1) == 42


def test_a_library_that_knows_nothing_of_blocks_gets_them_too(tmp_path, load) -> None:
    path = tmp_path / "plain.c"
    path.write_text("struct point { int x, y; }; int sum(const struct point *p) { return p->x + p->y; }")
    module = load(path)
    point = midflight.new(module, "struct point")
    point.array["x"] = 4
    assert module.sum(point) == 4


def test_less_is_reserved_where_address_space_is_limited(tmp_path) -> None:
    (tmp_path / "game.c").write_text(GAME)
    program = (
        "import resource, midflight, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        f"game = midflight.load({str(tmp_path / 'game.c')!r})\n"
        "low, high = midflight.blocks(game)[0].heap.range\n"
        "assert high - low <= 1 << 30\n"
        "assert midflight.new(game, 'double', 10_000_000).array.sum() == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_library_works_without_midflight(workshop) -> None:
    library = ctypes.CDLL(str(workshop.library("plain", GAME, f"-I{midflight.include()}")))
    assert library.hp(1) == 42
    assert library.grow(1000) == 1
    assert (library.hp(1), library.hp(999), library.waited_for()) == (42, 0, 0)
    library.send(4)
    library.drop()


def test_a_build_command_is_told_where_the_header_is(workshop) -> None:
    source = workshop.write("game.c", GAME)
    output = workshop.root / "game.so"
    words = ["sh", "-c", f'cc -g -shared -fPIC -I"$MIDFLIGHT_INCLUDE" -o "{output}" "{source}"']
    game = midflight.load(source, build=words, artifact=output)
    assert midflight.blocks(game)[0].count == 3


def test_a_heap_that_is_used_by_code_isnt_unmapped() -> None:
    heap = _core.Heap("m")
    heap.attach(1)
    address = heap.make(("int", 4, 4, None, 0, 0), 10)[0]
    del heap
    ctypes.c_int.from_address(address).value = 3
