"""The contract of the native core (native/).

Everything here is protected by the GIL, which is given up only where it is said.  Addresses are numbers in bytes.

A *kind* is how a value travels: "void", "int8" … "int64", "uint8" … "uint64", "bool", "float32", "float64",
"pointer", "callback" (a parameter that points to a function), "string" (a result that is a `const char *`) or "struct"
(by value: only ``slow`` calls carry it).

An *item* says what a pointer points to: "i" signed integer, "u" unsigned integer, "f" floating, "b" bool, "c"
character, "r" struct or union, "p" pointer, "v" anything (`void *`), "o" nothing that Python can provide.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, final

from _typeshed import ReadableBuffer, StrPath, WriteableBuffer

ParamSpec: TypeAlias = tuple[str, str, str, int, bool, str, Any, str, Callable[[Any], str | None] | None]
"""name, kind, item, size of an item in bytes (0: unknown), const, type as C writes it, extra, target, misfit.

extra: the ctypes class that a pointer points to; for a callback what turns an object into the address of a function
pointer, or returns None for one that can't be called; else None.

target: what a pointer points to, the same text for the same type however it is written ("void" fits anything); else "".

misfit: called with a ctypes class that isn't ``extra``, or with the PEP 3118 format of structured items: says why that
isn't what the pointer points to, or returns None if it is.  None: nothing but ``extra`` is.
"""

ResultSpec: TypeAlias = tuple[str, str, Any, str]
"""kind, type as C writes it, extra, target.

extra: {value: member} of an enum; the ctypes class that a pointer points to; or None.  target: as in `ParamSpec`.
"""

DieSpec: TypeAlias = tuple[int, int, bool, bool, int, bytes, tuple[int, ...], tuple[int, ...], object]
"""What `Dies` is made of: see there."""

through: int
"""An address that ``slow`` calls with the function's arguments.

It runs the function of the `Binding`, and a C++ exception that leaves it becomes a `NativeExceptionError`.  Only to be
called from ``slow``, in the same thread, at most once.
"""

Crash: TypeAlias = tuple[int, int, int, list[int], int]
"""signal, its code, the address of a fault (0 of what was sent), frames, the kernel's number of the thread.

