"""A file that is changed while it is being loaded, by somebody who waits for the right moment.

Would catch a lane that opens the file again after its bytes were checked, and a reader that a pipe in the place of a
library, a key or a signature stops for ever.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import midflight
from tests.hardened.conftest import sha256

WAITING = """
#include <fcntl.h>
#include <unistd.h>
int value(void) {{ return {value}; }}
int midflight_check_waits(void) {{
    char byte;
    close(open("{root}/checked", O_WRONLY));
    return read(open("{root}/changed", O_RDONLY), &byte, 1) != 1;
}}
"""


@pytest.fixture
def moment(tmp_path):
    """Return a function that changes something once the probe has begun, so after the check and before the mapping."""
    for name in ("checked", "changed"):
        os.mkfifo(tmp_path / name)

    def change(what):
        with (tmp_path / "checked").open("rb") as pipe:
            assert pipe.read() == b""
        what()
        with (tmp_path / "changed").open("wb", buffering=0) as pipe:
            pipe.write(b"x")

    return change


@pytest.fixture
def waiting(workshop, tmp_path):
    """Return a function that makes a library whose probe waits for the moment."""
    return lambda name, value: workshop.library(name, WAITING.format(value=value, root=tmp_path))


CHANGES = {
    "written over": lambda path, evil: path.write_bytes(evil.read_bytes()),
    "replaced": lambda path, evil: evil.replace(path),
    "exchanged for a link": lambda path, evil: (path.unlink(), path.symlink_to(evil)),
    "deleted": lambda path, _: path.unlink(),
}


@pytest.mark.parametrize("lane", ["here", "worker"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_changes_between_check_and_load(library, waiting, moment, lane, how):
    path, evil = waiting("calc", 1), library("evil", 666)
    expected = sha256(path)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(midflight.load, path, probe=True, hardened=True, expect=expected, lane=lane)
        moment(lambda: CHANGES[how](path, evil))
        module = loading.result(60)
    assert module.value() == 1
    assert midflight.versions(module)[0].artifact == expected
    midflight.unload(module)


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_changes_between_check_and_switch(library, waiting, moment, how):
    module = midflight.load(library("calc", 1), hardened=True)
    path, evil = waiting("calc", 2), library("evil", 666)
    expected = sha256(path)
    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(midflight.swap, module, probe=True, expect=expected)
        moment(lambda: CHANGES[how](path, evil))
        assert swapping.result(60).changed
    assert module.value() == 2
    assert midflight.versions(module)[-1].artifact == expected


def test_a_file_that_somebody_goes_on_exchanging(library, refused_for_integrity):
    """Each load of many takes the good bytes or refuses, whichever of the two lies there at the moment."""
    path, good, evil = library("calc", 1), library("good", 1).read_bytes(), library("evil", 666).read_bytes()
    expected, stop = sha256(path), threading.Event()

    def exchange():
        while not stop.is_set():
            for data in (evil, good):
                new = path.with_name("new.so")
                new.write_bytes(data)
                new.replace(path)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(100):
            try:
                module = midflight.load(path, hardened=True, expect=expected)
            except (midflight.IntegrityError, midflight.SourceError, midflight.SourceNotFoundError):
                continue
            assert module.value() == 1
            midflight.unload(module)
    finally:
        stop.set()
        thread.join()
    path.write_bytes(evil)
    with refused_for_integrity(expected):
        midflight.load(path, hardened=True, expect=expected)


# ---- pipes and directories ----------------------------------------------------------------------------------------

PLANTED = {"pipe": os.mkfifo, "directory": os.mkdir, "link to nowhere": lambda path: path.symlink_to("/nowhere/x")}


@pytest.mark.parametrize("kind", PLANTED)
def test_in_a_librarys_place(library, tmp_path, kind):
    module = midflight.load(library("calc", 1))
    planted = tmp_path / "planted.so"
    PLANTED[kind](planted)
    for start in (
        lambda: midflight.load(planted, hardened=True),
        lambda: midflight.load(planted, hardened=True, expect="0" * 64),
        lambda: midflight.load(planted, hardened=True, lane="worker"),
        lambda: midflight.swap(module, planted),
    ):
        with pytest.raises(midflight.MidflightError, match=r"a pipe|a directory|leads nowhere"):
            start()
    assert module.value() == 1


@pytest.mark.parametrize("kind", PLANTED)
def test_in_the_place_of_a_signature_or_a_key(library, key, tmp_path, kind, refused_for_integrity):
    path = library("calc", 1)
    PLANTED[kind](tmp_path / "planted")
    PLANTED[kind](path.with_name("calc.so.sig"))
    with refused_for_integrity("calc.so.sig can't be read"):
        midflight.load(path, expect=midflight.Signed(key.public_key()))
    with refused_for_integrity("this is no Ed25519 public key", "planted can't be read"):
        midflight.Signed(tmp_path / "planted")
