"""The form of messages to and from a Go worker; golang/runtime has the same numbers in wire.go and calls.go."""

from __future__ import annotations

from typing import Final

import msgspec

HANDLE: Final = 1
TYPED: Final = 2
TEXT: Final = 3
ERROR: Final = 4
CALLBACK: Final = 5

METHOD, READ, WRITE, READ_FIELD, WRITE_FIELD, RELEASE, DESCRIBE, SAVE, RESTORE, CALL = range(
    (1 << 32) + 1, (1 << 32) + 11
)

VALUE, FAILED, PANIC, MISFIT, RAISED = range(5)

DEEPEST: Final = 200
"""How deep values may be nested."""

encode = msgspec.msgpack.Encoder().encode


def extension(code: int, content: object) -> msgspec.msgpack.Ext:
    """Return an extension whose content is msgpack itself."""
    return msgspec.msgpack.Ext(code, encode(content))
