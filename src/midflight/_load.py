"""`load` and `unload`: a module's beginning and its end."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Literal

from midflight import _retire, _transaction, build, lanes
from midflight._access import Missing
from midflight._carry import HOOK_TIMEOUT, Carrying, check_carry, check_compat, check_on_dangling, check_seconds
from midflight._control import Control, Options, control_of
from midflight._errors import SwapInsideError, UnsupportedPlatformError
from midflight._events import Loaded, emit
from midflight._integrity import Expectations, check_expect
from midflight._services import Services
from midflight._trial import Trial, check_compare, check_on_crash, check_probe, check_share
from midflight.lanes import LaneOptions, Limits
from midflight.soaking.watcher import tell, watcher

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence

    from midflight._carry import Carry, OnDangling
    from midflight._control import Generation
    from midflight._integrity import Expected
    from midflight._trial import Compare, OnCrash, Probe
    from midflight._version import Version
    from midflight.lanes.remote.lane import RemoteSource

Compat = Literal["strict", "any"]


def load(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    name: str | None = None,
    flags: Sequence[str] = (),
    build: str | Sequence[str] | None = None,
    artifact: str | os.PathLike[str] | None = None,
    interface: Any = None,
    hold_gil: bool | Collection[str] = False,
    compat: Compat = "strict",
    lazy: bool = False,
    lane: str | None = None,
    workers: int = 1,
    limits: Limits | None = None,
    sandbox: bool = False,
    timeout: float | None = None,
    token: str | bytes | None = None,
    save_every: float | None = None,
    save_calls: int | None = None,
    carry: Carry = "auto",
    on_dangling: OnDangling = "refuse",
    hook_timeout: float = HOOK_TIMEOUT,
    provides: Any = None,
    probe: Probe | bool | None = None,
    on_crash: OnCrash | None = None,
    record: float = 0.0,
    compare: Compare = "exact",
    hardened: bool = False,
    expect: Expected | None = None,
) -> types.ModuleType:
    """Build a library if need be, load it, and return it as a module whose functions can be swapped.

    Args:
        source: a C, C++, Rust or Zig source file, several of one module, a Cargo project, or a ready shared library.
        name: the module's name; by default made from the source's.
        flags: for the compiler and the linker.
        build: a command that makes ``artifact``, for every other language.
        artifact: the library that ``build`` makes.
        interface: what the library offers, where it has no debug information: a Protocol class with annotations, C
            declarations as text, or the path of a header.
        hold_gil: call without giving up the GIL (a little faster; every other thread waits): True, or names.
        compat: what later swaps may change: "strict" (nothing that callers use) or "any".
        lazy: let the loader look functions of other libraries up at their first call, not now.
        lane: where its code runs: "here" (in this process), "worker" (in a process of its own), or the address of one
            that runs elsewhere, "unix:/path" or "tcp:host:port".  By default here, unless it couldn't be unloaded here.
        workers: how many calls a worker process runs at the same time.
        limits: what a worker process may use.
        sandbox: let a worker process neither reach the network nor write files.
        timeout: seconds that a call over a socket may take.
        token: the secret that the other side of a socket asks for.
        save_every: seconds after which a Go package's state is saved again and again, for a worker that crashes.
        save_calls: the number of calls after which it is saved.
        carry: which data later swaps bring to the new version: "auto" (every variable that the program has changed),
            "require" (the same, and a swap that would drop one is refused), "fresh" (none), or the names of variables.
        on_dangling: what to do about a pointer in them that has nothing to point to in the new version: "refuse" the
            swap, or "keep" the old version loaded.
        hook_timeout: seconds that a hook may take: midflight_loaded and its like in the library,
            `midflight.before_swap` and `midflight.after_swap` in the program.
        provides: functions that the library calls and doesn't have: a dictionary of them by name, a module that
            midflight loaded, or a list of these.
        probe: try this version, and those of later swaps, in a process of its own first: True, False, or `Probe`.  By
            default they are; this first one only if it is to run in this process, calls nothing that the program
            provides, and hasn't passed on this machine before.
        on_crash: what a crash of one of its functions in this process does: "raise" `ModuleCrashed` and go back to the
            version before, or "end" the program.  By default "raise" under ``midflight run``, else "end".
        record: the share of calls of which arguments and results are kept (a bounded number), for the probe to try a
            new version on.
        compare: when its answers count as the same: "exact", a tolerance, or a function.
        hardened: map this and all later versions from sealed memory, so that nobody can change them, and refuse those
            that another user may have made (unless ``expect`` vouches for them), or could give what they need.
        expect: the SHA-256 that the library must have, in hex, or `Signed`; else it is refused before anything reads
            it.  The key of a `Signed` holds for all later swaps too.

    Raises:
        MidflightError: one of its kinds; nothing is left behind then.

    Two loads of the same file are two modules, with data of their own.
    """
    _check_platform()
    expect = check_expect(expect)
    options = Options(
        compat=check_compat(compat),
        interface=interface,
        hold_gil=hold_gil if isinstance(hold_gil, bool) else frozenset(hold_gil),
        lazy=lazy,
        flags=tuple(flags),
        carrying=Carrying(check_carry(carry), check_on_dangling(on_dangling)),
        hook_timeout=check_seconds("hook_timeout", hook_timeout),
        probe=check_probe(probe),
        on_crash=check_on_crash(on_crash),
        record=check_share("record", record),
        compare=check_compare(compare),
        hardened=hardened,
        lanes=LaneOptions(lane, workers, limits or Limits(), sandbox, timeout, token, save_every, save_calls),
    )
    lanes.check(options.lanes, hardened=hardened)
    offered = _offered(lane, given=source, name=name, token=token, timeout=timeout)
    if offered is not None:
        options.compat = "any"  # what a swap may change is decided where the module is offered
    described = offered or _describe(source, flags=flags, build=build, artifact=artifact)
    module_name = name or described.name
    expected = Expectations(expect, hardened=hardened)
    control = Control(module_name, described, options, Services(module_name, provides), expected)
    generation = _transaction.first_generation(control, Trial(check_probe(probe), expect=expect))
    module = make_module(control, generation)
    if offered is not None:
        offered.follow(control)
    emit(Loaded(module, control.name, generation.version))
    return module


def make_module(control: Control, generation: Generation) -> types.ModuleType:
    """Return the module of a control, with its first version current."""
    display = control.source.display
    module = types.ModuleType(control.name, f"{display}, loaded by midflight")
    control.attach(module, generation)
    module.__dict__["__getattr__"] = Missing(control)
    module.__dict__["__file__"] = display
    control.publish()
    return module


_describe = build.describe


def _offered(lane: str | None, **options: Any) -> RemoteSource | None:
    """Return the module that another program offers at ``lane``, if that is an address."""
    if lane is None or not lanes.is_remote(lane):
        return None
    from midflight.lanes import remote  # noqa: PLC0415 - most programs never need it

    return remote.source(lane, **options)


def _check_platform() -> None:
    if sys.platform != "linux":
        what = f"native code can't be swapped on {sys.platform}: midflight serves Linux with glibc"
        raise UnsupportedPlatformError(what, todo="run on Linux")


def unload(module: types.ModuleType, *, timeout: float | None = 0.0) -> Version:
    """End a module: calls that start from now on raise `UnloadedError`; its code is unloaded when nothing holds it.

    Waits at most ``timeout`` seconds (None: for ever) for calls under way.  Returns the last version; its ``status``
    tells what became of it.

    Raises:
        SwapInsideError: asked for with a timeout from inside a call into this module.
        UnloadedError: it has been unloaded before.
    """
    control = control_of(module)
    current = control.need_current()
    if timeout != 0.0 and current.table.entered_here():
        what = "unload was asked to wait for calls from inside a call into the same module"
        raise SwapInsideError(what, subject=control.name, unchanged="nothing was changed", todo="use timeout=0")
    with control.queue:
        current = control.need_current()
        soak = watcher.end(current, "superseded", "the module was unloaded")
        control.current = None
        control.cell.end("the module has been unloaded")
    tell(control, soak)
    if timeout != 0.0:
        _retire.wait_idle(current, timeout)
    _retire.let_go(current)
    return current.version
