"""The content cache's index: what was built from which contents.  Two levels, like ccache's direct mode.

A key stands for all that is known before a compiler runs (source bytes, flags, compiler, environment).  Its manifest
lists, for each build under this key, the further files that the compiler read, with their contents, and the artifact
that came out.

Guarantees:
- The contents of files are compared, not their times (except files of the system and the toolchain).
- One key is built by one thread of one process at a time; the others wait and then find the result.
- A manifest that is damaged, isn't ours, or names an artifact that isn't whole, counts as not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from midflight import _ownership
from midflight._cache import cache_directory, cache_subdirectory
from midflight._errors import IntegrityError
from midflight.build import files, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FORMAT = 1
_ENTRIES = 16
_DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Built:
    """What a build brought: ``data`` (or a file of it in the build's directory), and what it depends on beyond its key.

    ``files``: the digest of each file that was read, or found missing.  ``environment``: variables that were read.
    ``reusable`` is False where the same inputs may give something else, or where what was seen isn't sure.
    """

    data: bytes | Path
    files: Mapping[Path, str] = field(default_factory=dict)
    environment: Mapping[str, str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reusable: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A built artifact in the store, and what it depends on."""

    sha256: str
    files: Mapping[Path, str]
    warnings: tuple[str, ...]
    cached: bool


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    artifact: str
    files: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str | None], ...]
    warnings: tuple[str, ...]


class _Manifest(msgspec.Struct, frozen=True, array_like=True):
    format: int
    entries: tuple[_Entry, ...]


_log = logging.getLogger("midflight")
_decoder = msgspec.msgpack.Decoder(_Manifest)
_encoder = msgspec.msgpack.Encoder()


def key(*parts: Any) -> str:
    """Return the key for what is known before a build."""
    return hashlib.sha256(_encoder.encode((FORMAT, parts))).hexdigest()


def obtain(name: str, build: Callable[[Path], Built]) -> Found:
    """Return what was built under the key ``name`` from the present contents, or call ``build`` with a directory.

    The directory is empty, and deleted afterwards.
    """
    found = _lookup(name)
    if found is not None:
        return found
    with _locked(name):
        found = _lookup(name)
        if found is not None:
            return found
        directory = Path(tempfile.mkdtemp(dir=cache_subdirectory("work")))
        try:
            built = build(directory)
            stored = store.put(built.data) if isinstance(built.data, bytes) else store.adopt(built.data)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if built.reusable and files.UNSURE not in built.files.values():
            _remember(name, stored.sha256, built)
    return Found(stored.sha256, built.files, built.warnings, cached=False)


def path_of(name: str) -> Path:
    """Return where a key's manifest is, or would be."""
    return cache_directory() / "manifests" / name[:2] / name


def _lookup(name: str) -> Found | None:
    path = path_of(name)
    seen: dict[str, str] = {}

    def present(file: str) -> str:
        if file not in seen:
            seen[file] = files.current(Path(file))
        return seen[file]

    for entry in _read(path):
        if all(present(file) == digest for file, digest in entry.files) and all(
            os.environ.get(variable) == value for variable, value in entry.environment
        ):
            if store.find(entry.artifact) is None:
                continue
            with contextlib.suppress(OSError):
                os.utime(path)
            known = {Path(file): digest for file, digest in entry.files}
            return Found(entry.artifact, known, entry.warnings, cached=True)
    return None


def _read(path: Path) -> tuple[_Entry, ...]:
    try:
        data = _ownership.read_own(path)
    except OSError:
        return ()
    except IntegrityError as error:
        _log.warning("%s", error)
        return ()
    payload = data[_DIGEST_SIZE:]
    if hashlib.sha256(payload).digest() != data[:_DIGEST_SIZE]:
        return ()
    try:
        manifest = _decoder.decode(payload)
    except msgspec.MsgspecError:
        return ()
    return manifest.entries if manifest.format == FORMAT else ()


def _remember(name: str, artifact: str, built: Built) -> None:
    """Put the build at the head of the key's manifest, in place of one from the same contents."""
    path = path_of(name)
    entry = _Entry(
        artifact,
        tuple((str(file), digest) for file, digest in built.files.items()),
        tuple(built.environment.items()),
        built.warnings,
    )
    others = tuple(old for old in _read(path) if (old.files, old.environment) != (entry.files, entry.environment))
    payload = _encoder.encode(_Manifest(FORMAT, (entry, *others)[:_ENTRIES]))
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=cache_subdirectory("manifests", name[:2]))
    with os.fdopen(handle, "wb") as file:
        file.write(hashlib.sha256(payload).digest() + payload)
    Path(temporary).replace(path)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold the key's lock.  A lock belongs to the descriptor, so it works between threads as between processes."""
    path = cache_subdirectory("locks") / name[:3]
    descriptor = _ownership.open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        # Where the file system knows no locks, two builds of the same key are waste, but do no harm.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Explicitly: a process forked meanwhile has a copy of the descriptor and would keep the lock.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
