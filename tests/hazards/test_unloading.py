"""Every fact of FACTS.md about libraries that stay: how plain dlclose keeps them, and what midflight does.

Would catch: code that is called unloaded but isn't, that stays without a reason, or that is never tried again;
destructors that run twice or never.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import midflight
from midflight import _retire
from midflight._control import control_of
from tests.hazards.conftest import CRASHES, GOODBYE, Outcome, is_mapped, settled


def segments(path: str) -> int:
    """How many mappings a file has."""
    return sum(path in line for line in Path("/proc/self/maps").read_text().splitlines())


# ---- STB_GNU_UNIQUE -------------------------------------------------------------------------------------------------

UNIQUE = """
template <typename T> struct Holder {{ static int kept; }};
template <typename T> int Holder<T>::kept = {number};
extern "C" int value() {{ return Holder<int>::kept; }}
extern "C" int set(int n) {{ return Holder<int>::kept = n; }}
"""


def unique_symbols(path) -> list[str]:
    with Path(path).open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        return [symbol.name for symbol in symbols if symbol["st_info"]["bind"] == "STB_LOOS"]


def test_unique_symbols(workshop, plain):
    paths = [workshop.library(f"u{n}", UNIQUE.format(number=n), suffix=".cc") for n in (1, 2)]
    assert unique_symbols(paths[0])
    script = """
one, two = map(dlopen, arguments)
print(one.value(), two.value())
dlclose(one), dlclose(two)
print(mapped(arguments[0]), mapped(arguments[1]))
"""
    # The second has the first one's variable, and neither ever leaves (the second lets go, being bound to the first).
    assert plain(script, *paths).words[:3] == ["1", "1", "True"]

    module = midflight.load(paths[0], carry="fresh")
    assert module.value() == 1
    module.set(40)
    for n in range(100):
        report = midflight.swap(module, paths[(n + 1) % 2])
        assert module.value() == (n + 1) % 2 + 1
        assert report.old.status == "unloaded"


def test_our_own_builds_have_no_unique_symbols(workshop):
    module = midflight.load(workshop.write("holder.cc", UNIQUE.format(number=5)))
    assert module.value() == 5
    assert unique_symbols(control_of(module).current.artifact.path) == []


# ---- libstdc++ bound to the library ---------------------------------------------------------------------------------

# As malloc's replacements and what newer compilers build have it; C, so that nothing else brings libstdc++ along.
INTERPOSING = """
#include <stdlib.h>
void *_Znwm(size_t size) { return malloc(size); }
void _ZdlPv(void *block) { free(block); }
int value(void) { return 5; }
"""


def test_a_library_that_replaces_operator_new(workshop, plain):
    path = workshop.library("interposing", INTERPOSING, "-Wl,--no-as-needed", "-lstdc++")
    script = """
print("libstdc++" in open("/proc/self/maps").read())
one = dlopen(arguments[0])
dlclose(one)
print(mapped(arguments[0]))
"""
    assert plain(script, path).words == ["False", "True"]  # libstdc++ holds it, and is never unloaded itself
    script = """
import midflight
print("libstdc++" in open("/proc/self/maps").read())
module = midflight.load(arguments[0])
midflight.unload(module)
print(midflight.versions(module)[0].status, midflight.load(arguments[0]).value())
"""
    assert plain(script, path).words == ["False", "unloaded", "5"]


NEEDED = """
template <typename T> struct Held { static int kept; };
template <typename T> int Held<T>::kept = 1;
extern "C" int shared() { return Held<int>::kept; }
extern "C" int through() { return shared(); }
"""


def test_a_needed_library_that_stays_and_is_bound_to_the_library(workshop, plain):
    workshop.library("libneeded", NEEDED, suffix=".cc")
    where = ("-Wl,--no-as-needed", f"-L{workshop.root}", "-lneeded", f"-Wl,-rpath,{workshop.root}")
    text = "int through(void); {}int shared(void) {{ return 2; }} int value(void) {{ return through(); }}"
    taken = workshop.library("taken", text.format(""), *where)
    script = """
