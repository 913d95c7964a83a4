"""Pointers of the other process: opaque, and bound to the connection that they came over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from midflight._errors import UnsupportedFunctionError

if TYPE_CHECKING:
    from midflight.lanes.remote.session import Session


class RemotePointer:
    """An address that a remote function returned.  The other side keeps it for as long as this object lives.

    It can be passed back over the same connection, to the version that it came from.  What it points to is in another
    process: `string` asks for a text; everything else is for functions of the library.  Pointers to the same address
    that came over the same connection are equal.
    """

    __slots__ = ("__weakref__", "_number", "_session", "type")

    def __init__(self, session: Session, number: int, type_name: str) -> None:
        self.type = type_name
        self._session = session
        self._number = number

    def number_in(self, session: Session) -> int | None:
        """Return the number by which the other side of a connection knows it; None on any other connection."""
        return self._number if session is self._session else None

    def string(self) -> str:
        """Return the NUL-terminated text that a `char *` points to."""
        return self._session.text(self._number)

    @property
    def contents(self) -> Any:
        """Not to be had: it is in another process."""
        self._refuse()

    @property
    def address(self) -> int:
        """Not to be had: it is in another process."""
        self._refuse()

    def __getitem__(self, index: int) -> Any:
        self._refuse()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemotePointer):
            return NotImplemented
        return self._session is other._session and self._number == other._number

    def __hash__(self) -> int:
        return hash((id(self._session), self._number))

    def __repr__(self) -> str:
        return f"<{self.type} #{self._number} at {self._session.address.text}>"

    def __del__(self) -> None:
        self._session.let_go(self._number)

    def _refuse(self) -> NoReturn:
        what = f"what a {self.type} points to is in another process"
        raise UnsupportedFunctionError(what, todo="let a function of the library read it there")
