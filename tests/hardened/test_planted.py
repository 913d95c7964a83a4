"""What another user could plant where midflight looks: links, pipes, directories, files of his own.

Would catch one that is read, run, written through or waited for.  The tests run as root and give files to another user.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import midflight
from midflight import _cache, _ownership
from midflight._directory import PrivateDirectory
from midflight.artifact import reader
from midflight.build import describe, go_tools, manifest, store
from midflight.build.compiler import find_compiler
from midflight.serve import addresses, client
from tests.hardened.conftest import STRANGER

SOURCE = "int value(void) { return 1; }"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv(_cache.VARIABLE, str(path))
    reader.forget()
    return path


def foreign(path, data=b""):
    """Make a file of another user's."""
    path.write_bytes(data)
    os.chown(path, STRANGER, STRANGER)
    return path


def linked_to_foreign(path, data):
    """Make a second name of another user's file."""
    os.link(foreign(path.with_name(f"{path.name}.theirs"), data), path)


def symbolic(path, data):
    """Make a link to a file elsewhere."""
    elsewhere = path.with_name(f"{path.name}.elsewhere")
    elsewhere.write_bytes(data)
    path.symlink_to(elsewhere)


def everybodys(path, data):
    """Make a file that all may write to."""
    path.write_bytes(data)
    path.chmod(0o666)


PLANTED = {
    "foreign file": foreign,
    "hard link": linked_to_foreign,
    "symbolic link": symbolic,
    "everybody's file": everybodys,
    "pipe": lambda path, _: os.mkfifo(path),
}


@pytest.fixture(params=PLANTED)
def plant(request):
    """Return a function that puts something in a file's place, with the file's own bytes where it can have some."""

    def make(path, data=None):
        data = path.read_bytes() if data is None else data
        path.unlink(missing_ok=True)
        PLANTED[request.param](path, data)
        return os.lstat(path).st_ino

    return make


def is_ours(path):
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


# ---- files of the cache ---------------------------------------------------------------------------------------------


def test_a_stored_library(cache, library, plant):
    """It isn't used, even with the right bytes, and a file of ours takes its place."""
    path = library("calc", 1)
    stored = Path(midflight.versions(midflight.load(path))[0].artifact)
    stored = store.path_of(stored.name)
    inode = plant(stored)
    assert store.find(stored.stem) is None
    assert midflight.load(path).value() == 1
    assert is_ours(stored)
    assert stored.stat().st_ino != inode
    assert stored.is_relative_to(cache)


def test_a_stored_library_that_is_going_to_be_read(cache, library, plant, refused_for_integrity):
    """An artifact that was planted between its building and its loading, or a rollback."""
    artifact = describe(library("calc", 1)).resolve()
    plant(artifact.path)
    with refused_for_integrity("somebody else may have put it here", artifact.sha256):
        artifact.read()
    assert cache.is_dir()


def test_rollback_to_a_planted_library(cache, library, plant, refused_for_integrity):
    module = midflight.load(library("calc", 1))
    midflight.swap(module, library("other", 2))
    plant(store.path_of(midflight.versions(module)[0].artifact))
    with refused_for_integrity("version 2 of calc goes on running"):
        midflight.rollback(module)
    assert module.value() == 2
    assert cache.is_dir()


def test_an_interface(cache, library, plant):
    """An entry that could lie about types is made anew."""
    data = library("calc", 1).read_bytes()
    found = reader.read_interface(data, sha256="a" * 64)
    (entry,) = (cache / "interfaces").iterdir()
    plant(entry)
    reader.forget()
    assert reader.read_interface(data, sha256="a" * 64) == found
    assert is_ours(entry)


def test_a_manifest(cache, workshop, plant):
    """An entry that could name another library for a source is not believed: the source is built again."""
    source = workshop.write("calc.c", SOURCE)
    assert not describe(source).resolve().cached
    assert describe(source).resolve().cached
    (entry,) = (path for path in (cache / "manifests").glob("*/*"))
    plant(entry)
    assert not describe(source).resolve().cached
    assert is_ours(entry)
    assert describe(source).resolve().cached


@pytest.mark.parametrize("lock", ["locks", "prune.lock"])
def test_a_lock(cache, workshop, plant, lock, refused_for_integrity):
    """A link would make a file elsewhere, a pipe would stop all builds."""
    source = workshop.write("calc.c", SOURCE)
    describe(source).resolve()
    victim = cache / "prune.lock"
    if lock == "locks":
        (victim,) = (cache / "locks").iterdir()
    plant(victim, b"")
    workshop.write("calc.c", SOURCE.replace("1", "2"))
    with refused_for_integrity("somebody else may have put it here"):
        if lock == "locks":
            with manifest._locked(victim.name):
                pass
        else:
            store.prune()


