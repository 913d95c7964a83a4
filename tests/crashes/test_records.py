"""What a program remembers of its crashes when it starts again.

Would catch: a crash that isn't recorded, or is laid at the wrong version's door; a version that is loaded a third time,
or isn't loaded though its row was broken; a record that disturbs another program, module or process; a damaged or
planted record that does any harm.
"""

from __future__ import annotations

import signal

import pytest

from midflight.records import history
from tests.crashes.conftest import Programs, remembered

LOAD = """
import logging
logging.basicConfig(format="%(message)s")
module = midflight.load(sys.argv[1], name="crashing", **(eval(sys.argv[3]) if len(sys.argv) > 3 else {}))
print(module.whoami(), flush=True)
exec(sys.argv[2])
"""
WELL, SEGV = "pass", "module.segv()"


@pytest.fixture
def start(programs, crashing):
    """Start a program that loads ``library.so``, which is a copy of a version's, and does something with it."""
    library = programs.root / "library.so"

    def run(version: int, action: str = WELL, *more: str, name: str = "program.py"):
        library.unlink(missing_ok=True)
        library.write_bytes(crashing.make(version).read_bytes())
        return programs.run(LOAD, library, action, *more, name=name)

    return run


# ---- twice in a row --------------------------------------------------------------------------------------------------


def test_the_one_before_is_loaded(start) -> None:
    """After two crashes in a row, until there are new bytes; and the log says why."""
    assert start(1).out == "1\n"
    assert start(2, SEGV).signal == signal.SIGSEGV
    second = start(2, SEGV)
    assert (second.out, second.signal) == ("2\n", signal.SIGSEGV)
    third = start(2, "print(midflight.versions(module))")
    assert third.out.startswith("1\n")
    assert "instead of" in third.out
    assert "has crashed this program 2 times in a row (SIGSEGV at address 0x8 in write_wild (" in third.err
    assert "the one before, is loaded instead" in third.err
    assert start(2).out == "1\n"  # still so: a good end of the one before says nothing about it
    assert start(3).out == "3\n"


def test_a_good_run_breaks_the_row(start) -> None:
    """One in between that has loaded it and ended as it should."""
    start(1)
    start(2, SEGV)
    assert start(2).out == "2\n"
    start(2, SEGV)
    assert start(2).out == "2\n"


def test_a_run_without_it_doesn_t_break_the_row(start) -> None:
    """Nor does one that was killed."""
    start(1)
    start(2, SEGV)
    start(1)
    assert start(2, "os.kill(os.getpid(), 9)").signal == signal.SIGKILL
    start(2, SEGV)
    assert start(2).out == "1\n"


def test_a_swap_that_is_asked_for_loads_it(start) -> None:
    """And its good end breaks the row."""
    start(1)
    start(2, SEGV)
    start(2, SEGV)
    assert start(2, "midflight.swap(module, probe=False); print(module.whoami())").out == "1\n2\n"
    assert start(2).out == "2\n"


def test_there_is_none_before(start) -> None:
    """Then it is loaded all the same, with a warning."""
    start(2, SEGV)
    start(2, SEGV)
    third = start(2)
    assert third.out == "2\n"
    assert "there is none before it" in third.err


def test_a_swap_s_version(start, crashing) -> None:
    """A crash of a version that came by a swap counts for that version."""
    library = crashing.make(5)
    start(1, f"midflight.swap(module, {str(library)!r}, probe=False); module.segv()")
    start(1, f"midflight.swap(module, {str(library)!r}, probe=False); module.segv()")
    assert start(5).out == "1\n"


def test_constructor(start, crashing, programs) -> None:
    """A crash before the module is there is recorded too."""
    start(1)
    text = "__attribute__((constructor)) static void begin(void) { write_wild(); }"
    (programs.root / "library.so").unlink()
    (programs.root / "library.so").write_bytes(crashing.make(2, text).read_bytes())
    for _ in range(2):
        assert programs.run(LOAD, programs.root / "library.so", WELL).signal == signal.SIGSEGV
    assert programs.run(LOAD, programs.root / "library.so", WELL).out == "1\n"


