"""Whose a hardened module's library is.

Would catch one that another user has made or could exchange, and that is loaded though nobody has vouched for its
bytes; and one of ours that is refused.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import midflight
from tests.hardened.conftest import STRANGER, sha256


def given_away(path):
    os.chown(path, STRANGER, STRANGER)


def directory_given_away(path):
    os.chown(path.parent, STRANGER, STRANGER)


def link_of_a_stranger(path):
    path.rename(path.with_name("real.so"))
    path.symlink_to("real.so")
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def link_to_a_strangers(path):
    path.rename(path.with_name("real.so"))
    given_away(path.with_name("real.so"))
    path.symlink_to("real.so")


SPOILED = {
    "foreign file": (given_away, f"another user (number {STRANGER})"),
    "everybody's file": (lambda path: path.chmod(0o666), "others may write to it"),
    "everybody's sticky file": (lambda path: path.chmod(0o1666), "others may write to it"),
    "foreign directory": (directory_given_away, f"another user (number {STRANGER})"),
    "everybody's directory": (lambda path: path.parent.chmod(0o777), "others may write to it"),
    "foreign group's directory": (
        lambda path: (os.chown(path.parent, 0, STRANGER), path.parent.chmod(0o775)),
        "others may write to it",
    ),
    "foreign link": (link_of_a_stranger, f"another user (number {STRANGER})"),
    "link to a foreign file": (link_to_a_strangers, f"another user (number {STRANGER})"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_library_that_another_user_may_have_made(library, how, refused_for_integrity):
    path = library("calc", 1)
    module = midflight.load(path, hardened=True)
    path = library("calc", 2)
    spoil, why = SPOILED[how]
    spoil(path)
    try:
        words = ("another user may have made this library", why, str(path), "expect=")
        with refused_for_integrity(*words, "version 1 of calc goes on running"):
            midflight.swap(module)
        for options in ({}, {"lane": "worker"}):
            with refused_for_integrity(*words):
                midflight.load(path, hardened=True, **options)
        assert module.value() == 1
        assert midflight.load(path).value() == 2  # not hardened
        assert midflight.load(path, hardened=True, expect=sha256(path)).value() == 2  # vouched for
        midflight.swap(module, expect=sha256(path))
        assert module.value() == 2
    finally:
        os.chown(path.parent, 0, 0)
        path.parent.chmod(0o700)


def test_what_a_command_makes(library, refused_for_integrity):
    path = library("calc", 1)
    assert midflight.load(build="true", artifact=path, hardened=True).value() == 1
    with refused_for_integrity("another user may have made this library"):
        midflight.load(build=f"chown {STRANGER} {path}", artifact=path, hardened=True)


def test_one_of_ours_where_everybody_may_add(library):
    """In /tmp the sticky bit keeps others from exchanging it."""
    shared = Path("/tmp") / f"midflight-shared-{os.getpid()}"
    shared.mkdir()
    try:
        shared.chmod(0o1777)
        path = Path(shutil.copy(library("calc", 1), shared))
        path.chmod(0o755)
        assert midflight.load(path, hardened=True).value() == 1
        (shared / "link.so").symlink_to("calc.so")
        assert midflight.load(shared / "link.so", hardened=True).value() == 1
    finally:
        shutil.rmtree(shared)


def test_links_that_lead_in_a_circle(tmp_path):
    (tmp_path / "one.so").symlink_to("other.so")
    (tmp_path / "other.so").symlink_to("one.so")
    with pytest.raises(midflight.SourceError):
        midflight.load(tmp_path / "one.so", hardened=True)