def test_the_analyzer_of_go_sources(cache, plant, tmp_path):
    """A program that would be run."""
    go = find_compiler("go", cwd=tmp_path, subject="test")
    tool = go_tools.analyzer(go)
    good = tool.read_bytes()
    plant(tool, b"#!/bin/sh\nexit 7\n")
    if stat.S_ISREG(tool.lstat().st_mode):
        tool.chmod(tool.stat().st_mode | 0o111)
    assert go_tools.analyzer(go) == tool
    assert is_ours(tool)
    assert tool.read_bytes() == good
    assert tool.is_relative_to(cache)


def test_a_directory_in_a_librarys_place(cache, library, refused_for_integrity):
    path = library("calc", 1)
    stored = store.put(path.read_bytes()).path
    stored.unlink()
    stored.mkdir()
    with refused_for_integrity("a directory in the place of a stored library", str(stored)):
        midflight.load(path)
    assert cache.is_dir()


# ---- directories of the cache -------------------------------------------------------------------------------------


def to_foreign(path):
    path.mkdir(exist_ok=True)
    os.chown(path, STRANGER, STRANGER)


def to_everybodys(path):
    path.mkdir(exist_ok=True)
    path.chmod(0o777)


def to_link(path):
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    if path.is_dir():
        path.rmdir()
    path.symlink_to(elsewhere)


DIRECTORIES = {"foreign": to_foreign, "everybody's": to_everybodys, "symbolic link": to_link}


@pytest.fixture(params=DIRECTORIES)
def plant_directory(request):
    """Return a function that puts a directory that isn't ours in a directory's place."""
    return DIRECTORIES[request.param]


@pytest.mark.parametrize("name", ["artifacts", "manifests", "locks", "work", "live"])
def test_a_directory_of_the_cache(cache, workshop, plant_directory, name, refused_for_integrity, monkeypatch):
    monkeypatch.setattr(store, "_live", store._Live())  # which makes its directory once
    cache.mkdir(mode=0o700)
    plant_directory(cache / name)
    with refused_for_integrity("somebody else may have put it here", name, "then remove it"):
        midflight.load(workshop.write("calc.c", SOURCE))


def test_the_directory_of_interfaces(cache, library, plant_directory, caplog):
    """What is only there to save time is done without."""
    cache.mkdir(mode=0o700)
    plant_directory(cache / "interfaces")
    assert midflight.load(library("calc", 1)).value() == 1
    assert not list((cache / "interfaces").iterdir())
    assert "somebody else may have put it here" in caplog.text


@pytest.mark.parametrize("name", ["work", "artifacts", "manifests", "live"])
def test_pruning_deletes_nothing_elsewhere(cache, tmp_path, name):
    """A link in the cache leads to a directory with old files of the user's."""
    treasure = tmp_path / "home" / "aa"
    treasure.mkdir(parents=True)
    for file in (treasure / ".new-letter", treasure / "letter", tmp_path / "home" / "photo"):
        file.write_text("precious")
        os.utime(file, (0, 0))
    os.utime(treasure, (0, 0))
    cache.mkdir(mode=0o700)
    (cache / name).symlink_to(tmp_path / "home")
    store.prune(0)
    assert len(list((tmp_path / "home").rglob("*"))) == 4


def test_a_cache_directory_that_isnt_ours(cache, plant_directory, caplog):
    """Another one is used, and the log says why."""
    plant_directory(cache)
    if cache.is_symlink():
        os.chown(cache, STRANGER, STRANGER, follow_symlinks=False)
    chosen = _cache.cache_directory()
    assert not chosen.is_relative_to(cache)
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    assert "can't be used" in caplog.text
    assert not list(cache.iterdir())


def test_a_cache_directory_below_somebody_elses(tmp_path, monkeypatch):
    """Who owns the directory above can rename ours, and put another there."""
    above = tmp_path / "theirs"
    to_foreign(above)
    (above / "cache").mkdir(mode=0o700)
    monkeypatch.setenv(_cache.VARIABLE, str(above / "cache"))
    assert not _cache.cache_directory().is_relative_to(above)


def test_a_link_of_ones_own(tmp_path, monkeypatch):
    """Many have their cache on another disk."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))
    assert _cache.cache_directory() == tmp_path / "disk"


def test_no_place_for_a_temporary_one(tmp_path, monkeypatch, refused_for_integrity):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv(_cache.VARIABLE, str(shared / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    with refused_for_integrity(str(shared), "others may write to it"):
        _cache.cache_directory()


# ---- the private directory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [False, True])
def test_a_runtime_directory_that_isnt_ours(tmp_path, monkeypatch, plant_directory, above):
    """Its owner could rename the private directory, and have the loader map a file of his."""
    base = tmp_path / "run"
    plant_directory(base)
    if base.is_symlink():
        os.chown(base, STRANGER, STRANGER, follow_symlinks=False)
    if above:
        base = base / "inner"
        base.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    private = PrivateDirectory()
    assert not Path(private.new_path("stem")).is_relative_to(tmp_path)
    private.remove()


def test_rights_of_what_is_made(tmp_path, library):
    """Whatever the umask is, nobody else can read or change a private copy or what lies around it."""
    path = library("calc", 1)
    code = """
