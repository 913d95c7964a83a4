"""Would catch: a save that isn't noticed, for each way in which editors, compilers and deployments write files."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from midflight.triggers import observer as observer_module
from midflight.triggers.observer import Observer, Subscription
from midflight.triggers.runner import Runner
from midflight.triggers.trail import trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import FakeTarget

WAIT = 20.0


@contextlib.contextmanager
def observing(target: FakeTarget) -> Iterator[Runner]:
    """Swap the target on changes; begun when the block begins."""
    observer, runner = Observer(), Runner(target)
    runner.acquire()
    runner.after_swap = observer.refresh
    subscription = Subscription(runner, 0.02)
    observer.add(subscription)
    try:
        assert subscription.ready.wait(WAIT)
        yield runner
    finally:
        observer.remove(subscription)
        runner.release()
        assert not [thread for thread in threading.enumerate() if thread.name == "midflight-watch"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "calc.c"
    path.parent.mkdir()
    path.write_text("0")
    return path


def until(target: FakeTarget, text: str) -> None:
    """Wait for a swap that read ``text``; earlier ones may have read what was there on the way."""
    while target.next() != text:
        pass


def test_write_in_place(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target):
        for text in ("1", "2", "3"):
            source.write_text(text)
            until(target, text)


def test_write_to_a_new_file_and_rename_over(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target):
        for text in ("1", "2", "3"):
            other = source.with_suffix(".tmp")
            other.write_text(text)
            other.replace(source)
            until(target, text)


def test_backup_by_rename_then_write_anew(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    """Vim with backupcopy=no."""
    target = make_target(source)
    with observing(target):
        for text in ("1", "2"):
            source.rename(source.with_name("calc.c~"))
            source.write_text(text)
            until(target, text)


def test_truncate_and_write_in_pieces(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target), source.open("w") as file:
        for piece in ("one", "two", "three"):
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        until(target, "onetwothree")


def test_delete_then_create(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target) as runner:
        source.unlink()
        assert runner.wait_idle(WAIT)
        source.write_text("back")
        until(target, "back")


def test_same_size_and_time(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    times = source.stat()
    with observing(target):
        source.write_text("1")
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
        until(target, "1")


def test_link_that_is_led_elsewhere(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    others = source.parent / "elsewhere"
    others.mkdir()
    for name in ("a", "b"):
        (others / name).write_text(name)
    source.unlink()
    source.symlink_to("elsewhere/a")
    target = make_target(source)
    with observing(target):
        fresh = source.with_name("fresh")
        fresh.symlink_to("elsewhere/b")
        fresh.replace(source)
        until(target, "b")
        (others / "b").write_text("behind the link")
        until(target, "behind the link")


def test_directory_link_that_is_led_elsewhere(tmp_path: Path, make_target: Callable[..., FakeTarget]) -> None:
    """How configuration volumes and release directories are exchanged."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "calc.c").write_text(name)
    (tmp_path / "current").symlink_to("one")
    target = make_target(tmp_path / "current" / "calc.c")
    with observing(target):
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").replace(tmp_path / "current")
        until(target, "two")
        (tmp_path / "two" / "calc.c").write_text("three")
        until(target, "three")


def test_directory_that_vanishes_and_comes_back(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target):
        for text in ("1", "2"):
            shutil.rmtree(source.parent)
            source.parent.mkdir()
            source.write_text(text)
            until(target, text)


def test_directory_that_is_exchanged(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    with observing(target):
        for text in ("1", "2"):
            fresh = source.parent.with_name("fresh")
            fresh.mkdir()
            (fresh / "calc.c").write_text(text)
            source.parent.rename(source.parent.with_name(f"old {text}"))
            fresh.rename(source.parent)
            until(target, text)


def test_files_that_come_and_go(source: Path, make_target: Callable[..., FakeTarget], tmp_path: Path) -> None:
    """A swap finds that another header belongs to the source: from then on its changes count."""
    header = tmp_path / "include" / "k.h"
    target = make_target(source)
    target.on_swap = lambda: target.paths.append(header) if len(target.paths) == 1 else None
    with observing(target) as runner:
        source.write_text("1")
        until(target, "1")
        header.parent.mkdir()
        header.write_text("2")
        assert runner.wait_idle(WAIT)
        source.write_text("3")
        until(target, "32")
        header.write_text("4")
        until(target, "34")


def test_change_between_loading_and_watching(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    source.write_text("1")
    with observing(target):
        until(target, "1")


def test_other_files_in_the_directory_do_not_count(source: Path, make_target: Callable[..., FakeTarget]) -> None:
    target = make_target(source)
    looked = []
    changed = target.changed
    target.changed = lambda: looked.append(1) or changed()  # type: ignore[func-returns-value,assignment,method-assign]
    with observing(target) as runner:
        assert runner.wait_idle(WAIT)
        before = len(looked)
        for number in range(20):
            (source.parent / f"other{number}.o").write_text("")
        source.write_text("1")
        until(target, "1")
        assert runner.wait_idle(WAIT)
    assert len(looked) <= before + 3
    assert target.none_left()


def test_without_notifications(
    source: Path, make_target: Callable[..., FakeTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's limit of watches is met: the files themselves are looked at."""

    def refuse(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(observer_module, "RustNotify", refuse)
    target = make_target(source)
    with observing(target):
        source.write_text("1")
        until(target, "1")


def test_one_thread_for_all(tmp_path: Path, make_target: Callable[..., FakeTarget]) -> None:
    observer = Observer()
    sources = [tmp_path / f"{number}.c" for number in range(3)]
    subscriptions = []
    for path in sources:
        path.write_text("0")
        runner = Runner(make_target(path))
        runner.acquire()
        subscriptions.append(Subscription(runner, 0.02))
        observer.add(subscriptions[-1])
    assert all(subscription.ready.wait(WAIT) for subscription in subscriptions)
    assert sum(thread.name == "midflight-watch" for thread in threading.enumerate()) == 1
    for path, subscription in zip(sources, subscriptions, strict=True):
        path.write_text("1")
        until(subscription.runner.target, "1")  # type: ignore[arg-type]
    observer.remove(subscriptions[0])
    sources[1].write_text("2")
    until(subscriptions[1].runner.target, "2")  # type: ignore[arg-type]
    for subscription in subscriptions:
        observer.remove(subscription)
        subscription.runner.release()
    ours = {"midflight-watch", "midflight-timer"}
    assert not [thread for thread in threading.enumerate() if thread.name in ours or "swap" in thread.name]


def test_trail_names_every_link_and_the_first_gap(tmp_path: Path) -> None:
    base = tmp_path.resolve()
    (base / "real").mkdir()
    (base / "link").symlink_to("real")
    (base / "real" / "file").symlink_to("../target")
    assert trail(base / "link" / "file") == [base / "link", base / "real" / "file", base / "target"]
    (base / "target").write_text("")
    assert trail(base / "link" / "file")[-1] == base / "target"
    assert trail(base / "gone" / "deep" / "file") == [base / "gone"]
    (base / "loop").symlink_to("loop")
    assert len(trail(base / "loop")) > 1