frames: where the crash was, or the bad address that was jumped to, then where each function returns to; innermost
first.
Whatever comes from another process may be wrong.
"""

CRASH_NOTE_SIZE: int
"""Bytes of a note of a crash."""

def note_crashes(memory: WriteableBuffer, /) -> None:
    """From now on write the first crash of this process to ``memory``, which others may map; then it ends as it would.

    A crash is any signal that would end it, but for those that Python sees to.  ``memory`` is held for ever, is aligned
    for integers, and all 0 at first.  Once in a process, which is for trying.  Threads that want to have a crash by
    using up their stack noted call `crash_stack` first; the calling one needn't.
    """

RECORD_SIZE: int
"""Bytes of a record."""

def record_crashes(memory: WriteableBuffer | None, /) -> None:
    """From now on write a crash in the code of an `Image` that has a ``line`` to ``memory``; None: nowhere.

    That is whole pages, all 0.  It is held until the next such call.  In a fork's child nothing is written before it
    calls this; the images that it has inherited are known then.
    """

def end_record() -> None:
    """Note that the program ends as it should."""

def read_record(memory: ReadableBuffer, /) -> tuple[int, int, Crash | None, int, tuple[int, int, int]]:
    """Return when the program has ended as it should, when it has crashed, and more of the crash.

    Times are nanoseconds since 1970, 0 for what hasn't happened.  Besides: the crash, the image's line, and its base,
    lowest and highest address.  All may be wrong.  Raises ValueError for what is no record.
    """

def crash_stack() -> None:
    """Give the calling thread a stack for the handler of a crash, unless it has one."""

def read_crash(memory: ReadableBuffer, /) -> Crash | None:
    """Return what such a note says, None if there was no crash."""

guarded_through: int
"""The same for a guarded `Binding`."""

def arm_crash_signals() -> None:
    """See to it that the signals of a crash come to the guard first, also if others have handled them since.

    What isn't the guard's goes on to whoever handled it before.  Gives up the GIL.
    """

def check(data: ReadableBuffer, /) -> bool:
    """Raise `BadLibraryError` or `WrongMachineError` unless the loader can be given these bytes without harm.

    Return whether it can be unloaded again, as far as the file says: False with the flag DF_1_NODELETE.
    """

def needs(data: ReadableBuffer, /) -> tuple[list[str], list[str]]:
    """Return the names of the libraries that this one needs, and its run paths.  Raises `BadLibraryError`."""

def switch(pairs: Sequence[tuple[Cell, Table]], /) -> None:
    """Make each table current in its cell, without giving up the GIL in between."""

def spawn(
    program: int,
    arguments: tuple[bytes, ...],
    environment: tuple[bytes, ...],
    standard: tuple[int, int, int],
    given: tuple[int, ...],
    /,
) -> tuple[int, int]:
    """Start a process in a session of its own, without the GIL; return its number and a pidfd.

    ``program``: a descriptor of the executable; ``standard``: descriptors that it gets as 0, 1 and 2; ``given``: those
    that it gets as 3, 4, …; it gets no others.  Whoever waits for it adds __WALL; who waits for any child may take its
    status.  Raises `MidflightError` where the system has no room.
    """

def run_guarded(table: Table, name: str, address: int, pairs: ReadableBuffer = ..., /) -> int | Crash:
    """Run a function without arguments as a hook of a version, without the GIL, and counted as inside it.

    ``pairs``: packed native uint64: it is run for each two of them instead, as its two arguments.

    Return what it returned as a C int, or a `Crash`.  Raises `NativeExceptionError` with ``name``
    for a C++ exception, and what a callback of it raised.
    """

@final
class Gate:
    """Holds calls back while a version's state moves: all of ``tables`` together, from its making until `open`.

    Threads that are inside already go on with calls from there; everybody else waits without the GIL, and then starts
    over with what is current.  The thread that made it may not call: `SwapInsideError`.
    """

    inside: int
    waiting: int
    def __new__(cls, tables: Sequence[Table]) -> Gate:
        """Close it.  Raises `SwapInsideError` from inside a call, ValueError for a table that has a gate already."""
    def wait(self, timeout: float, /) -> bool:
        """Wait until no call is under way, without the GIL; return whether that came in so many seconds.

        Once it has, nobody gets in until it is opened.
        """
    def open(self) -> None:
        """Let everybody go on.  May be done again."""
    def callers(self) -> list[tuple[int, list[str]]]:
        """Return who is inside: the thread's number and the functions, innermost first (a hook: the version)."""

def raised_by_callback() -> None:
    """Note that the exception which is about to leave the call that this thread is in is what a callback raised.

    For lanes whose calls are made in Python: an `Observer` doesn't count it as the version's own.
    """

BucketFacts: TypeAlias = tuple[int, int, int]
"""The smallest and the greatest number of nanoseconds in it, and how many calls took so long."""

CallFacts: TypeAlias = tuple[int, int, int, int, int, int, list[BucketFacts]]
"""calls; of them errors; of these crashes; calls that were to be kept and couldn't be; nanoseconds of all calls, of the
longest one; the calls by how long they took (HdrHistogram's buckets, each at most a sixteenth wide)."""

SampleFacts: TypeAlias = tuple[tuple[Any, ...], Any, str | None, tuple[bytes | None, ...]]
"""arguments, result, class of the exception or None, what was written into each argument.

Values are immutable ones, or (class, bytes, format) of a buffer or a struct."""

@final
class Observer:
    """Notes the calls of the tables that have it; made for one version.

    Errors are exceptions of `midflight._errors.FAULTS` that no callback has raised; calls that end with one of
    NOT_CALLED aren't counted at all.
    """

    on_crash: Callable[[], object] | None
    def __new__(cls, share: float = 0.0, kept: Iterable[int] = ()) -> Observer:
        """``share`` of the calls of the slots ``kept`` have their arguments and results kept, at most 32 of each."""
    def figures(self) -> dict[int, CallFacts]:
        """Return what has been counted, by slot."""
    def samples(self) -> dict[int, list[SampleFacts]]:
        """Return the calls that are kept, by slot."""
    def under_way(self) -> list[tuple[int, int, float]]:
        """Return the calls that haven't ended, the last one first: slot, thread, seconds."""

