"""Candidates that do what they can to the process that probes them, and to what it says.

Catches: an answer that is believed unchecked, a length that makes the program allocate without end, text that could
control a terminal, a program that waits because the connection is closed or signals are blocked, a daemon that is left.
"""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

import msgspec
import pytest

import midflight
from midflight.probing import protocol
from midflight.probing.pool import pool
from midflight.probing.protocol import Incoming, ProtocolBrokenError
from tests.probe.conftest import ended

if TYPE_CHECKING:
    from pathlib import Path

    from tests.probe.conftest import Calc

WRITES = """
#include <unistd.h>
__attribute__((constructor)) static void begin(void)
{{
    static const unsigned char said[] = {{{bytes}}};
    if (write(3, said, sizeof said) < 0) _exit(9);
}}
"""


def _writes(calc: Calc, data: bytes):
    return calc.library("writes", WRITES.format(bytes=", ".join(map(str, data))))


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\x00\x00\x00hello",
        b"\xff\xff\xff\xff",
        struct.pack("<I", 1) + b"\xc1",
        protocol.framed(msgspec.msgpack.encode({"type": "passed", "replies": 7})),
        protocol.framed(msgspec.msgpack.encode({"type": "another"})),
        protocol.framed(protocol.encode(protocol.Ready())) * 2,
    ],
)
def test_an_answer_that_is_none_refuses(calc: Calc, data: bytes):
    error = calc.refused(_writes(calc, data))
    assert error.kind == "crash"
    assert "sent what makes no sense" in str(error)


def test_more_or_fewer_replies_than_calls_refuse(calc: Calc):
    passed = protocol.Passed(replies=(protocol.Reply(1), protocol.Reply(2)))
    error = calc.refused(_writes(calc, protocol.framed(protocol.encode(passed))))
    assert error.kind == "crash"


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "check", "what": "x" * 5000},
        {"type": "check", "what": "x", "text": "x" * 70000},
        {"type": "passed", "warnings": ["x"] * 65},
        {"type": "crash", "what": "x", "backtrace": ["x"] * 65},
        {"type": "passed", "replies": [[{"a": 1}, "", [], ""]]},
        [[[[[[]]]]]],
    ],
)
def test_what_is_larger_than_agreed_isnt_taken(payload: object):
    with pytest.raises(ProtocolBrokenError):
        Incoming().add(protocol.framed(msgspec.msgpack.encode(payload)))


def test_an_answer_comes_in_any_pieces():
    incoming = Incoming()
    data = protocol.framed(protocol.encode(protocol.Passed(warnings=("one",))))
    assert [incoming.add(data[i : i + 1]) for i in range(len(data) - 1)] == [None] * (len(data) - 1)
    assert incoming.add(data[-1:]) == protocol.Passed(warnings=("one",))


def test_text_that_controls_a_terminal_is_made_harmless(calc: Calc):
    @midflight.check(calc.module)
    def speaks(_v):
        raise ValueError("\x1b[2J\x1b]0;gone\x07")

    error = calc.refused(calc.library("second", "int second(void) { return 2; }"))
    assert "\x1b" not in str(error)
    assert "\x07" not in error.text


def test_only_the_end_of_what_it_writes_is_kept(calc: Calc):
    text = """
        #include <stdio.h>
        #include <stdlib.h>
        int midflight_check_speaks(void)
        {
            for (int i = 0; i < 200000; i++) fprintf(stderr, "line %d\\n", i);
            abort();
        }
        """
    error = calc.refused(calc.library("speaks", text))
    assert "line 199999" in error.text
    assert len(error.text) < 10_000


CLOSES = """
#include <unistd.h>
__attribute__((constructor)) static void begin(void)
{{
    for (int i = {}; i < 1000; i++) close(i);
    {}
}}
"""


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("then", ["", "for (;;) pause();"], ids=["goes on", "waits"])
def test_one_that_closes_descriptors_is_refused_and_says_so(calc: Calc, first: int, then: str):
    """At once: no answer can come any more."""
    error = calc.refused(calc.library("closes", CLOSES.format(first, then)), probe=midflight.Probe(timeout=60.0))
    assert error.kind == "crash"
    assert "it closes descriptors that aren't its own" in str(error)


