"""Would catch: a save that doesn't go live, a broken one that is reported twice or does harm, a watcher that stays."""

from __future__ import annotations

import gc
import os
import queue
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

import midflight
from tests.triggers.conftest import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

WAIT = 60.0


class Record:
    """What was swapped and refused, in order."""

    def __init__(self) -> None:
        self.events: queue.Queue[midflight.Swapped | midflight.Refused] = queue.Queue()

    def note(self, event: object) -> None:
        if isinstance(event, (midflight.Swapped, midflight.Refused)):
            self.events.put(event)

    def swapped(self) -> midflight.Report:
        event = self.events.get(timeout=WAIT)
        assert isinstance(event, midflight.Swapped), event
        return event.report

    def refused(self) -> midflight.MidflightError:
        event = self.events.get(timeout=WAIT)
        assert isinstance(event, midflight.Refused), event
        return event.error


@pytest.fixture
def record() -> Iterator[Record]:
    """The events of a test."""
    record = Record()
    stop = midflight.subscribe(record.note)
    yield record
    stop()


def save(path: Path, content: str) -> None:
    """Write aside and rename, so that no half-written state can be seen."""
    other = path.with_name(f".{path.name}.new")
    other.write_text(content)
    other.replace(path)


def no_threads_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith(("midflight-w", "midflight-s"))]


def test_swap_on_save(source: Path, module: ModuleType, record: Record) -> None:
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        for number in (2, 3, 4):
            save(source, text(number))
            record.swapped()
            assert module.number() == number
    assert no_threads_left()


def test_a_broken_save_is_reported_once_and_the_next_good_one_applies(
    source: Path, module: ModuleType, record: Record
) -> None:
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        save(source, "int number(void) { return }\n")
        assert isinstance(record.refused(), midflight.BuildError)
        assert module.number() == 1
        os.utime(source)
        save(source, "int number(void) { return }\n")
        assert watcher.wait_idle(WAIT)
        save(source, text(2))
        assert record.swapped().new.number == 2
        assert module.number() == 2


def test_a_version_without_a_function_is_reported_once(source: Path, module: ModuleType, record: Record) -> None:
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        save(source, "int other(void) { return 1; }\n")
        assert isinstance(record.refused(), midflight.IncompatibleError)
        os.utime(source)
        assert watcher.wait_idle(WAIT)
        save(source, text(5))
        record.swapped()
        assert module.number() == 5


def test_headers_come_and_go(source: Path, module: ModuleType, record: Record, tmp_path: Path) -> None:
    header = tmp_path / "include" / "k.h"
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        save(source, '#include "include/k.h"\nint number(void) { return K; }\n')
        assert isinstance(record.refused(), midflight.BuildError)
        header.parent.mkdir()
        save(header, "#define K 7\n")
        record.swapped()
        assert module.number() == 7
        save(header, "#define K 8\n")
        record.swapped()
        assert module.number() == 8
        save(source, text(9))
        record.swapped()
        assert module.number() == 9


def test_a_ready_library_that_is_replaced(tmp_path: Path, record: Record) -> None:
    def build(number: int) -> None:
        (tmp_path / "part.c").write_text(text(number))
        subprocess.run(["cc", "-g", "-shared", "-fPIC", "part.c", "-o", "part.so"], cwd=tmp_path, check=True)

    build(1)
    path = tmp_path / "libcalc.so"
    path.write_bytes((tmp_path / "part.so").read_bytes())
    module = midflight.load(path)
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        build(2)
        (tmp_path / "part.so").replace(path)
        record.swapped()
        assert module.number() == 2


def test_a_deleted_source_changes_nothing(source: Path, module: ModuleType, record: Record) -> None:
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        source.unlink()
        assert watcher.wait_idle(WAIT)
        assert module.number() == 1
        save(source, text(2))
        record.swapped()
        assert module.number() == 2