@final
class Canary:
    """Gives a share of a cell's calls to another table, from its making until `end`.

    A call that is made inside of one of the two tables stays there, and one that is given a `Pointer` runs where that
    comes from.
    """

    given: int
    def __new__(cls, cell: Cell, candidate: Table, share: float) -> Canary:
        """Raises ValueError for a cell that has ended, or has a canary already."""
    def end(self) -> None:
        """Give all calls to the current version again.  May be done again."""

def after_fork() -> None:
    """In the child of a fork: forget the calls and threads that stayed behind."""

def note_image(memory: WriteableBuffer, /) -> None:
    """Write base, lowest and highest address of the first `Image` that is mapped from now on to ``memory``.

    That is done before its constructors run.  Three native uint64, aligned; ``memory`` is held for ever.  Once only.
    """

@final
class Image:
    """One version's code in memory: a private copy of its bytes.

    Opening and closing run the library's constructors and destructors; the GIL is given up meanwhile.
    """

    base: int
    low: int
    high: int
    uniques_rewritten: int
    nodelete: bool
    exit_handlers: bool
    thread_destructors: bool
    path: str
    crash: Crash | None
    """Of its destructors."""
    def __new__(
        cls,
        data: ReadableBuffer,
        name: str,
        path: StrPath | None = None,
        lazy: bool = False,
        bindings: dict[bytes, int] = ...,
        guarded: bool = False,
        sealed: bool = False,
        line: int = 0,
    ) -> Image:
        """Copy ``data`` to ``path`` (None: a sealed memfd called ``name``), check it, map it.

        ``bindings``: undefined symbols, functions or data, and the addresses that they are to have; ``sealed``: the
        copy is such a memfd in any case, and ``path`` a symbolic link to it.

        ``path`` must not exist, and must be absolute and free of symbolic links: the memory map is searched for it.
        ``guarded``: a crash of a constructor is a `ConstructorError` too, which has it as ``crash``: the `Crash`, and
        base, lowest and highest address of the library, which stays mapped then.  One of a destructor is `Image.crash`.

        ``line``: its number in the record of `record_crashes`; 0: a crash of it isn't recorded.

        Raises `BadLibraryError`, `WrongMachineError`, `LoadError` (the loader's words), `ConstructorError`, or
        `MidflightError` where the system has no room; nothing is left behind then.
        """
    def symbol(self, name: str, /) -> int:
        """Return an exported symbol's address, 0 if there is none in this image."""
    def attached(self, addresses: ReadableBuffer, /) -> bytes:
        """Say whether memory of malloc's is as it was when the constructors had run.

        A byte for each address (packed native uint64): 0 as it was, with all that it leads to; 1 not so; 2 unknown: no
        variable led to it then, or it isn't malloc's.  Precondition: it isn't closed.  Gives up the GIL.
        """
    def changed(self, places: ReadableBuffer, /) -> bytes:
        """Say whether bytes are others than when the constructors had run: a byte, 0 or 1, for each place.

        ``places``: pairs of a link-time address and a size, as packed native uint64.  Precondition: it isn't closed.
        Gives up the GIL.
        """
    @property
    def held_by(self) -> str | None:
        """What the library left behind that points into it: threads, signal handlers."""
    @property
    def threads(self) -> str:
        """Which threads the library has started that are alive, by name and number; "": none."""
    def close(self) -> bool:
        """Close it, or try again; return whether the process's memory map shows that it is gone."""

@final
class Binding:
    """How one function of one version is called.  Immutable."""

    def __new__(
        cls,
        name: str,
        address: int,
        params: Sequence[ParamSpec],
        result: ResultSpec,
        *,
        hold_gil: bool = False,
        slow: Callable[..., Any] | None = None,
        unusable: str | None = None,
        info: Any = None,
        raw: bool = False,
        worker: Worker | None = None,
        guarded: bool = False,
    ) -> Binding:
        """Describe a call.

        ``slow`` is called instead, inside the same counting; with ``raw``, with whatever arguments are given, also by
        keyword, and nothing is converted or counted before.  ``guarded``: a crash of it in this process is raised, see
        `Table.on_crash`; its ``slow`` calls `guarded_through`.  With ``worker`` it runs in another process, and
        ``address`` is a link-time address; a struct by value has its size as the size of an item, and as target the
        class of each of its eightbytes ("I", "D"; "M": in memory), followed by the size where it is the result.
        ``unusable`` says why it can't be called at all; ``info`` has the attributes ``doc`` and ``signature``.

        Raises ValueError for an unknown kind, more than 70 parameters, or a struct by value that nobody passes.
        """
    def moved(self, address: int, info: Any, /) -> Binding:
        """Return the same call of a function at another address: of a version in which the function hasn't changed.

        Raises ValueError where there is a ``slow``.
        """
    def convert(self, index: int, value: object, /) -> tuple[Any, Any]:
        """Convert one argument as a call would; return (number or address, what to keep alive meanwhile)."""
    def result_from(self, table: Table, value: int, /) -> Any:
        """Convert an integer or an address as the call's result."""