import midflight
module = midflight.load(arguments[0])
print(module.value())
midflight.unload(module)
print(midflight.versions(module)[0].status)
"""
    assert plain(script, taken).words == ["2", "resident"]
    found = midflight.inspect(taken)
    assert found.verdict == "swappable, stays resident"
    assert found.finding("held-by-needed").symbols == ("shared",)
    hidden = '__attribute__((visibility("hidden"))) '
    assert midflight.inspect(workshop.library("own", text.format(hidden), *where)).verdict == "swappable"


def test_the_runtime_beside_a_library_is_taken_and_not_the_systems(workshop, plain):
    path = workshop.library("own", INTERPOSING, "-Wl,--no-as-needed", "-lstdc++", "-Wl,-rpath,$ORIGIN/runtime")
    there = subprocess.run(["cc", "-print-file-name=libstdc++.so.6"], capture_output=True, text=True, check=True)
    (workshop.root / "runtime").mkdir()
    shutil.copy(there.stdout.strip(), workshop.root / "runtime" / "libstdc++.so.6")
    script = """
import midflight
midflight.unload(midflight.load(arguments[0]))
print(mapped(arguments[1]))
"""
    assert plain(script, path, workshop.root / "runtime" / "libstdc++.so.6").words == ["True"]


# ---- OpenMP ---------------------------------------------------------------------------------------------------------

OPENMP = """
int sum(int n)
{
    int all = 0;
#pragma omp parallel for reduction(+ : all) num_threads(4)
    for (int i = 0; i < n; i++)
        all += i;
    return all;
}
"""


def test_openmp_keeps_its_threads_and_the_library_goes(workshop, plain):
    path = workshop.library("openmp", OPENMP, "-fopenmp")
    told = """
print("libgomp" in open("/proc/self/maps").read(), len(os.listdir("/proc/self/task")) > 1)
"""
    script = """
one = dlopen(arguments[0])
print(one.sum(1000))
dlclose(one)
"""
    # Its threads are in what isn't mapped any more: the next thing that they do, if they haven't yet, is to crash.
    bare = plain(script + told, path)
    assert bare.code in CRASHES or bare.words == ["499500", "False", "True"]
    script = """
import midflight
module = midflight.load(arguments[0])
print(module.sum(1000))
midflight.unload(module)
print(midflight.versions(module)[0].status, midflight.load(arguments[0]).sum(1000))
"""
    assert plain(script + told, path) == Outcome(0, ["499500", "unloaded", "499500", "True", "True"])


# ---- thread_local with a destructor ---------------------------------------------------------------------------------

THREAD_LOCAL = (
    GOODBYE
    + """
struct Kept { int n = 1; ~Kept() { n = 0; } };
static thread_local Kept kept;
extern "C" int touch() { return kept.n++; }
"""
)


@pytest.fixture
def thread_local(workshop):
    return [workshop.library(f"tl{n}", THREAD_LOCAL + f"int version{n};", suffix=".cc") for n in (1, 2)]


def test_thread_local_destructors(thread_local, plain, toucher):
    script = """