def test_one_that_takes_the_connections_place_is_refused(calc: Calc):
    """What the process says goes to a file of the candidate's then."""
    text = """
        #include <fcntl.h>
        #include <unistd.h>
        __attribute__((constructor)) static void begin(void) { dup2(open("/dev/null", O_RDWR), 3); }
        """
    error = calc.refused(calc.library("takes", text), probe=midflight.Probe(timeout=60.0))
    assert "it closes descriptors that aren't its own" in str(error)


def test_one_that_stops_itself_is_refused(calc: Calc):
    text = """
        #include <signal.h>
        __attribute__((constructor)) static void begin(void) { raise(SIGSTOP); }
        """
    error = calc.refused(calc.library("stops", text), probe=midflight.Probe(timeout=0.5))
    assert error.kind == "hang"


def test_one_that_ignores_signals_is_refused(calc: Calc):
    text = """
        #include <signal.h>
        #include <unistd.h>
        __attribute__((constructor)) static void begin(void)
        {
            for (int i = 1; i < 32; i++) signal(i, SIG_IGN);
            for (;;) pause();
        }
        """
    error = calc.refused(calc.library("deaf", text), probe=midflight.Probe(timeout=0.5))
    assert error.kind == "hang"


MASKS = """
    #include <signal.h>
    #include <unistd.h>
    static int *volatile nowhere;
    __attribute__((constructor)) static void begin(void)
    {{
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        {}
    }}
    """


def test_one_that_blocks_signals_is_refused(calc: Calc):
    """One that hangs can't say where; one that crashes is ended by the kernel."""
    hangs = calc.library("hangs", MASKS.format("for (;;) pause();"))
    assert calc.refused(hangs, probe=midflight.Probe(timeout=0.5)).kind == "hang"
    error = calc.refused(calc.library("crashes", MASKS.format("*nowhere = 1;")))
    assert (error.kind, error.signal) == ("crash", signal.SIGSEGV)


def test_one_that_blocks_signals_and_is_well_passes(calc: Calc):
    calc.swap(calc.library("blocks", MASKS.format("")))


@pytest.mark.parametrize("then", ["", "_exit(7);", "*nowhere = 1;"], ids=["passes", "exits", "crashes"])
def test_what_has_left_its_group_is_ended_too(calc: Calc, tmp_path: Path, then: str):
    """A daemon: a session of its own, and no parent that waits for it.  The process itself can't leave."""
    text = f"""
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>
        static int *volatile nowhere;
        int midflight_check_daemon(void)
        {{
            int ends[2], pid = 0;
            if (setsid() != -1 || setpgid(0, 0) != -1 || pipe(ends) != 0) return 1;
            if (fork() == 0) {{
                setsid();
                pid = fork();
                if (pid == 0) for (;;) pause();
                if (write(ends[1], &pid, sizeof pid) < 0) abort();
                _exit(0);
            }}
            if (read(ends[0], &pid, sizeof pid) != sizeof pid) return 2;
            FILE *file = fopen("{tmp_path}/pid", "w");
            fprintf(file, "%d", pid);
            fclose(file);
            {then}
            return 0;
        }}
        """
    library = calc.library("daemon", text)
    if then:
        assert calc.refused(library).kind in {"exit", "crash"}
    else:
        calc.swap(library)
    pool.settle()
    assert ended(int((tmp_path / "pid").read_text()))


def test_what_becomes_of_the_file_meanwhile_changes_nothing(calc: Calc):
    """What was probed is what is loaded: bytes that nobody can change."""
    good = calc.library("good", "int good(void) { return 1; }")
    bad = calc.library("bad", "int good(void) { __builtin_trap(); }")
    paths = [str(good), str(bad)]

    @midflight.check(calc.module)
    def exchanges(_v):
        import shutil

        shutil.copyfile(paths[1], paths[0])

    calc.swap(good)
    assert good.read_bytes() == bad.read_bytes()
    assert calc.module.good() == 1


def test_a_crash_that_spoils_its_own_note(calc: Calc):
    """All that both share is overwritten: numbers from there lead nowhere."""
    text = """
        #include <stdio.h>
        #include <string.h>
        #include <unistd.h>
        #include <sys/mman.h>
        int midflight_check_spoils(void)
        {
            char *note = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0);
            memset(note, 0xff, 8192);
            _exit(7);
        }
        """
    error = calc.refused(calc.library("spoils", text))
    assert error.kind == "exit"
    assert "with status 7" in str(error)