@final
class Table:
    """All functions of one version, by slot, and what holds that version loaded."""

    inside: int
    unheard: int
    """Those of the calls inside that end without telling anybody: through stable pointers."""
    pins: int
    pointers: int
    closed: bool
    label: str
    observer: Observer | None
    on_idle: Callable[[], object] | None
    on_crash: Callable[[str, Crash], BaseException] | None
    """Given the name of a guarded function that has crashed, returns what its call raises, which has left before."""
    def __new__(cls, label: str, bindings: Sequence[Binding | None]) -> Table: ...
    def put(self, slot: int, binding: Binding, /) -> None:
        """Give an empty slot a binding.  Raises ValueError for one that is taken."""
    def close(self) -> bool:
        """Close it if nothing holds it; return whether it is closed.  Precondition: no cell offers it."""
    def enter(self) -> bool:
        """Count in what uses the version's data without calling it, unless there is a gate that this thread waits at.

        False: it has waited, and isn't counted in: look again what is current.
        """
    def leave(self) -> None:
        """Count it out."""
    def pin(self) -> None:
        """Hold the version.  Raises `UnloadedError` once it is closed."""
    def unpin(self) -> None: ...
    def callers(self) -> list[tuple[int, list[str]]]:
        """Return who is inside by calls from Python, as `Gate.callers` does."""
    def entered_here(self) -> bool:
        """Return whether this thread is inside a call of this version."""

@final
class Cell:
    """Which version of a module is current.  Can be referred to weakly."""

    name: str
    def __new__(cls, name: str, current: Table, owner: object = None) -> Cell:
        """``owner`` is kept alive for as long as the cell is."""
    @property
    def current(self) -> Table | None: ...
    def run(self, function: Callable[[Table], Any], /) -> Any:
        """Call a function with the current table, counted as a call that is inside it: its calls pass the gate."""
    def entry(self, slot: int, /) -> int:
        """Return a function pointer to a slot's function that stays valid for the process's life, each time the same.

        It runs the current version's function, counted like any call.  Where that version has none, or one that is
        called in another way, and after the end, it returns 0; the call from Python that it came from raises, else it
        says so to stderr.  Return 0 if the function isn't native code of this process.  Raises `MidflightError` when no
        more can be made.
        """
    def end(self, why: str, /) -> None:
        """Take the current version away: calls raise `UnloadedError` with this reason."""

@final
class Function:
    """One name of a module, for the module's whole life: calls whatever is current.

    Raises `MissingFunction` where the current version has no such function, `UnloadedError` after the end,
    `UnsupportedFunctionError`, `ArgumentTypeError`, `ArgumentRangeError`, `NativeExceptionError` (a C++ exception left
    the function), or what a callback raised.
    """

    __name__: str
    __qualname__: str
    __module__: str
    _available: bool
    _address: int
    _cell: Cell
    _slot: int
    _info: Any
    def __new__(cls, cell: Cell, slot: int, name: str) -> Function: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

@final
class Forward:
    """A function pointer that goes on to wherever it is told to."""

    address: int
    def __new__(cls, target: int) -> Forward:
        """Raises `MidflightError` when no more can be made."""
    def lead(self, target: int, /) -> None:
        """Go on to another function from now on."""

@final
class Callback:
    """What native code calls when it calls a Python function.

    What ``function`` raises is raised by the call that this thread is in, once that returns (the first exception, if
    there are several); where it is in none, ``unheard`` is called with it.  Native code gets ``fallback`` then.
    """

    def __new__(
        cls, function: Callable[..., Any], fallback: object, unheard: Callable[[BaseException], object]
    ) -> Callback:
        """Raises TypeError for what can't be called."""
    def __call__(self, *args: Any) -> Any: ...