one = dlopen(arguments[0])
touched, end = threading.Event(), threading.Event()
thread = threading.Thread(target=lambda: (one.touch(), touched.set(), end.wait()))
thread.start(); touched.wait()
dlclose(one); print(mapped(arguments[0]))
end.set(); thread.join(); print(mapped(arguments[0]))
two = dlopen(arguments[1]); dlclose(two); print(mapped(arguments[0]))
"""
    # Pinned while the thread lives, and until anything else is closed.
    assert plain(script, *thread_local).words == ["True", "True", "False"]

    module = midflight.load(thread_local[0])
    end = toucher(module.touch)
    old = midflight.swap(module, thread_local[1]).old
    assert old.status == "resident"
    assert "thread_local variables with destructors" in old.held_by[0]
    assert is_mapped(old.path)
    path = old.path
    end()
    midflight.versions(module)  # looks after what is resident
    assert (old.status, old.held_by) == ("unloaded", ())
    assert not is_mapped(path)
    assert not Path(path).exists()


def test_thread_local_destructors_in_the_background(thread_local, toucher, pipe):
    goodbye = pipe()
    module = midflight.load(thread_local[0])
    module.say_goodbye_to(goodbye.write_end)
    end = toucher(module.touch)
    assert midflight.swap(module, thread_local[1]).old.status == "resident"
    end()
    goodbye.wait()  # nobody asks for it: the background thread unloads it
    assert settled(module, 1).status == "unloaded"


# ---- -z nodelete ----------------------------------------------------------------------------------------------------


def test_nodelete(workshop, plain):
    text = "int value(void) {{ return {0}; }}"
    paths = [workshop.library(f"n{n}", text.format(n), "-Wl,-z,nodelete") for n in (1, 2)]
    assert plain("one = dlopen(arguments[0]); dlclose(one); print(mapped(arguments[0]))", paths[0]).words == ["True"]

    elsewhere = midflight.load(paths[0])
    report = midflight.swap(elsewhere, paths[1])
    assert elsewhere.value() == 2
    assert (report.old.lane, report.old.status) == ("worker", "unloaded"), "its process is gone"
    assert any("DF_1_NODELETE" in warning for warning in report.warnings)

    module = midflight.load(paths[0], lane="here")
    old = midflight.swap(module, paths[1]).old
    assert module.value() == 2
    assert old.status == "resident"
    assert "DF_1_NODELETE" in old.held_by[0]
    assert is_mapped(old.path)
    generation = control_of(module).generations[0]
    assert generation.held is not None
    assert not generation.held.passing
    assert generation not in _retire._reaper._residents  # it would be in vain
    assert midflight.versions(module)[0].status == "resident"


# ---- what runs at the end -------------------------------------------------------------------------------------------

ENDINGS = """
#include <stdlib.h>
#include <unistd.h>
static int out = 2;
static void say(char letter) { if (write(out, &letter, 1) != 1) abort(); }
static void at_exit() { say('a'); }
struct Static { Static() { } ~Static() { say('s'); } };
static Static object;
__attribute__((destructor)) static void destructor() { say('d'); }
extern "C" int begin(int descriptor) { out = descriptor; return atexit(at_exit); }
int unused_%d;
"""


def test_destructors_and_atexit_handlers_run_once(workshop, plain, pipe):
    paths = [workshop.library(f"end{n}", ENDINGS % n, suffix=".cc") for n in (1, 2)]
    script = """
one = dlopen(arguments[0])
reader, writer = os.pipe()
one.begin(writer); dlclose(one); os.close(writer)
print("".join(sorted(os.read(reader, 100).decode())))
"""
    assert plain(script, paths[0]).words == ["ads"]

    out = pipe()
    module = midflight.load(paths[0])
    module.begin(out.write_end)
    report = midflight.swap(module, paths[1])
    assert report.old.status == "unloaded"
    module.begin(out.write_end)
    assert midflight.unload(module).status == "unloaded"
    letters = os.read(out.read_end, 100).decode()
    assert (sorted(letters[:3]), sorted(letters[3:])) == (["a", "d", "s"], ["a", "d", "s"])


NEVER_ASKS = """
extern int __cxa_atexit(void (*)(void *), void *, void *);
static int own, called;
static void goodbye(void *argument) { called += argument == &own; }
int begin(void) { return __cxa_atexit(goodbye, &own, &own); }
"""


LEADS_NOWHERE = """
extern int __cxa_atexit(void (*)(void *), void *, void *);
extern void nobody(void *) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));
int begin(void) { return __cxa_atexit(nobody, 0, &__dso_handle); }
"""


def test_an_exit_handler_that_leads_nowhere(workshop, plain):
    """A weak function that nobody defines: the unload is a crash, as ever."""
    script = """
import midflight
module = midflight.load(arguments[0], probe=False)
module.begin()
midflight.unload(module)
"""
    assert plain(script, workshop.library("nowhere", LEADS_NOWHERE)).code == -signal.SIGSEGV


def test_exit_handlers_that_a_library_leaves_behind_are_not_called(workshop, plain):
    """It was linked without what asks for them when it is unloaded, so they are called where its code was."""
    path = workshop.library("never", NEVER_ASKS, "-nostartfiles")
    assert plain("one = dlopen(arguments[0]); one.begin(); dlclose(one)", path).code in CRASHES

    script = """
