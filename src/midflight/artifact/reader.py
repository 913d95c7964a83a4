"""What an artifact offers: the one way in, whatever it is read from, with a cache by content.

Guarantees: safe to call from any thread.  An interface is read once for the same bytes and kept on disk under the
bytes' SHA-256; an entry that is damaged, of another format or not ours is made anew and replaced.  Entries are written
under another name and renamed, so that no reader sees half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from midflight import _ownership
from midflight._cache import cache_directory, cache_subdirectory
from midflight._errors import IntegrityError, InterfaceError
from midflight._fork import Lock
from midflight.artifact.dwarf import reader as dwarf
from midflight.artifact.elf import Elf, exported_symbols
from midflight.artifact.hooks import take_hooks
from midflight.artifact.interface import Interface  # noqa: TC001 - msgspec reads the annotation
from midflight.artifact.type_table import has_cycle, parts_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from midflight.artifact.elf import Symbol

__all__ = ["Declared", "exported_symbols", "read_interface"]

Declared: TypeAlias = "type | str | Path"
"""An ``interface=`` argument: a Protocol class, C declarations as text, or a header file."""

FORMAT = 7
"""Goes up with each change of the model or of what the readers make of the same bytes."""

_DIGEST_SIZE = 32
_REMEMBERED = 64
_HEADER_SUFFIXES = (".h", ".hpp", ".hh", ".hxx")

_log = logging.getLogger("midflight")
_remembered: OrderedDict[Hashable, Interface] = OrderedDict()
_lock = Lock()


class _Entry(msgspec.Struct, frozen=True):
    """One file of the cache; in front of it stands the SHA-256 of all of it."""

    format: int
    sha256: str
    interface: Interface


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Entry)


def read_interface(data: bytes, *, sha256: str, declared: Declared | None = None) -> Interface:
    """Return what a library offers: as declared, or else from its debug information.

    ``sha256`` names the bytes.  Raises `BadLibraryError` for bytes that are no library, `InterfaceError` where its
    functions can't be told or a declared function isn't there.
    """
    if declared is not None:
        return _read_declared(declared, data)
    return take_hooks(_read(data, sha256))


def _read(data: bytes, sha256: str) -> Interface:
    with _lock:
        found = _remembered.get(sha256)
        if found is not None:
            _remembered.move_to_end(sha256)
            return found
    found = _load(sha256)
    if found is None:
        found = dwarf.read(data)
        _store(sha256, found)
    with _lock:
        _remembered[sha256] = found
        while len(_remembered) > _REMEMBERED:
            _remembered.popitem(last=False)
    return found


def forget() -> None:
    """Empty the memory of interfaces; the disk keeps them."""
    with _lock:
        _remembered.clear()


def _read_declared(declared: Declared, data: bytes) -> Interface:
    exports = Elf(data).exports
    return take_hooks(_read_declarations(declared, exports), exports)


def _read_declarations(declared: Declared, exports: Mapping[str, Symbol]) -> Interface:
    # Imported here because they bring a C parser with them, which most programs never need.
    from midflight.artifact import declared as declarations  # noqa: PLC0415
    from midflight.artifact import protocol  # noqa: PLC0415

    if isinstance(declared, str) and _is_header(declared):
        declared = Path(declared)
    if isinstance(declared, Path):
        return declarations.read_header(declared, exports)
    if isinstance(declared, str):
        return declarations.read_text(declared, exports)
    if isinstance(declared, type):
        return protocol.read(declared, exports)
    what = f"interface= takes a Protocol class, C declarations or a header file, not {type(declared).__name__}"
    raise InterfaceError(what, todo="pass one of these three")


def _is_header(text: str) -> bool:
    return "\n" not in text and text.strip().endswith(_HEADER_SUFFIXES) and (Path(text).exists() or "(" not in text)


def _path(sha256: str) -> Path:
    if not sha256.isalnum():
        raise ValueError(f"{sha256!r} is no SHA-256")
    return cache_directory() / "interfaces" / f"{sha256}.msgpack"


def _load(sha256: str) -> Interface | None:
    try:
        data = _ownership.read_own(_path(sha256))
    except OSError:
        return None
    except IntegrityError as error:
        _log.warning("%s", error)
        return None
    payload = memoryview(data)[_DIGEST_SIZE:]
    if hashlib.sha256(payload).digest() != data[:_DIGEST_SIZE]:
        return None  # a flipped bit would be another type
    try:
        entry = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if entry.format != FORMAT or entry.sha256 != sha256 or not _is_sound(entry.interface):
        return None
    return entry.interface


def _store(sha256: str, interface: Interface) -> None:
    """Write an entry; a cache that can't be written costs time, not the result."""
    try:
        directory = cache_subdirectory("interfaces")
    except IntegrityError as error:
        _log.warning("%s", error)
        return
    path = _path(sha256)
    with contextlib.suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".", suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                payload = _encoder.encode(_Entry(FORMAT, sha256, interface))
                file.write(hashlib.sha256(payload).digest() + payload)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _is_sound(interface: Interface) -> bool:
    """Tell whether all type numbers of an entry from the disk lead somewhere, and no type contains itself."""
    count = len(interface.types)
    used = [function.result for function in interface.functions]
    used += [param.type for function in interface.functions for param in function.params]
    used += [function.result for function in interface.needs]
    used += [param.type for function in interface.needs for param in function.params]
    used += [variable.type for variable in interface.variables]
    for found in interface.types:
        used += parts_of(found)
    return count > 0 and all(0 <= number < count for number in used) and not has_cycle(interface.types)
