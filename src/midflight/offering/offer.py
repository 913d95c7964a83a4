"""`offer`: other programs may use a module of this one, over a socket.

Guarantees:
- Nobody can connect to a Unix socket but its owner; a TCP socket is on the loopback unless its address says otherwise.
- Swapping the module is seen by every client; calls under way end in their version, and none is lost or run twice.
- `stop` ends every connection; the module itself goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Self

from midflight import _events
from midflight._control import Control, control_of
from midflight._errors import UnloadedError
from midflight._swap import swap
from midflight.lanes.remote import address as addresses
from midflight.lanes.remote import wire
from midflight.offering.peer import Peer
from midflight.offering.pool import Pool
from midflight.offering.served import Served
from midflight.offering.sockets import listen

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from midflight._control import Generation

_log = logging.getLogger("midflight")
_KEPT = 8
_MOST_CLIENTS = 256


class Offer:
    """A module that others may use.  End it with `stop`, or use it in a ``with`` block.

    ``address``: where it is offered, with the port that the system chose if that was 0.
    """

    def __init__(
        self,
        module: ModuleType,
        at: str,
        *,
        token: str | bytes | None,
        allow_swap: bool,
        threads: int,
        largest: int,
    ) -> None:
        self.control: Control = control_of(module)
        self.token = wire.token_bytes(token)
        self.allow_swap = allow_swap
        self.largest = largest
        self._module = module
        self._mutex = threading.Lock()
        self._served: dict[int, Served] = {}
        self._offered: tuple[int, wire.Offered] | None = None
        self._peers: set[Peer] = set()
        self._strangers: set[Peer] = set()
        self._stopped = False
        self._listener = listen(addresses.parse(at), token=self.token is not None)
        self.address = self._listener.text
        name = f"midflight-offer-{self.control.name}"
        self.pool = Pool(threads, name)
        self._unsubscribe = _events.subscribe(self._noticed)
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()
        _offers.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.control.name} offered at {self.address}, {len(self._peers)} clients>"

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._peers)

    def stop(self) -> None:
        """End it: nobody can connect any more, and every client's calls in flight raise `ConnectionLostError`."""
        with self._mutex:
            if self._stopped:
                return
            self._stopped = True
            peers = [*self._peers, *self._strangers]
        self._unsubscribe()
        with contextlib.suppress(OSError):
            self._listener.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for peer in peers:
            peer.close()
        self.pool.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # ---- versions

    def hold(self, number: int) -> Generation:
        """Return a version, pinned: the current one, or exactly this.  Raises `UnloadedError` where it is gone."""
        while True:
            generation = self._find(number) if number else self.control.need_current()
            try:
                generation.table.pin()
            except UnloadedError:
                if number or self.control.current is generation:
                    raise
                continue
            return generation

    def _find(self, number: int) -> Generation:
        for generation in tuple(self.control.generations):
            if generation.version.number == number:
                return generation
        raise UnloadedError(f"version {number} is gone", subject=self.control.name)

    def served(self, generation: Generation) -> Served:
        """Return what is needed to serve a version's calls.  Precondition: it is pinned."""
        number = generation.version.number
        found = self._served.get(number)
        if found is not None:
            return found
        with self._mutex:
            if number not in self._served:
                code = generation.code
                if code is None:
                    raise self.control.unloaded()
                self._served[number] = Served(self.control, generation, code.ctypes)
                for old in sorted(self._served)[:-_KEPT]:
                    del self._served[old]
            return self._served[number]

    def offered(self) -> wire.Offered:
        """Return what is offered now."""
        generation = self.hold(0)
        try:
            number = generation.version.number
            cached = self._offered
            if cached is None or cached[0] != number:
                served = self.served(generation)
                artifact = generation.version.artifact
                name = self.control.name
                cached = number, wire.Offered(name, number, artifact, served.layout, generation.interface)
                self._offered = cached
            return cached[1]
        finally:
            generation.table.unpin()

    def swap(self) -> None:
        """Swap the module, because a client asks for it."""
        swap(self._module)

    def _noticed(self, event: _events.Event) -> None:
        """Tell the clients of a swap, without holding it up."""
        if isinstance(event, _events.Swapped) and event.module is self._module:
            with self._mutex:
                peers = list(self._peers)
            for peer in peers:
                self.pool.submit(peer.announce)

    # ---- clients

    def entered(self, peer: Peer) -> None:
        """Count a client in, from the end of its handshake on."""
        with self._mutex:
            self._strangers.discard(peer)
            if not self._stopped:
                self._peers.add(peer)
        peer.announce()  # what was swapped during the handshake

    def left(self, peer: Peer) -> None:
        """Count a client out."""
        with self._mutex:
            self._strangers.discard(peer)
            self._peers.discard(peer)

    def _accept(self) -> None:
        number = 0
        while not self._stopped:
            try:
                sock, _ = self._listener.sock.accept()
            except OSError as error:
                if self._stopped:
                    return
                if not self._accept_again(error):
                    return
                continue
            number += 1
            self._welcome(sock, number)

    def _accept_again(self, error: OSError) -> bool:
        """After a failed accept (a client that has gone again, too many open files): whether to go on."""
        _log.warning("%s: a client couldn't be let in (%s)", self.address, error)
        if self._listener.sock.fileno() < 0:
            return False
        # Too many files are open: the client stays in the backlog until some are closed.
        return not threading.Event().wait(0.05)

    def _welcome(self, sock: socket.socket, number: int) -> None:
        peer = Peer(self, sock, f"client {number} of {self.address}")
        with self._mutex:
            full = len(self._peers) + len(self._strangers) >= _MOST_CLIENTS
            if not full and not self._stopped:
                self._strangers.add(peer)
        if full or self._stopped:
            _log.warning("%s: there are %d clients already", self.address, _MOST_CLIENTS)
            sock.close()
            return
        addresses.tune(sock)
        threading.Thread(target=peer.run, name=f"midflight-client-{number}", daemon=True).start()

    # ---- fork

    def forget(self) -> None:
        """In the child of a fork: the sockets are the parent's."""
        self._stopped = True
        self._unsubscribe()
        self._listener.owner = 0
        self._listener.sock.close()
        for peer in (*self._peers, *self._strangers):
            peer.closed = True
            peer.disown()


_offers: weakref.WeakSet[Offer] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_offers):
        one.forget()


os.register_at_fork(after_in_child=_after_fork)
