"""The first version: probed when the machine sees its bytes for the first time.

Catches: a library that ends the program when it is loaded, a probe of bytes that have passed, a verdict that somebody
else has put there and is believed, a process that is kept for swaps that may never come; a library that loads well
without a probe, and is refused because of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import midflight
from midflight.probing import passed
from midflight.probing import pool as pools
from midflight.probing.pool import Pool
from tests.probe.conftest import SOURCE

if TYPE_CHECKING:
    from pathlib import Path

CRASHES = "__attribute__((constructor)) static void begin(void) { *(volatile int *)16 = 1; }\n"
LOAD = """
import json, sys, midflight
m = midflight.load(sys.argv[1])
print(json.dumps([m.add(2, 2), "midflight.probing.process" in sys.modules]))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's memory for each test; return where its verdicts lie."""
    monkeypatch.setenv("MIDFLIGHT_CACHE_DIR", str(tmp_path / "cache"))
    passed.forget()
    return tmp_path / "cache" / "probed"


def _started_a_process(library: Path) -> bool:
    """Load a library in a new program; return whether that tried it first."""
    run = subprocess.run([sys.executable, "-c", LOAD, library], capture_output=True, text=True, check=True)
    answer, probed = json.loads(run.stdout)
    assert answer == 4
    return bool(probed)


@pytest.mark.parametrize(("body", "kind"), [("*(volatile int *)16 = 1;", "crash"), ("_exit(7);", "exit")])
@pytest.mark.parametrize("ready", [True, False], ids=["library", "source"])
def test_what_would_end_the_program_is_refused(workshop, body: str, kind: str, ready: bool):
    """From a library that is there, and from a source that is built; this program lives on."""
    text = f"void _exit(int);\n__attribute__((constructor)) static void begin(void) {{ {body} }}\n{SOURCE}"
    source = workshop.library("bad", text) if ready else workshop.write("bad.c", text)
    with pytest.raises(midflight.ProbeError) as caught:
        midflight.load(source)
    error = caught.value
    assert (error.kind, error.stage) == (kind, "probe")
    assert str(error).startswith("bad: the library ")
    assert "while it was loaded, in a constructor" in str(error)
    assert "nothing was loaded; " in str(error)


def test_a_hang_is_refused(workshop):
    text = f'{SOURCE} __attribute__((constructor)) static void begin(void) {{ for (;;) __asm__ volatile(""); }}'
    with pytest.raises(midflight.ProbeError) as caught:
        midflight.load(workshop.library("bad", text), probe=midflight.Probe(timeout=1.0))
    assert caught.value.kind == "hang"


def test_no_file_that_is_handed_to_the_command_line_ends_it(workshop):
    """`midflight call` and `repl`, and a program under `midflight run`, refuse it."""
    library = workshop.library("bad", f"{CRASHES}{SOURCE}")
    program = workshop.write("program.py", f"import midflight\nmidflight.load({str(library)!r})\n")
    for words in (["call", library, "add", "1", "2"], ["repl", library], ["run", program]):
        command = [sys.executable, "-m", "midflight", *map(str, words)]
        run = subprocess.run(command, input="", capture_output=True, text=True, check=False)
        assert run.returncode > 0
        said = " ".join((run.stdout + run.stderr).split())
        assert "the library crashed while it was loaded, in a constructor: SIGSEGV at address 0x10" in said


def test_bytes_that_have_passed_on_this_machine_arent_tried_again(workshop):
    library = workshop.library("good", SOURCE)
    assert _started_a_process(library)
    assert not _started_a_process(library)
    other = workshop.library("good", f"{SOURCE} int more(void) {{ return 1; }}")
    assert _started_a_process(other)


def test_bytes_that_were_refused_are_tried_again(workshop):
    library = workshop.library("bad", f"{CRASHES}{SOURCE}")
    for _ in range(2):
        with pytest.raises(midflight.ProbeError):
            midflight.load(library)


def test_no_process_is_kept_for_swaps_that_may_never_come(workshop, monkeypatch):
    made = Pool()
    monkeypatch.setattr(pools, "pool", made)
    midflight.load(workshop.library("good", SOURCE))
    made.settle()
    assert made._ready is None


