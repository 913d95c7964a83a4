"""The private directory: who may see it, where it lies, what becomes of it when its process is dead.

Would catch: copies that others can write to, directories that pile up, a live process whose files are swept away.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import midflight
from midflight import _directory
from midflight._directory import PrivateDirectory, plain_stem

PREFIX = f"midflight-{os.getuid()}-"

# Loads a library, says where its copy lies, and ends as it is told to.
PROCESS = """
import os, sys, midflight
module = midflight.load(sys.argv[1], lane="here")
print(midflight.versions(module)[0].path, module.value(), flush=True)
{0}
"""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A runtime directory of the test's own."""
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def library(workshop):
    return workshop.library("value", "int value(void) { return 4; }")


def run(library, ending: str, **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROCESS.format(ending), str(library)]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False, **more)


def test_nobody_else_may_look_or_write(base, library):
    words = run(library, "import subprocess; subprocess.run(['stat', '-c', '%a %F', sys.argv[1]])").stdout
    copy = Path(words.split()[0])
    assert copy.is_relative_to(base)
    private = PrivateDirectory()
    path = Path(private.new_path("stem"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    private.remove()
    assert list(base.iterdir()) == []

    module = midflight.load(library)
    mode = Path(midflight.versions(module)[0].path).stat().st_mode
    assert stat.S_IMODE(mode) == 0o400


@pytest.mark.usefixtures("base")
def test_no_path_is_used_twice():
    private = PrivateDirectory()
    assert len({private.new_path("a") for _ in range(1000)} | {private.new_path("b") for _ in range(1000)}) == 2000
    private.remove()


def test_the_end_of_a_process_removes_its_directory(base, library):
    path = Path(run(library, "").stdout.split()[0])
    assert path.is_relative_to(base)
    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("base")
def test_a_dead_process_is_swept_by_the_next(library):
    killed = run(library, "import signal; os.kill(os.getpid(), signal.SIGKILL)")
    left = Path(killed.stdout.split()[0])
    assert killed.returncode < 0
    assert left.exists()
    run(library, "")
    assert not left.parent.exists()


def test_a_live_process_is_left_alone(base, library):
    command = [sys.executable, "-c", PROCESS.format("sys.stdin.read(); print(module.value())"), str(library)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as live:
        path = Path(live.stdout.readline().split()[0])
        run(library, "")
        assert path.exists()
        words, _ = live.communicate("")
    assert words.split() == ["4"]
    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("base")
def test_the_directory_of_a_live_childs_dead_parent_is_left_alone(library):
    ending = """
reader, writer = os.pipe()
if os.fork() == 0:
    sys.stdin.read()
    print(module.value(), flush=True)
os._exit(0)
"""
    command = [sys.executable, "-c", PROCESS.format(ending), str(library)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        path = Path(parent.stdout.readline().split()[0])
        parent.wait()
        run(library, "")
        assert path.exists()  # the child lives, and holds the lock
        parent.stdin.close()
        assert parent.stdout.read().split() == ["4"]
    run(library, "")
    assert not path.parent.exists()


def test_somebody_elses_files_are_left_alone(base, library):
    (base / f"{PREFIX}1-file").write_text("not a directory")
    (base / f"{PREFIX}1-link").symlink_to(base)
    (base / "midflight-99999-1-other").mkdir()
    (base / f"{PREFIX}1-nolock").mkdir()
    before = sorted(base.iterdir())
    run(library, "")
    assert sorted(base.iterdir()) == before


@pytest.mark.parametrize(
    "unusable",
    [
        lambda base: base.rmdir(),
        lambda base: (base.rmdir(), base.write_text("")),
        lambda base: base.chmod(0o777),
    ],
    ids=["missing", "file", "everybody's"],
)
def test_an_unusable_runtime_directory(base, library, unusable):
    unusable(base)
    done = run(library, "")
    assert done.returncode == 0
    path, value = done.stdout.split()
    assert not Path(path).is_relative_to(base)
    assert value == "4"


@pytest.mark.parametrize("name", ["relative/run", "/nowhere/$ORIGIN", "/nowhere\nelse"])
def test_a_runtime_directory_that_cannot_be_spelled(monkeypatch, name, tmp_path):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / name.strip("/")
    place.mkdir(mode=0o700, parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", name if name.startswith("relative") else str(place))
    private = PrivateDirectory()
    assert not Path(private.new_path("stem")).is_relative_to(tmp_path)
    private.remove()


@pytest.mark.usefixtures("base")
def test_a_directory_that_may_not_hold_code(monkeypatch):
    real = os.statvfs

    def statvfs(path):
        found = list(real(path))
        found[8] |= os.ST_NOEXEC  # f_flag
        return os.statvfs_result(found)

    monkeypatch.setattr(_directory.os, "statvfs", statvfs)
    assert PrivateDirectory().new_path("stem") is None


def test_a_symbolic_link_to_the_runtime_directory(base, workshop, monkeypatch):
    """The memory map shows paths without links; a large library is looked for there by its path."""
    link = base.with_name("link")
    link.symlink_to(base)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(link))
    large = workshop.library(
        "large", "static char room[1 << 20]; int value(void) { return room[5] + 4; }", "-Wl,-z,nodelete"
    )
    done = run(large, "old = midflight.unload(module); print(old.status)")
    assert done.stdout.split()[1:] == ["4", "resident"]


def test_a_directory_that_somebody_removed(base, library, workshop):
    ending = """
import shutil
shutil.rmtree(os.path.dirname(midflight.versions(module)[0].path))
midflight.swap(module, sys.argv[1].replace("value.so", "second.so"))
print(module.value(), midflight.versions(module)[1].path)
"""
    workshop.library("second", "int value(void) { return 5; }")
    words = run(library, ending).stdout.split()
    assert words[2] == "5"
    assert Path(words[3]).is_relative_to(base)


def test_a_new_directory_is_made_for_one_that_was_removed_only():
    private = PrivateDirectory()
    assert private.renewed_path("stem") is None
    old = Path(private.new_path("stem")).parent
    assert private.renewed_path("stem") is None
    shutil.rmtree(old)
    made = private.new_directory("stem")
    assert made.is_dir()
    assert made.parent != old
    assert private.renewed_path("stem") is None
    private.remove()


def test_no_room_in_the_directory(library, tmp_path, monkeypatch):
    """Then the copy is kept in memory."""
    monkeypatch.setattr(_directory.private, "new_path", lambda stem: str(tmp_path / "full" / f"{stem}.so"))
    module = midflight.load(library)
    assert "/fd/" in midflight.versions(module)[0].path
    assert module.value() == 4
    assert midflight.unload(module).status == "unloaded"


def test_everything_in_memory(library, workshop, monkeypatch):
    monkeypatch.setattr(_directory.private, "new_path", lambda _stem: None)
    second = workshop.library("second", "int value(void) { return 5; }")
    module = midflight.load(library)
    for n in range(12):  # so that one version's number begins as another's does
        midflight.swap(module, (second, library)[n % 2])
        assert module.value() == (5, 4)[n % 2]
    assert {version.status for version in midflight.versions(module)[:-1]} == {"unloaded"}


@pytest.mark.parametrize("name", ["a/b", "$LIB", "..", "naïve", "x" * 400, "two\nlines", "%s"])
def test_a_module_may_have_any_name(library, name):
    module = midflight.load(library, name=name)
    assert module.value() == 4
    assert midflight.unload(module).status == "unloaded"
    assert "/" not in plain_stem(name)


def test_removing_twice_is_no_error():
    private = PrivateDirectory()
    private.remove()
    path = Path(private.new_path("stem"))
    private.remove()
    private.remove()
    assert not path.parent.exists()
