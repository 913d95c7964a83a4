"""Where a version's code runs: the one Protocol that the swap transaction knows.

A lane prepares code from an artifact without any effect on the running program.  What it hands out carries a `Table`
with every function of the version; making a version current is the core's one store of that table (`_core.switch`), so
there is nothing else to commit that could fail.  Counting and draining calls is the table's business too, and the same
in every lane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midflight._core import Heap, Link, Table
    from midflight._heaps import Heaps
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.interface import Function, Interface, TypeId
    from midflight.build import Artifact


class Held(NamedTuple):
    """Why a version's code can't be unloaded; ``passing``: it may be possible later."""

    why: str
    passing: bool


class Memory(Protocol):
    """Where a variable is."""

    def read(self) -> bytes:
        """Return what is there."""

    def write(self, data: bytes) -> None:
        """Replace what is there by as many bytes."""

    def view(self, ctype: Any) -> Any:
        """Return a ctypes object of what is there: the memory itself where that can be had, else a copy."""

    def text(self) -> bytes | None:
        """Return the text that a ``char *`` there points to, None for a null pointer."""


class Stretch(NamedTuple):
    """Some memory of a version's, to be used at ``here``; in the version's own process it is at ``there``."""

    here: int
    there: int
    copy: Any = None
    """What keeps the memory at ``here`` alive, where it is a copy."""


class Data(Protocol):
    """A version's variables, for moving them.  ``here``: whether its memory is this process's own; else ``process``'s.

    ``base``, ``low``, ``high``: where its image is, in its own process.  Variables are named by link-time addresses.
    Precondition of all: no call runs in the version.  All raise `WorkerCrashedError` if its process has died since.
    """

    here: bool
    process: int
    base: int
    low: int
    high: int

    def changed(self, places: Sequence[tuple[int, int]]) -> list[bool]:
        """Say which places (address, size) aren't as they were when the library had been loaded."""

    def attached(self, addresses: Sequence[int]) -> bytes:
        """Say what of allocated memory is as it was then; see `_core.Image.attached`."""

    def stretch(self, address: int, size: int) -> Stretch:
        """Return memory: itself, or a copy."""

    def put(self, stretch: Stretch) -> None:
        """Bring what was written to a stretch to where it belongs."""


class Code(Protocol):
    """One version's code, loaded.  Its table says what holds it; only code that nothing holds may be retired."""

    table: Table
    ctypes: CTypes
    path: str
    warnings: tuple[str, ...]
    failing: Callable[[], object] | None
    """Called, from any thread, when this version has crashed so often that the one before should serve again."""

    def variable(self, address: int, size: int) -> Memory:
        """Return where a variable of ``size`` bytes is, given its link-time address."""

    def to_native(self, name: str, type_id: TypeId, value: object) -> Any:
        """Convert a number for a variable, by the rules for arguments."""

    def from_native(self, type_id: TypeId, value: int) -> Any:
        """Convert an integer or an address that a variable holds, by the rules for results."""

    def add_explicit(self, slot: int, wanted: ExplicitFunction) -> None:
        """Fill an empty slot with a function under a signature of the user's, if this version has it."""

    def retire(self) -> Held | None:
        """Unload it, or try again; return None once it is proven to be gone.

        Precondition: the table is closed.  Runs destructors of the library.
        """


class Access(Protocol):
    """How variables are read and written where they aren't memory that this process can reach."""

    def names(self) -> list[str]:
        """Return the names of all variables."""

    def read(self, name: str) -> Any:
        """Return a variable's value.  Raises `MissingVariableError`."""

    def write(self, name: str, value: Any) -> None:
        """Set a variable."""


# What only some lanes' code has, beyond `Code`.


def access_of(code: Code) -> Access | None:
    """Return the code's own way to variables (its ``access``), if it has one."""
    return getattr(code, "access", None)


def attributes_of(code: Code) -> Mapping[str, Any]:
    """Return what the module has besides functions and variables: the code's ``attributes``."""
    found: Mapping[str, Any] = getattr(code, "attributes", {})
    return found


def data_of(code: Code) -> Data | None:
    """Return the code's variables as memory: a new ``data`` for each move."""
    made: Callable[[], Data] | None = getattr(code, "data", None)
    return made() if made is not None else None


def image_of(code: Code) -> tuple[int, int, int] | None:
    """Return the base, the lowest and the highest address of code that is mapped here (its ``image``)."""
    found: tuple[int, int, int] | None = getattr(code, "image", None)
    return found


def has_data(code: Code) -> bool:
    """Whether the code has variables that could be moved."""
    return hasattr(code, "data")


def provided_in(code: Code) -> Mapping[str, int]:
    """Return where the code's process has what its host provides, by symbol (its ``provided``).

    Empty where that stays valid as long as anybody may have it.
    """
    found: Mapping[str, int] = getattr(code, "provided", {})
    return found


def link_of(code: Code) -> Link | None:
    """Return the process that the code runs in now: its ``link``; None for this one."""
    found: Link | None = getattr(code, "link", None)
    return found


def heap_of(code: Code) -> Heap | None:
    """Return where the code's typed blocks are, None where there can be none: its ``heap``."""
    return getattr(code, "heap", None)


