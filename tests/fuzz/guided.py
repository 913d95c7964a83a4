"""``python -m tests.fuzz.guided``: Atheris, which follows the code that its inputs reach, on the readers.

Each target takes any bytes, and lets only midflight's own kinds of error out; time and memory of an input are bounded.
An input that breaks that is written to a file, and the command that shows it again is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SEED = 20261121
RUNS = 20_000
SECONDS, MEBIBYTES = 20, 2048
WATCHED = ("midflight.artifact", "midflight.lanes.remote.wire", "midflight.probing.protocol")
ROOT = Path(__file__).parents[2]


@lru_cache(maxsize=1)
def _library() -> bytes:
    """Return the library that inputs begin with: small, so that most of its bytes matter."""
    from tests.fuzz import originals

    with tempfile.TemporaryDirectory() as directory:
        return originals.small(Path(directory)).data


def elf(data: bytes) -> None:
    """Read the container: sections, symbols, what the loader reads of it."""
    from midflight import MidflightError, _core
    from midflight.artifact import symbol_table
    from midflight.artifact.dynamic import Held, read
    from midflight.artifact.elf import Elf

    def sections(bytes_: bytes) -> None:
        found = Elf(bytes_)
        found.versioned_libraries()
        for name in found.sections:
            found.section(name)

    for look in (sections, lambda it: symbol_table.read_names(Elf(it)), lambda it: read(Held(it)), _core.check):
        with suppress(MidflightError):
            look(data)


def dwarf(data: bytes) -> None:
    """Read debug information, in a container that is as it should be."""
    from midflight import MidflightError
    from midflight.artifact.compare import compare
    from midflight.artifact.ctypes_types import CTypes
    from midflight.artifact.dwarf.reader import read
    from midflight.artifact.elf import Elf
    from tests.fuzz.container import library_of

    with suppress(MidflightError):
        found = read(library_of(data, Elf(_library())))
        CTypes(found).namespace()
        compare(found, found)


def cache(data: bytes) -> None:
    """Read an entry of the cache of interfaces."""
    import hashlib

    from midflight._cache import cache_subdirectory
    from midflight.artifact import reader

    name = "f" * 64
    path = cache_subdirectory("interfaces") / f"{name}.msgpack"
    path.write_bytes(hashlib.sha256(data).digest() + data)
    reader._load(name)


def messages(data: bytes) -> None:
    """Take what the other side of a socket, or a probing process, may send."""
    from midflight import ProtocolError
    from midflight.lanes.remote import wire
    from midflight.probing.protocol import Incoming, ProtocolBrokenError

    for decoder in (wire.greetings, wire.hellos, wire.welcomes, wire.from_client, wire.from_server):
        with suppress(ProtocolError):
            wire.decode(decoder.decode, data)
    with suppress(ProtocolBrokenError):
        Incoming().add(data)


TARGETS: dict[str, Callable[[bytes], None]] = {"elf": elf, "dwarf": dwarf, "cache": cache, "messages": messages}


def seeds(target: str) -> list[bytes]:
    """Return inputs to begin with."""
    from midflight.artifact import reader
    from midflight.artifact.dwarf.reader import read
    from midflight.lanes.remote import wire
    from midflight.probing import protocol
    from tests.fuzz.container import parts_of

    match target:
        case "elf":
            return [_library()]
        case "dwarf":
            return [parts_of(_library())]
        case "cache":
            return [reader._encoder.encode(reader._Entry(reader.FORMAT, "f" * 64, read(_library())))]
        case _:
            greeting = wire.Greeting(wire.MAGIC, wire.PROTOCOL, "1.0", b"nonce", False)
            return [wire.frame(greeting)[4:], protocol.framed(protocol.encode(protocol.Ready()))]


# ---- running --------------------------------------------------------------------------------------------------------


def run(target: str, words: list[str]) -> None:
    """Become the fuzzer; what libFuzzer is told is in ``words``.  Doesn't return."""
    import atheris

    TARGETS[target](seeds(target)[0])  # which imports what it needs
    for name, module in tuple(sys.modules.items()):
        if name.startswith(WATCHED):
            for function in _functions(module):
                atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *words], TARGETS[target])
    atheris.Fuzz()


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Return a module's functions and methods, one by one: hooks on its import don't work with every installer."""
    for found in tuple(vars(module).values()):
        if getattr(found, "__module__", "") != module.__name__:
            continue
        for one in (found, *(tuple(vars(found).values()) if isinstance(found, type) else ())):
            function = getattr(one, "__func__", None) or getattr(one, "fget", None) or one
            if isinstance(function, FunctionType):
                yield function


def main() -> int:
    """Run the targets that the command line names, each in a process of its own; return how many broke."""
    options = _options()
    if options.run:
        run(options.run, options.words)
    broke = 0
    for target in options.targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="midflight-fuzz-") as directory:
            for number, data in enumerate(seeds(target)):
                Path(directory, f"seed-{number}").write_bytes(data)
            words = [str(options.input)] if options.input else _words(options, directory)
            print(f"{target}: seed {options.seed}", flush=True)
            command = [sys.executable, "-m", "tests.fuzz.guided", "--run", target, "--", *words]
            done = subprocess.run(command, cwd=ROOT, capture_output=not options.input, text=True, check=False)
        broke += done.returncode != 0
        if not options.input:
            _tell(target, done, options.keep)
    return broke


def _tell(target: str, done: subprocess.CompletedProcess[str], keep: Path) -> None:
    """Print how it went; of what broke, the traceback (that is what goes to its output) and the fuzzer's last words."""
    lines = done.stderr.splitlines()
    if done.returncode == 0:
        print("\n".join(line for line in lines if "DONE" in line), flush=True)
        return
    print(done.stdout, "\n".join(lines[-20:]), f"status {done.returncode}", sep="\n")
    print(f"again: python -m tests.fuzz.guided {target} --input {keep}/...", flush=True)


def _words(options: argparse.Namespace, directory: str) -> list[str]:
    options.keep.mkdir(parents=True, exist_ok=True)
    return [
        f"-max_total_time={options.seconds}" if options.seconds else f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEBIBYTES}",
        f"-artifact_prefix={options.keep}/",
        "-max_len=65536",
        "-len_control=0",
        directory,
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of: {', '.join(TARGETS)}; by default all")
    parser.add_argument("--runs", type=int, default=RUNS, help="inputs for each")
    parser.add_argument("--seconds", type=int, help="how long for each, instead")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--input", type=Path, help="only this input, a file")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="where inputs that break one go")
    parser.add_argument("--run", choices=TARGETS, help=argparse.SUPPRESS)
    options, words = parser.parse_known_args()
    options.words = [word for word in words if word != "--"]
    if options.run:
        options.words = [*options.targets, *options.words]
        options.targets = []
    return options


if __name__ == "__main__":
    sys.exit(main())
