"""What a version's crash, hang, exit or exception does to the program where no probe has kept it out.

A probe (tests/probe/test_matrix.py) refuses what happens in constructors, checks, destructors and threads of their own.
Here it is switched off, because it can't know what a version does with the program's data, or at a call that no check
makes.  With ``on_crash="raise"``, and the version before to go back to:

================ =================== ==================== ==================== ==================== ==================
.                constructor         first call           1,000th call         unload               thread of its own
================ =================== ==================== ==================== ==================== ==================
crash, overflow  swap is refused     call raises, back    call raises, back    logged, goes on      program ends
C++ exception    swap is refused     call raises, stays   call raises, stays   logged, goes on      program ends
hang             swap waits          call waits           call waits           swap waits           version stays
exit             program ends        program ends         program ends         program ends         program ends
================ =================== ==================== ==================== ==================== ==================

Whoever waits, waits alone: other threads call the module meanwhile.  Without the guard a crash ends the program by its
signal, in every place.  Would catch: a cell that is another than this page says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Workshop

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <pthread.h>
#include <stdexcept>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int *volatile nowhere;
static volatile int bottomless = 1;
static pthread_t thread;

static bool is(const char *name, const char *value)
{
    const char *found = getenv(name);
    return found != nullptr && strcmp(found, value) == 0;
}

static int overflow(volatile int depth)
{
    volatile char room[4096];
    room[0] = (char)depth;
    return bottomless ? overflow(depth + 1) + room[0] : 0;
}

static void hang()
{
    if (write(atoi(getenv("HANGS")), "x", 1) == 1)
        for (;;) pause();
}

static void at(const char *place)
{
    if (VERSION == 1 || !is("PLACE", place)) return;
    if (is("DEED", "crash")) *nowhere = 1;
    if (is("DEED", "overflow")) overflow(0);
    if (is("DEED", "exception")) throw std::runtime_error("no luck");
    if (is("DEED", "hang")) hang();
    if (is("DEED", "exit")) exit(3);
}

static void *run(void *unused) { at("thread of its own"); return unused; }
__attribute__((constructor)) static void begin() { at("constructor"); }
__attribute__((destructor)) static void end() { at("unload"); }

extern "C" {
int whoami(void) { return VERSION; }
int call(void)
{
    static int calls;
    calls++;
    if (calls == 1) at("first call");
    if (calls == 1000) at("1,000th call");
    return calls;
}
void start(void) { pthread_create(&thread, nullptr, run, nullptr); }
void join(void) { pthread_join(thread, nullptr); }
}
"""

PROGRAM = """
import logging, threading
logging.basicConfig(level="ERROR", stream=sys.stdout, format="%(message)s")
first, second, guard = sys.argv[1:]
place, hangs = os.environ["PLACE"], os.environ["DEED"] == "hang"
module = midflight.load(first, name="calc", on_crash=guard)
reading, writing = os.pipe()
os.environ["HANGS"] = str(writing)

def act():
    try:
        midflight.swap(module, second, probe=False, carry="fresh")
        if "call" in place:
            for _ in range(1000):
                module.call()
        elif place == "unload":
            midflight.swap(module, first, probe=False, carry="fresh")
        elif place == "thread of its own":
            module.start()
            if not hangs:
                module.join()
    except midflight.MidflightError as error:
        print(type(error).__name__, error, flush=True)

acting = threading.Thread(target=act, daemon=True)
acting.start()
if hangs:
    os.read(reading, 1)
else:
    acting.join()
print("is", module.whoami(), flush=True)
if hangs and place in {"first call", "1,000th call", "thread of its own"}:
    acting.join(0 if "call" in place else None)
    midflight.swap(module, first, probe=False, carry="fresh")
    print("is", module.whoami(), midflight.versions(module)[1].status, flush=True)
os._exit(0)
"""
REFUSED, BACK, LOGGED, STAYS = "ConstructorError", "ModuleCrashed", "a destructor crashed", "NativeExceptionError"

OUTCOMES = {
    ("crash", "constructor"): (REFUSED, "is 1"),
    ("crash", "first call"): (BACK, "is 1"),
    ("crash", "1,000th call"): (BACK, "is 1"),
    ("crash", "unload"): (LOGGED, "is 1"),
    ("crash", "thread of its own"): "signal 11",
    ("overflow", "constructor"): (REFUSED, "is 1"),
    ("overflow", "first call"): (BACK, "is 1"),
    ("overflow", "1,000th call"): (BACK, "is 1"),
    ("overflow", "unload"): (LOGGED, "is 1"),
    ("overflow", "thread of its own"): "signal 11",
    ("exception", "constructor"): (REFUSED, "no luck", "is 1"),
    ("exception", "first call"): (STAYS, "no luck", "is 2"),
    ("exception", "1,000th call"): (STAYS, "no luck", "is 2"),
    ("exception", "unload"): (LOGGED, "is 1"),
    ("exception", "thread of its own"): "signal 6",
    ("hang", "constructor"): ("is 1",),
    ("hang", "first call"): ("is 2", "is 1 draining"),
    ("hang", "1,000th call"): ("is 2", "is 1 draining"),
    ("hang", "unload"): ("is 1",),
    ("hang", "thread of its own"): ("is 2", "is 1 resident"),
    ("exit", "constructor"): "status 3",
    ("exit", "first call"): "status 3",
    ("exit", "1,000th call"): "status 3",
    ("exit", "unload"): "status 3",
    ("exit", "thread of its own"): "status 3",
}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A version that does no harm, and one that does what its environment says."""
    shop = Workshop(tmp_path_factory.mktemp("matrix"))
    return [
        shop.library(f"calc{version}", SOURCE, f"-DVERSION={version}", "-pthread", suffix=".cc") for version in (1, 2)
    ]


@pytest.mark.parametrize(("deed", "place"), OUTCOMES)
def test_with_the_guard(programs, libraries, monkeypatch, deed: str, place: str) -> None:
    """The program goes on, or ends as the table says."""
    monkeypatch.setenv("DEED", deed)
    monkeypatch.setenv("PLACE", place)
    ended = programs.run(PROGRAM, *libraries, "raise")
    outcome = OUTCOMES[deed, place]
    if isinstance(outcome, str):
        assert outcome in {f"signal {ended.signal}", f"status {ended.status}"}, ended
        assert "is" not in ended.out.split()
    else:
        assert (ended.signal, ended.status) == (0, 0), ended
        words = ended.out.split()
        assert all(word in ended.out for word in outcome), ended
        assert words.count("is") == sum(word.startswith("is ") for word in outcome)


@pytest.mark.parametrize("place", ["constructor", "first call", "1,000th call", "unload", "thread of its own"])
@pytest.mark.parametrize("deed", ["crash", "overflow"])
def test_without_the_guard(programs, libraries, monkeypatch, deed: str, place: str) -> None:
    """A crash ends the program by its signal, as it would without midflight."""
    monkeypatch.setenv("DEED", deed)
    monkeypatch.setenv("PLACE", place)
    ended = programs.run(PROGRAM, *libraries, "end")
    assert ended.signal == 11, ended
