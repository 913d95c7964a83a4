"""Candidates that do what they can to the process that probes them, and to what it says.

Catches: an answer that is believed unchecked, a length that makes the program allocate without end, text that could
control a terminal, a program that hangs because the connection is closed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec
import pytest

import midflight
from midflight.probing import protocol
from midflight.probing.protocol import Incoming, ProtocolBrokenError

if TYPE_CHECKING:
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
    assert "send what makes no sense" in str(error)


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


def test_one_that_closes_all_descriptors_is_refused(calc: Calc):
    text = """
        #include <unistd.h>
        __attribute__((constructor)) static void begin(void) { for (int i = 0; i < 1000; i++) close(i); }
        """
    error = calc.refused(calc.library("closes", text), probe=midflight.Probe(timeout=2.0))
    assert error.kind in {"exit", "crash", "hang"}


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
