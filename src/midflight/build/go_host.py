"""The form of a Go host program: an executable, and behind it what it offers.

The system's loader doesn't look at what lies behind an executable's last segment, so the file runs as it is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"midflight-go-1\r\n"
_TRAILER = struct.Struct("<QQ16s")
_ELF = b"\x7fELF"


def attach(program: bytes, api: bytes, plugin: bytes = b"") -> bytes:
    """Return the artifact: program, plugin, API, and their sizes."""
    return b"".join((program, plugin, api, _TRAILER.pack(len(plugin), len(api), _MAGIC)))


def append(file: Path, api: bytes) -> None:
    """Turn a program into an artifact, in its place."""
    with file.open("ab") as stream:
        stream.write(api + _TRAILER.pack(0, len(api), _MAGIC))


def is_go_host(data: bytes) -> bool:
    """Tell whether these bytes are a host program of ours."""
    return data.startswith(_ELF) and data.endswith(_MAGIC) and detach(data) is not None


def detach(data: bytes) -> bytes | None:
    """Return the API of a host program, None if the bytes aren't whole."""
    if len(data) < _TRAILER.size:
        return None
    plugin, api, magic = _TRAILER.unpack(data[-_TRAILER.size :])
    end = len(data) - _TRAILER.size
    if magic != _MAGIC or plugin + api > end:
        return None
    return data[end - api : end]