# ---- which crash it was ----------------------------------------------------------------------------------------------

RECORDED = {
    SEGV: (signal.SIGSEGV, "write_wild ("),
    "module.stop()": (signal.SIGABRT, "stop ("),
    "module.fall(1)": (signal.SIGSEGV, "fall"),
    "module.compare()": (signal.SIGSEGV, "compare ("),
    "module.jump()": (signal.SIGSEGV, "jump ("),
    "module.double_free()": (signal.SIGABRT, "double_free ("),
    "module.start_thread()": (signal.SIGSEGV, "crash_in_thread ("),
    "module.smash(5)": (signal.SIGSEGV, None),
    "import threading; t = threading.Thread(target=module.segv); t.start(); t.join()": (signal.SIGSEGV, "write_wild ("),
}


@pytest.mark.parametrize("action", RECORDED)
def test_what_is_recorded(start, programs, action) -> None:
    """Signal, version and backtrace."""
    number, function = RECORDED[action]
    assert start(4, action).signal == number
    (crash,) = remembered(programs).crashes
    assert (crash.signal, crash.version) == (number, 1)
    if function is not None:
        assert crash.backtrace[0].startswith(function)


def test_guard_that_lets_it_pass(start, programs) -> None:
    """A crash that the guard can't catch is recorded; one that it has caught isn't."""
    caught = "\ntry: module.segv()\nexcept midflight.ModuleCrashed: pass\nmodule.double_free()"
    assert start(4, caught, "dict(on_crash='raise')").signal == signal.SIGABRT
    assert [crash.signal for crash in remembered(programs).crashes] == [signal.SIGABRT]


NOT_ITS_OWN = [
    "import ctypes; ctypes.string_at(8)",
    "import ctypes; module.call_back(lambda _: ctypes.string_at(8) and 1, 1)",
    "os.kill(os.getpid(), 11)",
    "os.abort()",
    "midflight.unload(module); import ctypes; ctypes.string_at(8)",
]


@pytest.mark.parametrize("action", NOT_ITS_OWN)
def test_what_isn_t(start, programs, action) -> None:
    """A crash that isn't a version's."""
    assert start(4, action).signal != 0
    assert remembered(programs).crashes == []


def test_a_version_that_is_only_tried(start, crashing, programs, monkeypatch) -> None:
    """In a probe: what crashes there is no version of the program's."""
    monkeypatch.setenv("MIDFLIGHT_PROBE", "on")
    bad = crashing.make(2, "__attribute__((constructor)) static void begin(void) { write_wild(); }")
    swap = f"try: midflight.swap(module, {str(bad)!r})\nexcept midflight.ProbeError as error: print(error.kind)"
    for _ in range(2):  # the second process of a probe would take in what the first one has left
        assert start(1, swap).out == "1\ncrash\n"
    assert programs.call("-m", "midflight", "crashes").out == "no version has crashed a program\n"


def test_handled_by_the_program(start, programs) -> None:
    """A program that goes on after a crash, by a handler of its own, and ends as it should hasn't crashed."""
    action = "import signal; signal.signal(signal.SIGBUS, lambda *_: None); module.bus()"
    assert start(4, action).signal == 0
    assert remembered(programs).crashes == []


# ---- side by side ----------------------------------------------------------------------------------------------------


def test_programs_don_t_disturb_each_other(start) -> None:
    """Another program loads what has crashed this one."""
    start(1)
    start(2, SEGV)
    start(2, SEGV)
    assert start(2, name="other.py").out == "2\n"
    assert start(2).out == "1\n"


def test_modules_don_t_disturb_each_other(start, crashing) -> None:
    """Of several modules in one program the one that has crashed is the one that isn't loaded again."""
    other = crashing.make(9, name="other")
    start(1, f"midflight.load({str(other)!r})")
    crash = f"print(midflight.load({str(other)!r}).whoami(), flush=True); module.segv()"
    start(2, crash)
    start(2, crash)
    assert start(2, f"print(midflight.load({str(other)!r}).whoami())").out == "1\n9\n"


FORK = """
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        module.segv()
        os._exit(0)
    pids.append(pid)
print([os.waitpid(pid, 0)[1] & 127 for pid in pids])
os.kill(os.getpid(), 9)
"""