@final
class Pointer:
    """An address that a native function returned; while it is alive, its version stays loaded.

    Pointers to the same address are equal.
    """

    link: Link | None
    address: int
    type: str
    @property
    def contents(self) -> Any:
        """What it points to, as a ctypes object that shares its memory."""
    def __getitem__(self, index: int, /) -> Any:
        """The item at an index, unchecked as in C: numbers (a `char` too) as numbers, structs as ctypes views."""
    def string(self) -> str:
        """The NUL-terminated text that a `char *` points to."""

BlockKind: TypeAlias = tuple[str, int, int, str | None, int, int]
"""name, size, alignment; of a flexible array at the end: name or None, offset, size of an element."""

BlockFacts: TypeAlias = tuple[int, int, int, int, int, int]
"""address, number of the kind, count (with a flexible array: of its elements), owner, serial, bytes.

owner: the number of the version that made it, 0: Python did.  serial: another one for the next block at that address.
"""

@final
class Heap:
    """A module's typed blocks; see native/heap.h.  Any method may be called from any thread.

    Its memory stays mapped while this, a `View`, a `Block` or the code of an attached version is there.
    """

    range: tuple[int, int] | None
    def __new__(cls, name: str, shared: bool = False) -> Heap:
        """``shared``: in memory that workers see too.  Raises MemoryError."""
    def attach(self, version: int, /) -> int:
        """Return the address that a version's `midflight_module` is to have, until it is detached."""
    def detach(self, version: int, /) -> None: ...
    def set_yield(self, version: int, wanted: bool, /) -> None: ...
    def seat(self) -> int:
        """Return the seat of a worker that is about to start; say `left` when it has ended."""
    def left(self, seat: int, /) -> None: ...
    def map(self, link: Link, /) -> bool:
        """Let a worker see a shared heap; return whether it does.  Gives up the GIL."""
    def after_fork(self) -> None:
        """In the child: have memory of its own, with Python's blocks and those that are held."""
    def make(self, kind: BlockKind, count: int, owner: int = 0, /) -> BlockFacts:
        """Make a zeroed block.  Raises MemoryError, ValueError for a kind that can't be."""
    def resize(self, address: int, kind: BlockKind, count: int, owner: int = 0, /) -> BlockFacts:
        """Change the number of elements, perhaps moving it.  Raises MemoryError, LookupError, ValueError."""
    def discard(self, address: int, owner: int = 0, /) -> None:
        """Free a block.  Raises LookupError where none begins, or it is Python's and ``owner`` isn't."""
    def blocks(self) -> list[BlockFacts]:
        """Return all live blocks, by their addresses; not those that are condemned."""
    def find(self, address: int, /) -> BlockFacts | None:
        """Return the live block that has an address in it, or ends there."""
    def types(self) -> list[BlockKind | None]:
        """Return the kinds by their numbers; None: not known yet."""
    def rename(self, address: int, kind: BlockKind, /) -> None:
        """Give a block another kind of the same size.  Raises LookupError, ValueError."""
    def condemn(self, address: int, condemned: bool, owner: int, /) -> None:
        """Give a block to a version; ``condemned``: it is freed when that is retired.  Raises LookupError."""
    def retire(self, owner: int, all: bool = False) -> None:  # noqa: A002
        """Free a version's condemned blocks, or all of them."""
    def drop(self, last_owner: int, /) -> None:
        """Free all blocks that versions up to this one have made."""
    def view(self, address: int, serial: int, /) -> View:
        """Keep a block's memory.  Raises LookupError where it isn't there any more."""

@final
class View:
    """A block's memory, which isn't used for anything else as long as this is alive; offers a writable buffer."""

class Block:
    """What `midflight.Block` is made of: can be passed where a pointer to its type is expected."""

    address: int
    serial: int
    heap: Heap | None
    type: str
    target: str
    ctype: Any
    def _place(self, heap: Heap, address: int, serial: int, name: str, target: str, ctype: Any, /) -> None:
        """Say where and what it is, all at once."""

