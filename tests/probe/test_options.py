"""Which swaps are probed, with what limits, and in what order.

Catches: a default that doesn't probe, an option that is forgotten on its way, bytes that are probed again and again,
a transaction that loads something before all of it is probed.
"""

from __future__ import annotations

import ctypes
import os
import threading

import pytest

import midflight
from tests.probe.conftest import Calc

CRASHES = "static int *volatile nowhere; int midflight_check_it(void) { return *nowhere; }"


@pytest.fixture
def second(calc: Calc):
    return calc.library("second", "int second(void) { return 2; }")


def test_swaps_and_first_loads_are_probed(calc: Calc, second):
    assert "probe" in calc.swap(second).stages
    with pytest.raises(midflight.ProbeError):
        midflight.load(calc.library("crashes", CRASHES))
    midflight.load(calc.library("crashes", CRASHES), probe=False)


def test_the_environment_turns_the_default_off(calc: Calc, second, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MIDFLIGHT_PROBE", "off")
    assert "probe" not in calc.swap(second).stages
    midflight.load(calc.library("crashes", CRASHES))
    assert "probe" in calc.swap(calc.library("third", "int third(void) { return 3; }"), probe=True).stages


def test_a_first_load_is_probed_if_asked_for(workshop):
    calc = Calc(workshop)
    for probe in (True, midflight.Probe(timeout=20)):
        with pytest.raises(midflight.ProbeError) as caught:
            midflight.load(calc.library("crashes", CRASHES), probe=probe)
        assert caught.value.stage == "probe"
        assert caught.value.kind == "crash"
    assert midflight.load(calc.library("good", "int good(void) { return 0; }"), probe=True).good() == 0


def test_a_module_says_it_for_all_its_swaps_and_a_swap_for_itself(workshop):
    calc = Calc(workshop, probe=False)
    crashes = calc.library("crashes", CRASHES)
    assert "probe" not in calc.swap(crashes).stages
    calc.refused(calc.library("crashes-too", CRASHES + "int x(void) { return 1; }"), probe=True)


def test_going_back_isnt_probed(calc: Calc, second):
    calc.swap(second)

    @midflight.check(calc.module)
    def never(_v):
        raise AssertionError

    assert "probe" not in midflight.rollback(calc.module).stages


def test_bytes_that_have_passed_arent_probed_again(calc: Calc, tmp_path, second):
    log = tmp_path / "log"

    @midflight.check(calc.module)
    def counts(_v):
        with log.open("a") as file:
            file.write("x")

    third = calc.library("third", "int third(void) { return 3; }")
    for library in (second, third, second, third):
        calc.swap(library)
    assert log.read_text() == "xx"

    @midflight.check(calc.module)
    def another(_v):
        pass

    calc.swap(second)
    assert log.read_text() == "xxx"


def test_bytes_that_have_failed_are_probed_again(calc: Calc, tmp_path, second):
    """What was in the way may be gone."""
    allowed = tmp_path / "allowed"

    @midflight.check(calc.module)
    def waits(_v):
        assert allowed.exists()

    calc.refused(second)
    allowed.touch()
    calc.swap(second)


def test_a_transaction_probes_all_before_it_loads_anything(workshop):
    one, two = Calc(workshop), Calc(workshop)
    text = '__attribute__((constructor)) static void begin(void) {{ setenv("{name}", "loaded", 1); }}'
    loads = one.library("loads", "#include <stdlib.h>\n" + text.format(name="MIDFLIGHT_TEST_LOADED"))
    crashes = two.library("crashes", CRASHES)
    with pytest.raises(midflight.ProbeError), midflight.transaction() as both:
        both.swap(one.module, loads)
        both.swap(two.module, crashes)
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    assert libc.getenv(b"MIDFLIGHT_TEST_LOADED") is None
    assert len(midflight.versions(one.module)) == len(midflight.versions(two.module)) == 1


def test_the_report_of_a_refusal_reaches_subscribers(calc: Calc):
    told = []
    end = midflight.subscribe(told.append)
    try:
        calc.refused(calc.library("crashes", CRASHES))
    finally:
        end()
    (refused,) = [event for event in told if isinstance(event, midflight.Refused)]
    assert isinstance(refused.error, midflight.ProbeError)


def test_calls_go_on_during_a_probe(calc: Calc, tmp_path):
    """The check ends when a call has been made meanwhile."""
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    os.mkfifo(begun)
    os.mkfifo(go_on)

    @midflight.check(calc.module)
    def waits(_v):
        with begun.open("w"):
            pass
        with go_on.open():
            pass

    swapping = threading.Thread(target=calc.swap, args=(calc.library("second", "int second(void) { return 2; }"),))
    swapping.start()
    with begun.open():
        pass
    assert calc.module.add(20, 1) == 21
    with go_on.open("w"):
        pass
    swapping.join()


# ---- limits ---------------------------------------------------------------------------------------------------------

EATS = """
#include <stdlib.h>
#include <string.h>
static void eat(size_t size)
{
    volatile char *room = malloc(size);
    for (size_t i = 0; i < size; i += 4096) room[i] = 1;
    free((void *)room);
}
"""


@pytest.mark.parametrize(
    "text",
    [
        "__attribute__((constructor)) static void begin(void) { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }",
        "int midflight_check_it(void) { eat(200 << 20); return 0; }",  # it has given it back when somebody looks
    ],
)
def test_memory_beyond_the_limit_refuses(calc: Calc, text: str):
    error = calc.refused(calc.library("eats", EATS + text), probe=midflight.Probe(memory=64 << 20))
    assert error.kind == "memory"
    assert "took more memory than the 67,108,864 bytes" in str(error)


def test_memory_within_the_limit_is_fine(calc: Calc):
    library = calc.library("eats", EATS + "int midflight_check_it(void) { eat(20 << 20); return 0; }")
    calc.swap(library, probe=midflight.Probe(memory=64 << 20))


def test_what_it_starts_counts_too(calc: Calc):
    text = """
        #include <sys/wait.h>
        #include <unistd.h>
        int midflight_check_it(void)
        {
            int child = fork();
            if (child == 0) for (;;) memset(malloc(1 << 20), 1, 1 << 20);
            waitpid(child, NULL, 0);
            return 0;
        }
        """
    error = calc.refused(calc.library("eats", EATS + text), probe=midflight.Probe(memory=64 << 20))
    assert error.kind == "memory"


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": "long"},
        {"memory": 0},
        {"memory": 1.5},
        {"memory": True},
        {"provides": {"level": 7}},
        {"provides": [len]},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(midflight.SourceError):
        midflight.Probe(**options)


def test_stand_ins_that_mean_nothing_are_refused(calc: Calc):
    with pytest.raises(midflight.SourceError, match="a dictionary of functions"):
        midflight.check(calc.module, provides={"level": None})


def test_a_library_beside_the_candidate_is_found_and_counts(calc: Calc, workshop):
    """It is loaded in the probe from its own place; when it changes, the candidate is probed anew."""
    beside = workshop.library("libbeside", "int beside(void) { return 1; }")
    text = "int beside(void); int midflight_check_beside(void) { return beside() != 1; }"
    link = (f"-L{workshop.root}", "-lbeside", "-Wl,-rpath,$ORIGIN")
    second = calc.library("second", text, *link)
    calc.swap(second)
    calc.swap(calc.library("third", "int third(void) { return 3; }"))
    beside.unlink()
    workshop.library("libbeside", "int beside(void) { return 2; }")
    error = calc.refused(second)
    assert "midflight_check_beside" in str(error)
