"""A client's callables, as native code's calls reach them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from midflight._errors import ConnectionLostError

if TYPE_CHECKING:
    from midflight._control import Generation
    from midflight.artifact.interface import Signature
    from midflight.lanes.remote.wire import Answer, Trouble
    from midflight.offering.peer import Peer
    from midflight.offering.served import Served


class CallbackRaisedError(Exception):
    """What a client's callable raised.  ``raised``: the number by which the client knows it."""

    def __init__(self, peer: Peer, serial: int, answer: Answer, trouble: Trouble) -> None:
        super().__init__(trouble.what)
        self.peer = peer
        self.serial = serial
        self.raised = answer.raised
        self.trouble = trouble


class Proxy:
    """A client's callable, as native code's calls reach it.  Holds neither the connection nor the version."""

    def __init__(self, peer: Peer, token: int, served: Served, generation: Generation, signature: Signature) -> None:
        self._peer = weakref.ref(peer)
        self._generation = weakref.ref(generation)
        self._token = token
        self._served = served
        self._signature = signature

    def __call__(self, *values: Any) -> Any:
        """Call it over the connection.  Raises what it raises, as a `CallbackRaisedError`."""
        peer, generation = self._peer(), self._generation()
        if peer is None or generation is None:
            raise gone()
        return peer.call_back(self._token, self._served, generation, self._signature, values)


def gone() -> ConnectionLostError:
    """Return the error for a callable whose client isn't connected any more."""
    return ConnectionLostError("the client that passed this callback is gone", todo="pass it again")