def test_what_only_one_process_can_have_is_free_when_the_program_loads_it(workshop):
    """Also where a thread of the library's keeps it from being unloaded in the probe."""
    text = f"""
        #include <fcntl.h>
        #include <pthread.h>
        #include <sys/file.h>
        #include <unistd.h>
        int locked;
        static void *serve(void *data) {{ for (;;) pause(); return data; }}
        __attribute__((constructor)) static void begin(void)
        {{
            pthread_t thread;
            locked = flock(open("{workshop.root}/lock", O_CREAT | O_RDWR, 0600), LOCK_EX | LOCK_NB) == 0;
            pthread_create(&thread, NULL, serve, NULL);
        }}
        """
    module = midflight.load(workshop.library("locking", f"{text}{SOURCE}", "-pthread"))
    assert midflight.variables(module)["locked"] == 1


def test_a_process_gets_ready_while_the_source_is_built(workshop, monkeypatch):
    """Not while a library that is there is read, and not where nothing is built."""
    made = Pool()
    monkeypatch.setattr(pools, "pool", made)
    warmed = []
    monkeypatch.setattr(made, "warm_up", lambda: warmed.append(made))
    source = workshop.write("good.c", SOURCE)
    midflight.load(source, probe=False)
    midflight.load(workshop.library("good", SOURCE))
    midflight.load(source)
    assert not warmed
    workshop.write("good.c", f"{SOURCE} int more(void) {{ return 1; }}")
    midflight.load(source)
    assert warmed


def test_what_another_user_has_put_there_isnt_believed(workshop, cache):
    library = workshop.library("good", SOURCE)
    assert _started_a_process(library)
    (verdict,) = cache.iterdir()
    os.chown(verdict, 12345, 12345)
    assert _started_a_process(library)


def test_a_damaged_verdict_isnt_believed(workshop, cache):
    library = workshop.library("good", SOURCE)
    assert _started_a_process(library)
    (verdict,) = cache.iterdir()
    verdict.write_bytes(b"\xff{")
    assert _started_a_process(library)
    assert not _started_a_process(library)


def test_it_isnt_tried_without_being_asked_where_zeros_may_be_what_it_stumbles_over(workshop):
    source = "int *limits(void); int first; __attribute__((constructor)) static void begin(void) { first = *limits(); }"
    library = workshop.library("needing", f"{source}\n{SOURCE}")
    limits = ctypes.c_int(5)
    provides = {"limits": lambda: ctypes.addressof(limits)}
    with pytest.raises(midflight.ProbeError):
        midflight.load(library, provides=provides, probe=True)
    assert midflight.variables(midflight.load(library, provides=provides))["first"] == 5


def test_it_isnt_tried_without_being_asked_where_it_is_to_run_in_a_process_of_its_own(workshop, cache):
    module = midflight.load(workshop.library("good", SOURCE), lane="worker")
    assert module.add(2, 2) == 4
    assert not cache.exists()
    with pytest.raises(midflight.ProbeError):
        midflight.load(workshop.library("bad", f"{CRASHES}{SOURCE}"), lane="worker", probe=True)


# ---- what only the program has --------------------------------------------------------------------------------------


def test_what_the_program_has_loaded_itself_may_be_used(workshop, caplog):
    """The probe doesn't have it; whether that will do is the loader's to say, in a load and in a swap."""
    caplog.set_level("INFO", "midflight")
    own = workshop.library("libown", "int own(void) { return 30; }")
    using = f"int own(void); int asks(void) {{ return own(); }} {SOURCE}"
    first, second = workshop.library("first", using), workshop.library("second", f"{using} int x(void) {{ return 1; }}")
    with pytest.raises(midflight.UnresolvedSymbolError) as caught:
        midflight.load(first)
    assert caught.value.stage == "load"
    ctypes.CDLL(str(own), ctypes.RTLD_GLOBAL)
    module = midflight.load(first, compat="any")
    assert module.asks() == 30
    assert "couldn't be probed: it can't be loaded by itself" in caplog.text
    report = midflight.swap(module, second)
    assert any("it can't be loaded by itself" in warning for warning in report.warnings)
    with pytest.raises(midflight.UnresolvedSymbolError) as caught:
        midflight.swap(module, first, probe=True)
    assert caught.value.stage == "probe"


def test_a_program_that_cant_start_an_interpreter_loads_without_a_word(workshop, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(pools, "pool", Pool())
    assert midflight.load(workshop.library("good", SOURCE)).add(2, 2) == 4
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