@final
class Holder:
    """An address that a function returned, and that follows what it points to; may be passed where a `Pointer` may.

    It doesn't keep its version loaded.  A call that is given one reads it when it is counted as inside its version.
    """

    address: int
    link: Link | None
    lost: str | None
    def __new__(cls, pointer: Pointer, link: Link | None) -> Holder:
        """``link``: of the worker that made the object; with it the object is gone, also one in shared memory."""
    def moved(self, address: int, link: Link | None, /) -> None:
        """Follow the object to an address."""
    def lose(self, why: str, /) -> None:
        """Note why there is no object any more: calls that are given this raise `UnloadedError` with it."""
    def take(self, why: str, /) -> Holder | None:
        """Do the same, and return another one for the object; None if it was lost already."""

class LinkDeadError(Exception):
    """The worker has died; the argument says whether it had begun what was asked of it."""

class LinkLateError(Exception):
    """The time is over; the worker still runs."""

@final
class Link:
    """One worker process, from its start to its end.  Any method may be called from any thread.

    Deallocating it ends the process by force.
    """

    pid: int
    status: int
    pidfd: int
    crash_text: int
    foreign: bool
    crash: Crash | None
    image: tuple[int, int, int]
    thunks: tuple[int, int]
    def __new__(
        cls,
        program: int,
        arguments: tuple[bytes, ...],
        environment: tuple[bytes, ...],
        library: int = -1,
        slots: int = 1,
        callback_slots: int = 0,
        arena: int = ...,
    ) -> Link:
        """Start a process.

        ``program``: a descriptor of the executable; ``library``: of what it is to load; ``slots``: calls at the same
        time; ``arena``: bytes of shared memory for each.  Raises `MidflightError` where the system has no room.
        """
    def ready(self, timeout: float, /) -> None:
        """Wait until it is ready; give up the GIL.  Raises what loading would, or `MidflightError`."""
    def send(
        self,
        kind: int,
        number: int,
        payload: ReadableBuffer,
        timeout: float = 0.0,
        callback: Callable[[int, bytes], bytes] | None = None,
        wanted: int = 0,
    ) -> bytes:
        """Send a request (native/channel.h) and return the answer; give up the GIL.

        ``timeout``: seconds, 0: none; ``callback``: runs what the worker asks for meanwhile; ``wanted``: bytes that a
        request without a payload asks for.  Raises `LinkDeadError`, `LinkLateError`, `MidflightError` for a refusal.
        """
    def serve(self, worker: Worker, /) -> bool:
        """Wait for a callback of a thread of the library's own and run it; False: the worker is gone."""
    def end(self, grace: float, /) -> None:
        """Ask it to end, and end it by force after so many seconds."""
    def kill(self) -> None:
        """End it by force."""
    def set_yield(self, wanted: bool, /) -> None:
        """Say to calls under way whether they should return."""
    def gone(self, wait: float = 0.0, /) -> bool:
        """Return whether it has ended; wait so many seconds for that, for ever if negative.  Wakes all its callers."""
    def cancel(self, slot: int, serial: int, /) -> None:
        """Say that a call isn't wanted any more."""

@final
class Worker:
    """Which process the functions of a version run in."""

    link: Link | None
    keeper: Callable[[Link | None, str, bool, bool], object]
    timeout: float
    def __new__(cls, keeper: Callable[[Link | None, str, bool, bool], object], timeout: float = 0.0) -> Worker:
        """``keeper`` is called with (link, function, begun, late) when a call didn't come back.

        It returns if the call may be repeated, else it raises.  ``timeout``: seconds for a call, 0: none.
        """
    def set_callback(self, number: int, address: int, params: ReadableBuffer, /) -> None:
        """Let a number stand for a function of this process; ``params``: as in native/channel.h."""

@final
class Shared:
    """Memory that worker processes see at the same address; offers a writable buffer."""

    def __new__(cls, size: int) -> Shared:
        """Raises MemoryError."""

Loss: TypeAlias = tuple[int, int, tuple[int, ...], str, int | float]
"""Element, number of the op's path, iteration of each loop around the op (outermost first), kind, value.

kind: "range" (doesn't fit the new class), "inexact" (a fraction or digits would go), "lost" (what is dropped isn't
zero), "dangling" (a pointer to what the new version doesn't have), "locked" (a lock that is held) or "enum" (a value
that isn't in the table).

value: the number, or the pointer; for "lost" bytes the offset of the first one that isn't zero, counted from the
first that is dropped; for a "lost" text its length; for a lock the thread that holds it, as the lock says.
"""

