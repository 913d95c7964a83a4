"""Catches calls that are lost, repeated or never answered when a connection or its server goes away."""

from __future__ import annotations

import gc
import os
import threading

import pytest

import midflight
from midflight import ArgumentTypeError, CallTimeoutError, ConnectionLostError
from midflight._control import control_of
from midflight.lanes import remote

ADD = "int add(int a, int b) { return a + b; }\n"


def hold_up(lib, path, count):
    """Start calls that don't return until something is written to a fifo; return their threads and results."""
    os.mkfifo(path)
    results = []

    def work():
        try:
            results.append(lib.hold(str(path)))
        except BaseException as error:  # noqa: BLE001 - what it is is the test
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    writing = os.open(path, os.O_WRONLY)  # returns when a call has opened the other end: it is inside
    return threads, results, writing


def test_kill_with_calls_in_flight_then_a_new_server(serve, source, at, tmp_path):
    server = serve(source, at)
    lib = midflight.load("lib.c", lane=at)
    pointer = lib.corner()
    threads, results, writing = hold_up(lib, tmp_path / "fifo", 4)
    server.kill()
    for thread in threads:
        thread.join()
    os.close(writing)
    assert [type(one) for one in results] == [ConnectionLostError] * 4
    assert "isn't repeated" in str(results[0])

    again = serve(source, at)
    assert lib.process() == again.process.pid
    with pytest.raises(ArgumentTypeError, match="before it was lost"):
        lib.x_of(pointer)
    assert lib.x_of(lib.corner()) == 7
    assert again.end() == 0


def test_a_call_while_disconnected_waits_and_then_raises(serve, source, at):
    server = serve(source, at)
    connection = remote.source(at, connect_timeout=0.3).connection
    add = connection.faces(connection.offered()).get("add")
    assert connection.call(add, (1, 2)) == 3
    server.kill()
    with pytest.raises(ConnectionLostError):
        while True:  # until the loss is noticed
            connection.call(add, (1, 2))
    with pytest.raises(ConnectionLostError, match=r"no connection after 0\.3 s") as caught:
        connection.call(add, (1, 2))
    assert caught.value.unchanged == "nothing was sent"
    connection.close()


def test_loading_where_nobody_listens(at):
    with pytest.raises(ConnectionLostError, match="nobody answers"):
        remote.source(at, connect_timeout=0.1).resolve()


def test_a_timeout_of_one_call_leaves_the_others_alone(serve, source, at, tmp_path):
    serve(source, at)
    lib = midflight.load("lib.c", lane=at)
    os.mkfifo(tmp_path / "fifo")
    with midflight.call_timeout(0.2), pytest.raises(CallTimeoutError, match=r"0\.2 s"):
        lib.hold(str(tmp_path / "fifo"))
    assert lib.add(1, 2) == 3
    (tmp_path / "fifo").write_text("x")  # the server still waits in the call that was given up
    assert lib.add(1, 2) == 3
    short = midflight.load("lib.c", lane=at, timeout=0.2)
    os.mkfifo(tmp_path / "other")
    with pytest.raises(CallTimeoutError):
        short.hold(str(tmp_path / "other"))
    (tmp_path / "other").write_text("x")


def test_one_slow_call_does_not_hold_up_others(serve, source, at, tmp_path):
    serve(source, at)
    lib = midflight.load("lib.c", lane=at)
    threads, results, writing = hold_up(lib, tmp_path / "fifo", 1)
    assert [lib.add(number, 1) for number in range(50)] == list(range(1, 51))
    os.write(writing, b"A")
    os.close(writing)
    threads[0].join()
    assert results == [65]


def test_eight_threads_with_many_calls(lib):
    wrong = []

    def work(base):
        point = midflight.types(lib).point
        for number in range(base, base + 300):
            if lib.add(number, 1) != number + 1 or lib.echo(str(number)) != str(number):
                wrong.append(number)
            if lib.moved(point(number, 0.5), 1).x != number + 1:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(index * 1000,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_connection_ends_with_the_module(here, at):
    _, offer = here(ADD)
    lib = midflight.load("lib.c", lane=at)
    assert lib.add(1, 2) == 3
    session = control_of(lib).source.connection.session()
    assert offer.clients == 1
    function = lib.add
    del lib
    gc.collect()
    assert function(2, 3) == 5
    del function
    gc.collect()
    from midflight import _retire

    _retire.settle()
    assert session.lost is not None


def test_unload(here, at):
    here(ADD)
    lib = midflight.load("lib.c", lane=at)
    midflight.unload(lib)
    with pytest.raises(midflight.UnloadedError):
        lib.add(1, 2)


def test_stop_tells_the_calls_in_flight(here, at, tmp_path):
    text = """
    #include <stdio.h>
    int hold(const char *path) { FILE *f = fopen(path, "r"); int c = fgetc(f); fclose(f); return c; }
    """
    module, offer = here(text)
    lib = midflight.load("lib.c", lane=at)
    threads, results, writing = hold_up(lib, tmp_path / "fifo", 1)
    offer.stop()
    threads[0].join()
    assert isinstance(results[0], ConnectionLostError)
    os.write(writing, b"A")
    os.close(writing)
    assert midflight.versions(module)[0].status == "current"


def test_pointers_are_let_go_on_both_sides(here, at):
    module, offer = here("struct s { int x; }; static struct s one[100]; struct s *at(int i) { return one + i; }")
    lib = midflight.load("lib.c", lane=at)
    pointers = [lib.at(index) for index in range(100)]
    again = lib.at(5)
    assert control_of(module).current.table.pointers == 100
    del pointers
    gone = threading.Event()
    peer = next(iter(offer._peers))
    # The notes of pointers that were let go travel before the answer of a later call, or soon after it.
    while control_of(module).current.table.pointers > 1:
        lib.at(5)
        assert not gone.is_set()
    assert again == lib.at(5)
    assert len(peer.handles) == 1


def test_the_child_of_a_fork_has_a_connection_of_its_own(serve, source, at):
    serve(source, at)
    lib = midflight.load("lib.c", lane=at)
    assert lib.add(1, 2) == 3
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = [lib.add(number, 1) for number in range(100)] == list(range(1, 101))
        finally:
            os._exit(0 if ok else 1)
    mine = [lib.add(number, 2) for number in range(100)]
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert mine == list(range(2, 102))
    assert lib.add(5, 5) == 10
