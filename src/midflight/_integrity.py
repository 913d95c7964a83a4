"""Which bytes are the right ones: ``expect=``, a SHA-256 or a signature.

Guarantees:
- What is judged are the bytes in memory that are read, tried and mapped afterwards; nothing looks at the file again.
- They are judged first: before anything parses, stores, compiles in, probes or loads them.
- Where nothing is expected of a hardened module's library, it is one that only this user or root can have made.
- A key that `load` was given holds for every later version of the module, whoever starts the swap.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from midflight import _ownership
from midflight._errors import IntegrityError, MidflightError, SourceError
from midflight.build import files

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from midflight.build import Artifact, Source

SUFFIX = ".sig"
"""What a library's signature is called, after the library's own name."""

_SIGNATURE_SIZE = 64
_KEY_SIZE = 32
_MOST_KEY_TEXT = 1 << 16
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PEM = "-----BEGIN "


class Signed:
    """The library is signed: Ed25519, over its bytes as they are.

    Args:
        key: the public key: its 32 bytes, PEM text, the path of a file with one of these, or an ``Ed25519PublicKey`` of
            the package ``cryptography``.  It is read now; a later change of the file means nothing.
        signature: its 64 bytes, or the path of a file with them; by default the file beside the library whose name has
            ``.sig`` added.

    Raises `IntegrityError` for what is no such key, or where ``cryptography`` isn't installed.
    """

    __slots__ = ("_key", "_raw", "signature")

    def __init__(self, key: Any, signature: bytes | str | os.PathLike[str] | None = None) -> None:
        self._key, self._raw = _public_key(key)
        if isinstance(signature, (bytes, bytearray, memoryview)):
            self.signature: bytes | Path | None = _checked(bytes(signature), "signature=")
        else:
            # Absolute, because the program may change its working directory later.
            self.signature = None if signature is None else Path(signature).absolute()

    def __repr__(self) -> str:
        return f"<Signed by {self.key_name}>"

    @property
    def key_name(self) -> str:
        """How to tell the key from others: as ``ssh-keygen -l`` does, over its 32 bytes."""
        digest = hashlib.sha256(self._raw).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def standing(self) -> bool:
        """Whether later versions can be judged by it: not, where the signature itself was given."""
        return not isinstance(self.signature, bytes)

    def same_key(self, other: Signed) -> bool:
        """Tell whether two name the same key."""
        return hmac.compare_digest(self._raw, other._raw)

    def file(self, library: Path | None) -> Path | None:
        """Return the signature's file, for the library at a path (None: it lies nowhere)."""
        if isinstance(self.signature, bytes):
            return None
        if self.signature is not None or library is None:
            return self.signature
        return library.with_name(library.name + SUFFIX)

    def judge(self, data: bytes, library: Path | None) -> None:
        """Raise `IntegrityError` if the bytes aren't signed by the key."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an optional package

        signature = self.signature if isinstance(self.signature, bytes) else self._read(library)
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            found = hashlib.sha256(data).hexdigest()
            raise IntegrityError(
                f"the signature isn't one of these bytes (SHA-256 {found}) by the key {self.key_name}",
                todo="sign this very file with that key; if you have, find out who changed it since",
            ) from None

    def _read(self, library: Path | None) -> bytes:
        place = self.file(library)
        if place is None:
            what = "a signature was expected, and what is built here has no file for one to lie beside"
            raise IntegrityError(what, todo="give it: expect=Signed(key, signature=...)")
        try:
            return _checked(files.read_head(place, _SIGNATURE_SIZE + 1), str(place))
        except (IntegrityError, OSError, MidflightError) as error:
            if isinstance(error, IntegrityError):
                raise
            reason = error.what if isinstance(error, MidflightError) else error.strerror
            raise IntegrityError(
                f"a signature by the key {self.key_name} was expected, and {place} can't be read: {reason}",
                todo="put the library's signature there (64 bytes, as in docs/hardened.md), or say where it is",
            ) from None


Expected: TypeAlias = str | Signed
"""What ``expect=`` takes: a SHA-256 in hex, or `Signed`."""


def check_expect(expect: Any) -> Expected | None:
    """Return what ``expect=`` means.  Raises `SourceError`."""
    if expect is None or isinstance(expect, Signed):
        return expect
    if isinstance(expect, str) and _SHA256.fullmatch(expect):
        return expect.lower()
    todo = "use a SHA-256 as 64 hexadecimal digits, as sha256sum prints it, or midflight.Signed(key)"
    raise SourceError(f"expect={expect!r} is no SHA-256 and no signature", todo=todo)


class Expectations:
    """What one module's versions have to be.  Used by one swap at a time, and read by whoever watches its files."""

    def __init__(self, at_load: Expected | None, *, hardened: bool = False) -> None:
        self._hardened = hardened
        self._standing = at_load if isinstance(at_load, Signed) and at_load.standing else None
        self._seen = files.ABSENT

    def resolve(self, source: Source, given: Expected | None) -> Artifact:
        """Return the source's artifact.  Raises what that raises, and `IntegrityError` if it isn't as expected."""
        wanted = self._wanted(given)
        if not wanted:
            return self._resolve_whoevers(source)
        self._seen = self._digest(source)

        def accept(data: bytes) -> None:
            try:
                for one in wanted:
                    _judge(one, data, source.library)
            except IntegrityError as error:
                error.subject = error.subject or source.display
                raise

        return source.resolve(accept)

    def _resolve_whoevers(self, source: Source) -> Artifact:
        """Resolve what nobody has vouched for; then a hardened module takes only a library that nobody else made."""
        library = source.library
        if not self._hardened or library is None:
            return source.resolve()
        if library.exists():  # not yet, where a command makes it
            _refuse_strangers(library)
        return source.resolve(lambda _data: _refuse_strangers(library))

    def _wanted(self, given: Expected | None) -> list[Expected]:
        """Return all that has to hold: the module's own key, and what is asked for now."""
        if self._standing is None:
            return [given] if given is not None else []
        if given is None:
            return [self._standing]
        if isinstance(given, Signed) and given.same_key(self._standing):
            return [given]  # which says where this version's signature is
        return [self._standing, given]

    # ---- for those who watch

    def inputs(self, source: Source) -> frozenset[Path]:
        """Return the file whose change may make a refused version an accepted one."""
        place = self._standing.file(source.library) if self._standing is not None else None
        return frozenset({place} if place is not None else ())

    def changed(self, source: Source) -> bool:
        """Tell whether that file has another content than when it was last read."""
        return self._standing is not None and self._seen != self._digest(source)

    def _digest(self, source: Source) -> str:
        return "".join(files.digest(place) for place in self.inputs(source))