def test_children_of_one_run_count_once(start, programs) -> None:
    """Each crash is recorded, in files of their own; the program has crashed once."""
    start(1)
    assert "[11, 11, 11]" in start(2, FORK).out
    assert start(2).out == "2\n"  # not twice
    assert len(remembered(programs).crashes) == 3


def test_a_live_process_is_left_alone(start, programs) -> None:
    """Its file is still its own when another process of the same program has started and ended."""
    inner = "import subprocess; subprocess.run([sys.executable, sys.argv[0], sys.argv[1], 'pass']); module.segv()"
    assert start(2, inner).signal == signal.SIGSEGV
    assert len(remembered(programs).crashes) == 1


def test_command(start, programs) -> None:
    """It shows them, and forgets them when it is told to."""
    start(1)
    start(2, SEGV)
    start(2, SEGV)
    shown = programs.call("-m", "midflight", "crashes").out
    assert str(programs.root / "program.py") in shown
    assert shown.count("crashing version 1") == 2
    assert "SIGSEGV at address 0x8" in shown
    assert "write_wild (crashing2-source.c:" in shown
    assert "forgotten" in programs.call("-m", "midflight", "crashes", "--clear").out
    assert programs.call("-m", "midflight", "crashes").out == "no version has crashed a program\n"
    assert start(2).out == "2\n"


# ---- the place -------------------------------------------------------------------------------------------------------


def test_files_are_private_and_go(start, programs) -> None:
    """0700 and 0600; no file of a run stays once it has been read."""
    start(1, SEGV)
    paths = [path for path in programs.state.rglob("*") if "crashes" in str(path)]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
    remembered(programs)
    assert list(programs.state.rglob(f"*{history.RUN}")) == []


DAMAGES = {
    "empty": b"",
    "short": b"x" * 100,
    "noise": bytes(range(256)) * 400,
    "large": b"\0" * (4 << 20),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [history.RUN, "history.json"])
def test_damaged_files(start, programs, damage, suffix) -> None:
    """They count as nothing."""
    start(1, SEGV)
    run = next(programs.state.rglob(f"*{history.RUN}"))
    path = run if suffix == history.RUN else run.with_name(suffix)
    path.write_bytes(DAMAGES[damage])
    assert start(1).out == "1\n"
    assert start(1).out == "1\n"


@pytest.mark.parametrize("position", range(0, 640, 8))
def test_every_word_of_a_record_may_be_wrong(start_once, position) -> None:
    """Nothing that a record says is taken for granted."""
    directory, data = start_once
    (directory / f"x{history.RUN}").write_bytes(data[:position] + b"\xff" * 8 + data[position + 8 :])
    (directory / f"x{history.RUN}").chmod(0o600)
    found = history.History()
    history.take_in(directory, found)
    assert len(found.crashes) <= 1


@pytest.fixture(scope="module")
def start_once(tmp_path_factory, crashing):
    """A directory, and the bytes of the record of a crash."""
    root = tmp_path_factory.mktemp("record")
    programs = Programs(root)
    assert programs.run(LOAD, crashing.make(4), SEGV).signal == signal.SIGSEGV
    run = next(programs.state.rglob(f"*{history.RUN}"))
    directory = root / "directory"
    directory.mkdir()
    return directory, run.read_bytes()


@pytest.mark.parametrize("kind", ["file", "link", "open to all"])
def test_a_place_that_can_t_be_used(start, programs, kind) -> None:
    """The module is loaded all the same, and the log says that nothing is recorded."""
    place = programs.state / "midflight" / "crashes"
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("")
    elif kind == "link":
        place.symlink_to(programs.root)
    else:
        place.mkdir()
        place.chmod(0o777)
    told = start(1)
    assert told.out == "1\n"
    assert "crashes aren't recorded" in told.err


def test_bounded(start, programs) -> None:
    """Many versions and crashes leave a small file."""
    for version in range(1, 8):
        start(version, SEGV)
    (past,) = remembered(programs).modules.values()
    assert len(past.versions) == history.MOST_VERSIONS
