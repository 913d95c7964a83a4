"""A program that crashes outside of any module: ``outside.py HELPER LIBRARY HOW SETUP PLACE``.

HOW is what it does with midflight: nothing ("without"), or to load LIBRARY with that ``on_crash=``.  Everything else is
the same.
"""

import ctypes
import faulthandler
import os
import resource
import signal
import sys
import threading

HELPER, LIBRARY, HOW, SETUP, PLACE = sys.argv[1:]
helper = ctypes.CDLL(HELPER)


def say(*words: object) -> None:
    """Print at once."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def python_handlers() -> None:
    """Let Python deal with what is sent."""

    def handle(number: int, _frame: object) -> None:
        os.write(1, b"python's handler of %d\n" % number)

    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
        signal.signal(number, handle)


def set_up(name: str) -> None:
    """Install what the program has of its own."""
    if name == "faulthandler":
        faulthandler.enable()
    elif name == "python":
        python_handlers()
    elif name:
        getattr(helper, f"set_{name}")()


def use_midflight() -> None:
    """Load a module, and call it in this thread and in another one."""
    if HOW == "without":
        return
    import midflight

    module = midflight.load(LIBRARY, on_crash=HOW)
    assert module.add(1, 2) == 3
    other = threading.Thread(target=module.add, args=(1, 2))
    other.start()
    other.join()
    set_up_thread.append(lambda: module.add(1, 2))


set_up_thread: list = [lambda: None]


def in_thread(crash) -> None:
    """Crash in a thread of Python's, which has called the module before."""

    def run() -> None:
        set_up_thread[-1]()
        crash()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def in_child(crash) -> None:
    """Crash in a child, and say how it has ended."""
    pid = os.fork()
    if pid == 0:
        crash()
        os._exit(3)
    say("child", os.waitpid(pid, 0)[1])


def send(number: int) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


CRASHES = {
    "read": helper.read_wild,
    "divide": helper.divide,
    "trap": helper.trap,
    "stop": helper.stop,
    "raise": helper.raise_bus,
    "fall": lambda: helper.fall(1),
    "send": lambda: send(signal.SIGSEGV),
    "queue": lambda: signal.pthread_kill(threading.get_ident(), signal.SIGFPE),
    "thread": lambda: in_thread(helper.read_wild),
    "thread falls": lambda: in_thread(lambda: helper.fall(1)),
    "thread stops": lambda: in_thread(helper.stop),
    "C thread": lambda: helper.run_in_thread(helper.read_wild),
    "child": lambda: in_child(helper.read_wild),
    "child's thread": lambda: in_child(lambda: in_thread(helper.read_wild)),
    "child falls": lambda: in_child(lambda: helper.fall(1)),
    "child stops": lambda: in_child(helper.stop),
    "survive": lambda: say("survived", helper.survive()),
    "survive in a thread": lambda: in_thread(lambda: say("survived", helper.survive())),
    "nothing": lambda: None,
}

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
later = SETUP.endswith(" later")
set_up("" if later else SETUP)
use_midflight()
set_up(SETUP.removesuffix(" later") if later else "")
say("crashing")
CRASHES[PLACE]()
say("done")
