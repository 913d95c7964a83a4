"""Every fact of FACTS.md about who is still inside when a library is closed: plain dlclose kills the process.

Would catch: code that is unloaded under a thread's feet, or that stays when the last one has left.
"""

from __future__ import annotations

import signal
import threading

import pytest

import midflight
from tests.hazards.conftest import CRASHES, GOODBYE, is_mapped, settled

THREADS_OF_ITS_OWN = "thread '"

# ---- threads inside -------------------------------------------------------------------------------------------------

STARTERS = {
    "pthread_create": """
#include <pthread.h>
static void *work(void *) { wait_for_end(); return nullptr; }
extern "C" int start() { pthread_t t; return pthread_create(&t, nullptr, work, nullptr) || pthread_detach(t); }
""",
    "thrd_create": """
#include <threads.h>
static int work(void *) { wait_for_end(); return 0; }
extern "C" int start()
{
    thrd_t t;
    return thrd_create(&t, work, nullptr) != thrd_success || thrd_detach(t) != thrd_success;
}
""",
    "std::thread": """
#include <thread>
extern "C" int start() { std::thread([] { wait_for_end(); }).detach(); return 0; }
""",
    "pthread_exit": """
#include <pthread.h>
static void *work(void *) { wait_for_end(); pthread_exit(nullptr); }
extern "C" int start() { pthread_t t; return pthread_create(&t, nullptr, work, nullptr) || pthread_detach(t); }
""",
}

STARTER = (
    GOODBYE
    + """
static int begun = -1, end = -1;
extern "C" void pipes(int a, int b) { begun = a; end = b; }
static void wait_for_end()
{
    char byte = 1;
    if (write(begun, &byte, 1) == 1)
        while (read(end, &byte, 1) != 1) { }
}
"""
)


@pytest.mark.parametrize("how", STARTERS)
def test_a_thread_that_the_library_started(workshop, plain, pipe, how):
    text = STARTER + STARTERS[how]
    paths = [workshop.library(f"t{n}", text + f"int version{n};", suffix=".cc") for n in (1, 2)]
    script = """
one = dlopen(arguments[0])
(begun_r, begun_w), (end_r, end_w) = os.pipe(), os.pipe()
one.pipes(begun_w, end_r); one.start(); os.read(begun_r, 1)
dlclose(one)
tasks = [t for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
os.write(end_w, b"xx")
while os.path.exists(f"/proc/self/task/{tasks[0]}"): pass
"""
    assert plain(script, paths[0]).code in CRASHES

    begun, end, goodbye = pipe(), pipe(), pipe()
    module = midflight.load(paths[0])
    module.pipes(begun.write_end, end.read_end)
    module.say_goodbye_to(goodbye.write_end)
    assert module.start() == 0
    begun.wait()
    old = midflight.swap(module, paths[1]).old
    assert old.status == "resident"
    assert old.held_by[0].startswith(THREADS_OF_ITS_OWN)
    assert is_mapped(old.path)
    end.send()
    goodbye.wait()
    assert settled(module, 1).status == "unloaded"


def test_a_call_in_flight(workshop, plain, pipe):
    text = STARTER + 'extern "C" int stay() { wait_for_end(); return 41; }'
    paths = [workshop.library(f"c{n}", text + f"int version{n};", suffix=".cc") for n in (1, 2)]
    script = """
one = dlopen(arguments[0])
(begun_r, begun_w), (end_r, end_w) = os.pipe(), os.pipe()
one.pipes(begun_w, end_r)
thread = threading.Thread(target=one.stay); thread.start(); os.read(begun_r, 1)
dlclose(one); os.write(end_w, b"x"); thread.join()
"""
    assert plain(script, paths[0]).code in CRASHES

    begun, end, goodbye, results = pipe(), pipe(), pipe(), []
    module = midflight.load(paths[0])
    module.pipes(begun.write_end, end.read_end)
    module.say_goodbye_to(goodbye.write_end)
    thread = threading.Thread(target=lambda: results.append(module.stay()))
    thread.start()
    begun.wait()
    old = midflight.swap(module, paths[1], carry="fresh").old
    assert (old.status, old.held_by) == ("draining", ("1 call",))
    end.send()
    thread.join()
    assert results == [41]
    goodbye.wait()
    assert settled(module, 1).status == "unloaded"


# ---- pthread_key destructors ----------------------------------------------------------------------------------------

KEYED = (
    STARTER
    + """
#include <pthread.h>
static pthread_key_t key;
static int waits;
static void forget(void *) { if (waits) wait_for_end(); }
extern "C" int remember(int w) { waits = w; pthread_key_create(&key, forget); return pthread_setspecific(key, &key); }
"""
)


@pytest.fixture
def keyed(workshop):
    return [workshop.library(f"k{n}", KEYED + f"int version{n};", suffix=".cc") for n in (1, 2)]