import os, stat, sys
from pathlib import Path
os.umask(0)
import midflight
midflight.load(sys.argv[1])
copy = Path(next(line.split()[5] for line in open("/proc/self/maps") if "calc.1" in line))
print(oct(copy.stat().st_mode & 0o777), oct(copy.parent.stat().st_mode & 0o777))
cache = Path(os.environ["MIDFLIGHT_CACHE_DIR"])
print({oct(one.stat().st_mode & 0o777) for one in (cache, *cache.rglob("*")) if one.is_dir()})
print({oct(one.stat().st_mode & 0o077) for one in cache.rglob("*") if one.is_file()})
"""
    environment = {**os.environ, "MIDFLIGHT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.splitlines() == ["0o400 0o700", "{'0o700'}", "{'0o0'}"]


# ---- control sockets ------------------------------------------------------------------------------------------------


def test_the_directory_of_the_control_socket(tmp_path, monkeypatch, plant_directory):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    plant_directory(tmp_path / "midflight")
    with pytest.raises(midflight.ControlError, match=r"somebody else may have put it here.*say --control"):
        client.default_control("/srv")


def test_a_runtime_directory_of_somebody_elses(tmp_path, monkeypatch):
    base = tmp_path / "theirs"
    to_foreign(base)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))
    with pytest.raises(midflight.ControlError, match="belongs to another user"):
        client.default_control("/srv")


def test_a_control_socket_where_others_can_put_theirs(tmp_path):
    shared = tmp_path / "shared"
    to_everybodys(shared)
    with pytest.raises(midflight.BindError, match="others may write to it"):
        addresses.bind_private(str(shared / "control.sock"))


def test_a_control_socket_that_another_user_listens_at():
    """Asked by somebody who isn't root; what another user's program says would be believed."""
    shared = Path("/tmp") / f"midflight-planted-{os.getpid()}"
    shared.mkdir(mode=0o755)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(shared / "control.sock"))
            (shared / "control.sock").chmod(0o777)
            os.chown(shared, STRANGER + 1, STRANGER + 1)
            code = f"""
import os, socket
from midflight._errors import ControlError
from midflight.serve import client
listener = socket.socket(fileno={listener.fileno()})
os.setresuid({STRANGER + 1}, {STRANGER + 1}, 0)
listener.listen()  # the kernel remembers who did
os.setresuid(0, 0, 0)
os.setresuid({STRANGER}, {STRANGER}, {STRANGER})
try: client.ask({str(shared / "control.sock")!r}, "status", 5)
except ControlError as error: print(error)
"""
            done = subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                capture_output=True,
                text=True,
                pass_fds=[listener.fileno()],
            )
    finally:
        shutil.rmtree(shared)
    assert "another user's program listens there" in done.stdout


# ---- the rules themselves -------------------------------------------------------------------------------------------


def test_who_is_trusted(tmp_path, monkeypatch):
    """Root's files are taken by everybody; a user's own by him."""
    path = tmp_path / "file"
    path.write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    assert not _ownership.stranger(path.stat())
    os.chown(path, STRANGER, STRANGER)
    assert not _ownership.stranger(path.stat())
    os.chown(path, STRANGER + 1, STRANGER)
    assert "another user (number 54322)" in _ownership.stranger(path.stat())


def test_users_that_are_renumbered(monkeypatch):
    """In a container without root, the system's own directories belong to nobody."""
    texts = {"/proc/self/uid_map": "      1000       1000          1\n", "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda self, _encoding: texts[str(self)])
    _ownership._nobody.cache_clear()
    try:
        assert _ownership._is_trusted(65534)
        assert not _ownership._is_trusted(65533)
    finally:
        _ownership._nobody.cache_clear()
    monkeypatch.undo()
    assert not _ownership._is_trusted(65534)


def test_a_group_of_ones_own_may_write(tmp_path):
    """As many systems have it for home directories."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o775)
    assert _ownership.real_place(home) == home
    os.chown(home, 0, STRANGER)
    with pytest.raises(midflight.IntegrityError, match="others may write to it"):
        _ownership.real_place(home)


def test_links_that_lead_in_a_circle(tmp_path):
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(OSError, match="levels of symbolic links"):
        _ownership.real_place(tmp_path / "one")


def test_links_that_lead_up_and_down(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("../a/./b/..")
    assert _ownership.real_place(tmp_path / "a" / "link") == tmp_path / "a"