def objects_of(code: Code) -> int:
    """Return how many live objects of the code's hold its version, a pin each: its ``objects``."""
    count: int = getattr(code, "objects", 0)
    return count


def moves_data_early(code: Code) -> bool:
    """Whether preparing the next version moves this one's data at once: its ``stateful``."""
    stateful: bool = getattr(code, "stateful", False)
    return stateful


def pause_of(code: Code) -> float:
    """Return for how many seconds callers were held back while the code took over: its ``pause``."""
    seconds: float = getattr(code, "pause", 0.0)
    return seconds


def hooks_of(code: Code) -> Mapping[str, Callable[[], int]]:
    """Return the hooks that the library has, by name (its ``hooks``).

    Each returns 0 if all is well.  Raises `HookError` ("crashed …"), or what the library or a callback of it raised.
    """
    found: Mapping[str, Callable[[], int]] = getattr(code, "hooks", {})
    return found


def migrate_by(code: Code, function: Function, pairs: Sequence[tuple[int, int]], sizes: tuple[int, int]) -> None:
    """Let a function of the library's migrate structs: ``pairs`` of addresses here, before and now; ``sizes`` likewise.

    Raises `HookError` ("crashed …"), or what the library raised.
    """
    code.migrate(function, pairs, sizes)  # type: ignore[attr-defined]  # only native lanes have data


def ends_hooks(code: Code) -> bool:
    """Whether retiring the code also ends hooks that hang (its ``ends_hooks``), because it ends their process."""
    ends: bool = getattr(code, "ends_hooks", False)
    return ends


def threads_of(code: Code) -> str:
    """Say which threads the library has started that are alive (its ``threads()``); "" if there are none."""
    ask = getattr(code, "threads", None)
    said: str = ask() if ask is not None else ""
    return said


def set_yield(code: Code, *, wanted: bool) -> None:
    """Let calls under way know whether they are waited for (its ``set_yield``): see midflight_should_yield()."""
    told = getattr(code, "set_yield", None)
    if told is not None:
        told(wanted)


def tell_has_data(code: Code, old: Code) -> None:
    """Tell code that another version's data have been brought to it (its ``has_data_of``, which can't fail)."""
    told = getattr(code, "has_data_of", None)
    if told is not None:
        told(old)


def tell_switched(code: Code) -> None:
    """Tell code that its version is the current one now (its ``switched``, which can't fail)."""
    switched = getattr(code, "switched", None)
    if switched is not None:
        switched()


@dataclass(slots=True)
class Wanted:
    """What a lane is asked to prepare.

    ``module``: the module's name; ``label``: the version as people see it; ``number``: its number; ``heaps``: where the
    module's typed blocks are; ``slots``: the slot of every function key,
    see `function_keys`; ``explicit``: functions that are wanted under a signature of the user's, by key; ``before``:
    the version before, if its types are the same: its classes are to stay then; ``old``: the version that is to be
    replaced, whatever its types; ``services``: what the host provides of the functions that the library calls and
    doesn't have; ``guarded``: whether a crash of it in this process is raised; ``line``: its number in the record of
    crashes; ``hardened``: its bytes are mapped from sealed memory.
    """

    module: str
    label: str
    number: int
    heaps: Heaps
    data: bytes
    artifact: Artifact
    interface: Interface
    source: str
    slots: Mapping[str, int]
    explicit: Mapping[str, ExplicitFunction] = field(default_factory=dict)
    hold_gil: Callable[[str], bool] = lambda _name: False
    guarded: bool = False
    line: int = 0
    lazy: bool = False
    before: Code | None = None
    old: Code | None = None
    services: tuple[Service, ...] = ()
    hardened: bool = False


class Follower(Protocol):
    """Wants to know which function is provided."""

    def lead(self, function: Callable[..., Any]) -> None:
        """Take note of it."""


class Provider(Protocol):
    """What stands behind a service."""

    def __call__(self, *values: Any) -> Any:
        """Run what is provided now."""

    def follow(self, follower: Follower) -> None:
        """Tell a follower what is provided, now and whenever that is replaced, for as long as it is there."""


class Service(NamedTuple):
    """A function of the host's that a version calls by a ``symbol``, with the type of a function of an interface."""

    symbol: str
    interface: Interface
    function: Function
    provider: Provider


class ExplicitFunction(NamedTuple):
    """A function to be called with a signature that isn't the library's own: a variadic one's, for example."""

    symbol_of: str
    interface: Interface
    function: Function


class Lane(Protocol):
    """A way of running code.  ``name``: for people."""

    name: str

    def read_interface(self, artifact: Artifact, data: bytes, declared: Any) -> Interface:
        """Return what an artifact offers.  Runs none of its code."""

    def prepare(self, wanted: Wanted) -> Code:
        """Load it.  When it raises, nothing is left behind."""


def function_keys(function: Function) -> tuple[str, ...]:
    """Return the names under which a function has a slot: its attribute's, and its qualified one."""
    if function.name in {"", function.qualified}:
        return (function.qualified,)
    return (function.name, function.qualified)


def bindings_by_slot(slots: Mapping[str, int], made: Mapping[str, Any]) -> list[Any]:
    """Arrange bindings by their slot; None where this version has no such function."""
    row: list[Any] = [None] * len(slots)
    for key, binding in made.items():
        row[slots[key]] = binding
    return row