import midflight
module = midflight.load(arguments[0])
module.begin()
print(midflight.unload(module).status)
"""
    assert plain(script, path) == Outcome(0, ["unloaded"])


# ---- handles that somebody else has ---------------------------------------------------------------------------------

OPENS_ITSELF = """
#define _GNU_SOURCE
#include <dlfcn.h>
static void *again;
int open_again(void)
{{
    Dl_info info;
    dladdr(&again, &info);
    again = dlopen(info.dli_fname, RTLD_NOW);
    return again != 0;
}}
void *handle(void) {{ return again; }}
int version{0};
"""


def test_a_library_that_opens_itself(workshop, plain):
    paths = [workshop.library(f"o{n}", OPENS_ITSELF.format(n)) for n in (1, 2)]
    script = "one = dlopen(arguments[0]); one.open_again(); dlclose(one); print(mapped(arguments[0]))"
    assert plain(script, paths[0]).words == ["True"]

    import _ctypes

    module = midflight.load(paths[0])
    assert module.open_again() == 1
    pointer = module.handle()
    handle = pointer.address if isinstance(pointer, midflight.Pointer) else pointer
    del pointer
    old = midflight.swap(module, paths[1]).old
    assert old.status == "resident"
    assert "opened itself" in old.held_by[0]
    _ctypes.dlclose(handle)
    midflight.versions(module)
    assert old.status == "unloaded"
    assert not Path(old.path or "/nowhere").exists()


# ---- Rust -----------------------------------------------------------------------------------------------------------

RUST = """
use std::cell::RefCell;
struct Kept(i32);
impl Drop for Kept {{ fn drop(&mut self) {{ self.0 = 0; }} }}
thread_local! {{ static KEPT: RefCell<Kept> = RefCell::new(Kept({0})); }}
#[no_mangle] pub extern "C" fn touch() -> i32 {{ KEPT.with(|kept| kept.borrow().0) }}
#[no_mangle] pub extern "C" fn say() -> i32 {{ println!("said {0}"); {0} }}
#[no_mangle] pub extern "C" fn spawn_and_join() -> i32 {{ std::thread::spawn(|| {0}).join().unwrap() }}
"""


def rust_libraries(workshop) -> list[Path]:
    made = []
    for n in (1, 2):
        source, output = workshop.write(f"r{n}.rs", RUST.format(n)), workshop.root / f"libr{n}.so"
        subprocess.run(["rustc", "-g", "--crate-type=cdylib", "-o", output, source], check=True)
        made.append(output)
    return made


if shutil.which("rustc"):

    @pytest.mark.parametrize("function", ["touch", "spawn_and_join"])
    def test_rust_thread_locals(workshop, plain, toucher, function):
        paths = rust_libraries(workshop)
        script = """
one = dlopen(arguments[0]); getattr(one, arguments[1])(); dlclose(one); print(mapped(arguments[0]))
"""
        assert plain(script, paths[0], function).words == ["True"]

        module = midflight.load(paths[0])
        results = []
        end = toucher(lambda: results.append(getattr(module, function)()))
        assert results == [1]
        old = midflight.swap(module, paths[1]).old
        assert old.status == "resident"
        assert "thread_local variables with destructors" in old.held_by[0]
        end()
        midflight.versions(module)
        assert old.status == "unloaded"

    def test_rust_prints_and_goes(workshop, capfd):
        paths = rust_libraries(workshop)
        module = midflight.load(paths[0])
        assert module.say() == 1
        assert midflight.swap(module, paths[1]).old.status == "unloaded"
        assert module.say() == 2
        assert capfd.readouterr().out.split() == ["said", "1", "said", "2"]


# ---- many -----------------------------------------------------------------------------------------------------------


def test_dead_versions_leave_no_mapping(workshop):
    paths = [workshop.library(f"m{n}", f"int value(void) {{ return {n}; }}") for n in (1, 2)]
    module = midflight.load(paths[0])
    midflight.swap(module, paths[1])
    directory = Path(midflight.versions(module)[-1].path).parent
    before = segments(str(directory))
    files = len(list(directory.iterdir()))
    for n in range(300):
        midflight.swap(module, paths[n % 2])
    assert len(list(directory.iterdir())) == files
    assert segments(str(directory)) == before > 0