MovedBlock: TypeAlias = tuple[int, int, int, int, int, Sequence[tuple[int, int, int]]]
"""Old start, old end, new start, bytes of an element before and now, fields.

A field is (old offset, new offset, bytes): what stays together in one element.
"""

@final
class Mapping:
    """Where pointers into the old version, or into memory that has moved, point to now.  Immutable.

    A value in [low, high), the old image, becomes what ``exact`` says, and dangles if that doesn't name it.
    ``exact`` may name other values, too.  A value in a moved block becomes the same place of the same field of the
    same element; the start of an element that element's start, one past the block's end one past its new end; what
    lies in no field dangles. Any other value stays.
    """

    def __new__(
        cls,
        low: int,
        high: int,
        exact: Sequence[tuple[int, int]] = (),
        blocks: Sequence[MovedBlock] = (),
    ) -> Mapping:
        """In any order.

        Raises ValueError for blocks or fields that overlap or aren't inside, a block that isn't whole elements, or
        two translations of one value.
        """
    def find(self, value: int, /) -> int | None:
        """Return what a pointer is now, None if it dangles."""

@final
class Dies:
    """How to step over the entries of a unit of debug information, by what its abbreviations say of their attributes.

    ``data`` is all of .debug_info; ``unit``, ``at`` and ``end`` are offsets: of the unit, of a level's first entry, and
    behind the unit.  Raises ValueError where the entries are damaged.
    """

    def __new__(cls, shapes: list[DieSpec], forms: bytes) -> Dies:
        """Take (code, tag, children, chosen, sibling, widths, names, implicit, owner) for each abbreviation.

        ``chosen``: `below` reports such entries.  ``sibling``: which attribute is DW_AT_sibling and counts from the
        unit, -1 for none.  ``widths``: native int16 for each attribute: bytes, or a negative number of a way to find it
        out (midflight.artifact.dwarf.forms).  ``names``: each attribute's number; ``implicit``: its value, where the
        width is 0.  ``forms``: the widths of forms 0 to 63.
        """
    def entry(self, data: ReadableBuffer, at: int, end: int, /) -> tuple[Any, dict[int, Any], int]:
        """Return the owner of an entry's shape, {attribute: value}, and the offset behind the values.

        A value is a number, bytes (a string or a block), or (form, value) where the entry itself says the form.
        """
    def level(
        self, data: ReadableBuffer, unit: int, at: int, end: int, tags: bytes, /
    ) -> tuple[list[tuple[int, int]], int, bool]:
        """Return (offset, offset behind its children) of the next entries of a level whose tag is among 256 bits.

        At most 4096 at a time; with the offset to go on from, and whether that is behind the level.
        """
    def below(self, data: ReadableBuffer, unit: int, at: int, end: int, /) -> tuple[list[int], int, bool]:
        """Return the offsets of the chosen entries of a level and of all levels below, at most 4096.

        With the offset behind the level, and whether that was reached.
        """

@final
class Plan:
    """How elements of one layout become elements of another.  Immutable; threads may share it.

    ``ops`` are records of 32 bytes, struct "=HBBIQQQ": kind, a, b, number of its path, from, to, size.  ``from`` and
    ``to`` are offsets in bytes from the start of the element, inside a loop from the start of the iteration.  The
    classes of numbers: 1 to 4 int8 to int64, 5 to 8 uint8 to uint64, 9 float32, 10 float64, 11 bool.  The kinds:

    1 copy: ``size`` bytes.  2 number: from class a to class b.  3 bits: from and to are offsets in bits; size: bits
    before | bits now << 16; a, b: 1 if signed.  4 enum: integer classes a and b; size: index of a table.  5 loop:
    size: iterations | number of the ops that are its body << 40; from, to: bytes from one iteration to the next;
    nested 16 deep at most. 6 base: from and to are added to the op that follows, with a loop to all of its body.  7
    zero: ``size`` bytes that are dropped.  8 pointer.  9 words: ``size`` bytes; those of their aligned words are
    pointers that point into the old image or a moved block.  10 lock: ``size`` bytes; a: 1 pthread mutex, 2 rwlock, 3
    condition, 4 other (these two never refuse). 11 text: size: bytes before | bytes now << 32; what is dropped has to
    be zero, and leave a NUL if there was one.
    """

    def __new__(cls, ops: ReadableBuffer, from_size: int, to_size: int, tables: Sequence[ReadableBuffer] = ()) -> Plan:
        """``tables``: struct "=qq" for each value, old and new, sorted by the old one (as signed numbers).

        Raises ValueError for ops that aren't well formed or reach beyond an element in any iteration, for more
        iterations than an element has bytes, and for tables that aren't sorted or don't fit their class.
        """
    def run(self, source: int, target: int, count: int = 1, mapping: Mapping | None = None) -> Loss | None:
        """Fill ``count`` elements at the address ``target`` from those at ``source``; give up the GIL.

        Return the first loss: by element, then by op, then by iteration.  The target has been written in part then.
        What no op names keeps its bytes.  None as mapping: all pointers stay.  The two memories must not overlap.
        """