def _refuse_strangers(library: Path) -> None:
    try:
        _ownership.check_file(library)
    except OSError as error:
        what, todo = f"the file can't be read ({error.strerror})", "check the path and its permissions"
        raise SourceError(what, subject=str(library), todo=todo) from error
    except IntegrityError as error:
        raise IntegrityError(
            f"another user may have made this library: {error.subject}: {error.what.rpartition(': ')[2]}",
            subject=str(library),
            todo="say which bytes are the right ones (expect=), or keep it where only you and root can write",
        ) from None


def _judge(expected: Expected, data: bytes, library: Path | None) -> None:
    if isinstance(expected, Signed):
        expected.judge(data, library)
        return
    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, expected):
        raise IntegrityError(
            f"its SHA-256 is {found}, and {expected} was expected",
            todo="get the file again from who built it, or expect the SHA-256 of the version that you mean",
        )


# ---- keys -----------------------------------------------------------------------------------------------------------


def _checked(signature: bytes, subject: str) -> bytes:
    if len(signature) == _SIGNATURE_SIZE:
        return signature
    raise IntegrityError(
        "this is no Ed25519 signature: those have 64 bytes, not as text",
        subject=subject,
        todo="make it with: openssl pkeyutl -sign -rawin -inkey key.pem -in LIBRARY -out LIBRARY.sig",
    )


def _public_key(key: Any) -> tuple[Ed25519PublicKey, bytes]:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an optional package
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        what = "signatures can't be checked: the package cryptography isn't installed"
        raise IntegrityError(what, todo="pip install 'midflight[signing]'") from None
    if not isinstance(key, Ed25519PublicKey):
        data = _key_bytes(key)
        try:
            if len(data) == _KEY_SIZE:
                key = Ed25519PublicKey.from_public_bytes(data)
            else:
                key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError) as error:
            raise _no_key(f"it can't be read ({error})") from None
        except Exception as error:  # noqa: BLE001 - the package has a kind of its own for algorithms that it doesn't know
            raise _no_key(f"it can't be read ({error})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(f"it is of another kind ({type(key).__name__})")
    return key, key.public_bytes_raw()


def _key_bytes(key: Any) -> bytes:
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    if isinstance(key, str) and key.lstrip().startswith(_PEM):
        return key.encode()
    if isinstance(key, (str, os.PathLike)):
        try:
            return files.read_head(Path(key), _MOST_KEY_TEXT)
        except MidflightError as error:
            raise _no_key(f"{os.fspath(key)} can't be read: {error.what}") from None
    if hasattr(key, "private_bytes"):
        raise _no_key("it is a private key: give its public_key(), and keep this one where libraries are signed")
    raise _no_key(f"it is a {type(key).__name__}")


def _no_key(why: str) -> IntegrityError:
    todo = "give 32 bytes, PEM text, the path of a file with one of these, or an Ed25519PublicKey"
    return IntegrityError(f"this is no Ed25519 public key: {why}", subject="key=", todo=todo)