def test_changes_of_another_source_after_a_swap_to_it(
    source: Path, module: ModuleType, record: Record, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "calc2.c"
    other.parent.mkdir()
    other.write_text(text(20))
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        midflight.swap(module, other)
        record.swapped()
        save(other, text(21))
        record.swapped()
        assert module.number() == 21
        save(source, text(1000))
        save(other, text(22))
        record.swapped()
        assert module.number() == 22


def test_a_build_command_that_writes_its_artifact_does_not_trigger_itself(tmp_path: Path, record: Record) -> None:
    """Each run of the command makes other bytes."""
    script = tmp_path / "build.sh"
    script.write_text(
        "set -e\ncount=$(cat count 2>/dev/null || echo 0)\necho $((count + 1)) > count\n"
        "cc -g -shared -fPIC -DRUN=$count number.c -o number.so\n"
    )
    (tmp_path / "number.c").write_text("int number(void) { return RUN * 0 + 1; }\nint run(void) { return RUN; }\n")
    module = midflight.load(
        tmp_path / "number.c", build=["sh", "-c", f"cd '{tmp_path}' && sh build.sh"], artifact=tmp_path / "number.so"
    )
    with midflight.watch(module) as watcher:
        assert watcher.wait_ready(WAIT)
        save(tmp_path / "number.c", "int number(void) { return 2; }\nint run(void) { return RUN; }\n")
        record.swapped()
        assert watcher.wait_idle(WAIT)
        save(tmp_path / "number.c", "int number(void) { return 3; }\nint run(void) { return RUN; }\n")
        record.swapped()
        assert (module.number(), module.run()) == (3, 2)


def test_one_watcher_for_a_module(module: ModuleType) -> None:
    first = midflight.watch(module)
    assert midflight.watch(module) is first
    first.stop()
    first.stop()
    second = midflight.watch(module)
    assert second is not first
    assert second.active
    second.stop()
    assert no_threads_left()


def test_a_module_that_is_gone_ends_its_watcher(source: Path, record: Record) -> None:
    module = midflight.load(source)
    watcher = midflight.watch(module)
    assert watcher.wait_ready(WAIT)
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
    assert not watcher.active
    save(source, text(2))
    assert not watcher.wait_ready(WAIT)
    watcher.stop()
    assert no_threads_left()
    assert record.events.empty()


def test_a_module_that_nobody_keeps(source: Path) -> None:
    watcher = midflight.watch(midflight.load(source))
    assert not watcher.wait_ready(WAIT)
    watcher.stop()
    assert no_threads_left()


def test_stopped_from_a_subscriber(source: Path, module: ModuleType, record: Record) -> None:
    watcher = midflight.watch(module)
    assert watcher.wait_ready(WAIT)
    end = midflight.subscribe(lambda _: watcher.stop())
    save(source, text(2))
    record.swapped()
    end()
    assert watcher.wait_idle(WAIT)
    assert not watcher.active


@pytest.mark.parametrize("settle", [0, -1, "x", float("nan"), 1e9])
def test_settle_that_is_no_time(module: ModuleType, settle: float) -> None:
    with pytest.raises(midflight.TriggerError):
        midflight.watch(module, settle=settle)


def test_what_is_no_module_of_ours() -> None:
    with pytest.raises(midflight.SwapError):
        midflight.watch(os)


def test_a_process_that_watches_can_end(source: Path) -> None:
    code = (
        f"import midflight; m = midflight.load({str(source)!r})\nw = midflight.watch(m); w.wait_ready(); print('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=WAIT)
    assert (done.stdout, done.stderr) == ("end\n", "")


def test_a_forked_child_watches_for_itself(source: Path) -> None:
    code = f"""
import midflight, os, queue
m = midflight.load({str(source)!r})
w = midflight.watch(m); w.wait_ready()
child = os.fork()
if child == 0:
    done = queue.Queue()
    midflight.subscribe(done.put)
    mine = midflight.watch(m)
    assert mine is not w and mine.wait_ready(20)
    open({str(source)!r}, "w").write({text(2)!r})
    done.get(timeout=20)
    while m.number() != 2:
        done.get(timeout=20)
    mine.stop()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
w.stop()
"""
    # From 3.12 on Python warns of every fork beside threads, which is what this test is about.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT)
    assert (done.stdout, done.stderr) == ("7\n", "")