def test_the_destructor_of_a_thread_specific_key(keyed, plain, toucher):
    script = """
one = dlopen(arguments[0])
touched, end = threading.Event(), threading.Event()
thread = threading.Thread(target=lambda: (one.remember(0), touched.set(), end.wait()))
thread.start(); touched.wait()
dlclose(one); end.set(); thread.join()
while len(os.listdir("/proc/self/task")) > 1: pass
"""
    assert plain(script, keyed[0]).code in CRASHES

    module = midflight.load(keyed[0])
    end = toucher(lambda: module.remember(0))
    assert midflight.swap(module, keyed[1]).old.status == "unloaded"
    end()  # the thread ends with its value, and nothing is called


def test_a_thread_in_the_destructor_of_a_key(keyed, pipe):
    begun, end, goodbye = pipe(), pipe(), pipe()
    module = midflight.load(keyed[0])
    module.pipes(begun.write_end, end.read_end)
    module.say_goodbye_to(goodbye.write_end)
    thread = threading.Thread(target=module.remember, args=(1,))
    thread.start()
    begun.wait()  # the thread has ended, as far as Python goes, and is in the library's destructor
    old = midflight.swap(module, keyed[1]).old
    assert old.status == "resident"
    assert old.held_by == ("1 ending thread in a destructor of its thread-specific data",)
    end.send()
    goodbye.wait()
    assert settled(module, 1).status == "unloaded"
    thread.join()


def test_keys_do_not_run_out(keyed):
    """A process has 1024; every version leaves one that is deleted with it."""
    module = midflight.load(keyed[0])
    for n in range(1200):
        module.remember(0)
        assert midflight.swap(module, keyed[(n + 1) % 2]).old.status == "unloaded"
    assert module.remember(0) == 0


# ---- other pointers into the library --------------------------------------------------------------------------------

HANDLER = """
#include <signal.h>
static volatile sig_atomic_t count;
static void handle(int number) {{ count += number != 0; }}
int install(void) {{ return signal(SIGUSR1, handle) == SIG_ERR; }}
int counted(void) {{ return count; }}
int version{0};
"""


@pytest.fixture
def usr1():
    """Give the signal back afterwards."""
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("usr1")
def test_a_signal_handler(workshop, plain):
    paths = [workshop.library(f"h{n}", HANDLER.format(n)) for n in (1, 2)]
    script = "one = dlopen(arguments[0]); one.install(); dlclose(one); os.kill(os.getpid(), signal.SIGUSR1)"
    assert plain(script, paths[0]).code in CRASHES

    module = midflight.load(paths[0])
    module.install()
    signal.raise_signal(signal.SIGUSR1)
    assert module.counted() == 1
    old = midflight.swap(module, paths[1]).old
    assert old.status == "resident"
    assert f"signal {int(signal.SIGUSR1)}" in old.held_by[0]
    signal.raise_signal(signal.SIGUSR1)  # still served
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    midflight.versions(module)
    assert old.status == "unloaded"


VALUE = "int value(void) {{ return {0}; }} int (*pointer(void))(void) {{ return value; }}"


def test_a_kept_function(workshop, plain):
    path = workshop.library("kept", VALUE.format(1))
    script = "one = dlopen(arguments[0]); value = one.value; value(); dlclose(one); value()"
    assert plain(script, path).code in CRASHES

    module = midflight.load(path)
    kept, other = module.value, midflight.function(module, "value")
    assert midflight.unload(module).status == "unloaded"
    for function in (kept, other):
        with pytest.raises(midflight.UnloadedError):
            function()


CALLBACKS = """
static int (*kept)(void);
void keep(int (*function)(void)) { kept = function; }
int call(void) { return kept(); }
"""


def test_a_function_of_one_module_given_to_another(workshop):
    """What goes through Python follows the swap, and raises once there is nothing to follow."""
    value = [workshop.library(f"value{n}", VALUE.format(n)) for n in (1, 2)]
    one, caller = midflight.load(value[0]), midflight.load(workshop.library("caller", CALLBACKS))
    caller.keep(one.value)
    assert caller.call() == 1
    midflight.swap(one, value[1])
    assert caller.call() == 2
    midflight.unload(one)
    with pytest.raises(midflight.UnloadedError):
        caller.call()


def test_a_pointer_into_the_library(workshop):
    paths = [
        workshop.library(f"p{n}", f"static int kept[2] = {{{n}, 7}}; int *kept_at(void) {{ return kept; }}")
        for n in (1, 2)
    ]
    module = midflight.load(paths[0])
    pointer = module.kept_at()
    old = midflight.swap(module, paths[1]).old
    assert (old.status, old.held_by) == ("draining", ("1 pointer",))
    assert (pointer[0], pointer[1]) == (1, 7)
    del pointer
    midflight.versions(module)
    assert old.status == "unloaded"
