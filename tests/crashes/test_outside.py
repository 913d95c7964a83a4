"""A crash that isn't a guarded function's ends the program exactly as it would without midflight.

Would catch: a signal that is swallowed or comes as another one, a core dump or faulthandler's words that are missing, a
handler of the program's that isn't asked, or is asked otherwise; a program that hangs instead of ending.
"""

from __future__ import annotations

import signal

import pytest

GUARDED = "module = midflight.load(sys.argv[1], on_crash='raise')\n"

PLACES = {
    "ctypes": "import ctypes; ctypes.string_at(8)",
    "thread": "import ctypes, threading; t = threading.Thread(target=ctypes.string_at, args=(8,)); t.start(); t.join()",
    "callback": "import ctypes; module.call_back(lambda _: ctypes.string_at(8) and 1, 1)",
    "thread of the library": "module.start_thread()",
    "in malloc": "module.double_free()",
    "in printf": "module.print_wild()",
    "over the guard's own words": "module.smash(60)",
    "abort": "os.abort()",
    "sent": "os.kill(os.getpid(), 11); import time; time.sleep(30)",
    "sent to a thread in a call": """
import threading
def send(_):
    signal.pthread_kill(threading.main_thread().ident, signal.SIGFPE)
    return 1
import signal; module.call_back(send, 1)
""",
}
SIGNALS = {"abort": 6, "in malloc": 6, "sent to a thread in a call": 8}


@pytest.mark.parametrize("place", PLACES)
def test_ends_by_the_same_signal(crashing, programs, place) -> None:
    """With what faulthandler says, and a core dump where the system makes one."""
    wanted = SIGNALS.get(place, 11)
    told = programs.run(GUARDED + PLACES[place], crashing.make(), options=("-X", "faulthandler"))
    assert told.signal == wanted, told.err
    assert "Fatal Python error" in told.err
    assert programs.run(GUARDED + PLACES[place], crashing.make()).signal == wanted


DUMPS = """
import ctypes, resource, signal
pid = os.fork()
if pid == 0:
    resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)
    {load}
    {crash}
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


@pytest.mark.parametrize("crash", ["ctypes.string_at(8)", "os.abort()", "os.kill(os.getpid(), 8)"])
def test_core_dump(crashing, programs, crash) -> None:
    """The status that a parent gets is the same to the bit, the one that says of a core dump too."""
    library = crashing.make()
    with_us = programs.run(DUMPS.format(load="midflight.load(sys.argv[1], on_crash='raise')", crash=crash), library)
    without = programs.run(DUMPS.format(load="", crash=crash), library)
    assert with_us.out == without.out
    assert int(with_us.out) & 0x7F != 0


FAULTHANDLER_LATER = """
import ctypes, faulthandler
faulthandler.enable()
{again}
ctypes.string_at(8)
"""


@pytest.mark.parametrize("again", ["", "midflight.swap(module, sys.argv[2])", "faulthandler.disable()"])
def test_faulthandler_that_comes_later(crashing, programs, again) -> None:
    """It speaks once, also when the next swap has put the guard before it, and not when it is off again."""
    text = GUARDED + FAULTHANDLER_LATER.format(again=again)
    told = programs.run(text, crashing.make(1), crashing.make(2))
    assert told.signal == signal.SIGSEGV
    assert told.err.count("Fatal Python error") == ("disable" not in again)


def test_guard_before_a_later_faulthandler(crashing, programs) -> None:
    """From the next swap on."""
    text = """
import faulthandler
faulthandler.enable()
midflight.swap(module, sys.argv[2])
try:
    module.segv()
except midflight.ModuleCrashed:
    print(module.whoami())
"""
    told = programs.run(GUARDED + text, crashing.make(1), crashing.make(2))
    assert (told.out, told.signal) == ("1\n", 0), told.err
    assert "Fatal" not in told.err


def test_python_signal_handler(crashing, programs) -> None:
    """A handler in Python, set before or after, runs for a signal that was sent."""
    text = """
import signal
def handle(number, frame): print("handled", number, flush=True)
signal.signal(signal.SIGFPE, handle)
module = midflight.load(sys.argv[1], on_crash='raise')
os.kill(os.getpid(), signal.SIGFPE)
try:
    module.fpe(1)
except midflight.ModuleCrashed as error:
    print(error.signal)
signal.signal(signal.SIGILL, handle)
os.kill(os.getpid(), signal.SIGILL)
"""
    told = programs.run(text, crashing.make())
    assert told.out == "handled 8\n8\nhandled 4\n", told.err


C_HANDLER = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void handle(int number, siginfo_t *info, void *context)
{
    sigset_t mask;
    char text[100];
    (void)context;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    void *address = number == SIGSEGV ? info->si_addr : NULL;
    int size = snprintf(text, sizeof text, "%d code %d address %p usr1 %d own %d\\n", number, info->si_code, address,
                        sigismember(&mask, SIGUSR1), sigismember(&mask, number));
    if (write(1, text, size) != size)
        abort();
    _exit(7);
}
void set(int number, int nodefer)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | (nodefer ? SA_NODEFER : 0)};
    action.sa_sigaction = handle;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(number, &action, NULL);
}
"""


@pytest.mark.parametrize("nodefer", [0, 1])
@pytest.mark.parametrize(("number", "crash"), [(11, "ctypes.string_at(8)"), (8, "os.kill(os.getpid(), 8)")])
def test_handler_in_c(crashing, programs, workshop, nodefer, number, crash) -> None:
    """It is asked with the siginfo and the mask that the kernel would have given it."""
    handler = workshop.library("handler", C_HANDLER)
    text = f"""
import ctypes
ctypes.CDLL(sys.argv[2]).set({number}, {nodefer})
if sys.argv[3] == "with":
    midflight.load(sys.argv[1], on_crash='raise')
{crash}
"""
    library = crashing.make()
    with_us = programs.run(text, library, handler, "with")
    without = programs.run(text, library, handler, "without")
    assert with_us.out == without.out != ""
    assert with_us.status == without.status == 7


def test_default_is_to_end(crashing, programs) -> None:
    """Without on_crash= nothing is raised; `midflight run` raises."""
    text = "midflight.load(sys.argv[1]).segv()"
    library = crashing.make()
    assert programs.run(text, library).signal == signal.SIGSEGV
    run = programs.call("-m", "midflight", "run", programs.root / "program.py", library)
    assert "ModuleCrashed" in run.err
    assert (run.signal, run.status) == (0, 1)