Via: TypeAlias = tuple[tuple[int, int, int, tuple[int, ...]] | None, ...]
"""How a pointer was reached from its root: one step for each pointer on the way, the last one is where it lies.

A step: number of the shape that the pointer lies in, element (of the root, or of the array that was reached), number of
the op's path, iteration of each loop around the op.  Of more than 32 steps the first and the last 16 are there, with
None in between.
"""

@final
class Shapes:
    """Where the pointers of each type are, by number.  Immutable.

    A shape is (ops, bytes, flags).  ``ops`` are those of a `Plan`, with ``to`` unused: pointer, words, loop and base.
    A pointer's size is the number of the shape that it points to + 1, 0 where that is unknown.  Flags: 1 bad: objects
    of this type must not be found outside of the roots; 2 stop: isn't looked into.
    """

    def __new__(cls, shapes: Sequence[tuple[ReadableBuffer, int, int]]) -> Shapes:
        """Raises ValueError for ops that aren't well formed, or a pointer to a shape that there isn't."""

def trace(
    shapes: Shapes,
    roots: Sequence[tuple[int, int, int, int] | tuple[int, int, int, int, bool]],
    low: int,
    high: int,
    blocks: Sequence[tuple[int, int]] = (),
    follow: bool = True,
    limit: int = 1_000_000,
) -> Trace:
    """Look for all pointers in some roots, and follow them by type; give up the GIL.

    A root: address to read, address that it counts as, number of its shape, elements, whether its pointers may be
    rewritten where they lie (then both addresses are the same).  [low, high): the old image.  ``blocks``: (start, end)
    of typed blocks.

    Pointers to roots, blocks and the image aren't followed.  With ``follow`` pointers to other memory are: each object
    once, of a malloc block as many elements as it has, at most ``limit`` objects; the kernel reads it, so that it need
    not be there.  A pointer that is misaligned for its type isn't followed, nor one of unknown type.

    Raises ValueError for a root without a shape; `MidflightError` where there is no memory, or where the system doesn't
    let the process read itself.
    """

@final
class Trace:
    """What was found."""

    limit_reached: bool
    @property
    def objects(self) -> int:
        """How many objects outside of the roots were reached."""
    @property
    def image(self) -> list[tuple[int, int, Via]]:
        """Values that point into the old image: (value, index of the root, via); each value once.

        Words that need not be pointers are among them.
        """
    @property
    def foreign(self) -> list[tuple[int, int, int, Via]]:
        """(value, number of the shape or -1, index of the root, via).

        With ``follow`` the objects of bad shapes; without, all pointers to memory that is neither image, block nor
        root, each value once for each shape.
        """
    def patches(self, mapping: Mapping, /) -> Patches:
        """Return what has to be rewritten: in roots that are in place, and in what was reached; give up the GIL.

        Only pointers into the old image, blocks and roots are looked at.
        """

@final
class Patches:
    """Pointers that are rewritten where they lie."""

    @property
    def dangling(self) -> list[tuple[int, int, Via, str]]:
        """Those that can't be: (value, index of the root, via, "dangling" or "read-only memory")."""
    @property
    def count(self) -> int:
        """How many pointers change; the dangling ones don't count."""
    def apply(self) -> None:
        """Rewrite all of them but the dangling ones; give up the GIL.

        Raises `MidflightError` if one has changed since, or can't be written; then nothing has changed.
        """
    def undo(self) -> None:
        """Make every byte what it was before `apply`; without that, do nothing.

        Raises `MidflightError` if the memory has gone.
        """
