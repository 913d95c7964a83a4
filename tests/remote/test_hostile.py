"""Catches bytes from a socket that crash a side, hang it, make it take memory on their word, or get past its checks."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import midflight
from midflight import ConnectionLostError, MidflightError, ProtocolError
from midflight.lanes import remote
from midflight.lanes.remote import address, session, wire
from midflight.lanes.remote.wire import Call, Data, Handle, Plain, Release, Same, Token

SOURCE = r"""
#include <stdbool.h>
typedef struct point { int x; double y; } point;
struct hidden; enum color { RED = 1 };
int add(int a, int b) { return a + b; }
bool flip(bool a) { return !a; }
point moved(point p, int by) { p.x += by; return p; }
enum color next(enum color c) { return c; }
bool is_null(const struct hidden *s) { return s == 0; }
bool any(const int *items) { return items != 0; }
bool writes(double *items) { return items != 0; }
struct hidden *secret(void) { static int one; return (struct hidden *)&one; }
int apply(int (*function)(int)) { return function ? function(1) : 0; }
int counter;
"""
SAFE = ("add", "flip", "moved", "next", "is_null", "any", "writes", "apply", "nothing", "")
FRAMES = [b"", b"\0", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack(">I", 100) + b"short"]


@pytest.fixture
def running(here, at):
    """The address of a module that is offered."""
    here(SOURCE, at)
    return at


def stranger(at):
    """Connect without a word."""
    where = address.parse(at)
    sock = where.socket()
    sock.settimeout(30)
    sock.connect(where.target)
    return sock


def guest(at):
    """Connect and shake hands; return the socket and what is offered."""
    sock = stranger(at)
    wire.decode(wire.greetings.decode, wire.receive(sock, wire.LARGEST_STRANGER))
    sock.sendall(wire.frame(wire.Hello(wire.MAGIC, wire.PROTOCOL, "0", b"x" * 32, b"")))
    welcome = wire.decode(wire.welcomes.decode, wire.receive(sock, wire.LARGEST))
    assert isinstance(welcome, wire.Welcome)
    return sock, welcome.offered


def ended(sock):
    """Read until the other side closes."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass
    sock.close()
    return True


def works(at):
    lib = midflight.load("lib.c", lane=at)
    return lib.add(20, 22) == 42


def test_strangers_that_talk_nonsense(running):
    for data in FRAMES:
        sock = stranger(running)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert works(running)


def test_a_long_frame_is_not_believed(running):
    sock = stranger(running)
    sock.sendall(struct.pack(">I", wire.LARGEST_STRANGER + 1))
    assert ended(sock)
    sock, _ = guest(running)
    sock.sendall(struct.pack(">I", wire.LARGEST + 1))
    assert ended(sock)
    assert works(running)


def test_seeded_garbage_after_the_handshake(running):
    chance = random.Random(20260101)
    for _ in range(60):
        sock, _ = guest(running)
        body = chance.randbytes(chance.randrange(200))
        data = struct.pack(">I", len(body)) + body
        sock.sendall(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.5 else data)
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert works(running)


def test_seeded_changes_of_a_good_message(running):
    chance = random.Random(7)
    sock, offer = guest(running)
    good = wire.frame(Call(1, offer.layout, "moved", (b"\0" * 16, 3)))
    sock.close()
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(4, len(bad))] = chance.randrange(256)
        sock, _ = guest(running)
        sock.sendall(bad)
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert works(running)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.builds(Data, st.binary(max_size=40), st.booleans())
    | st.builds(Handle, st.integers(-3, 3))
    | st.builds(Same, st.integers(-3, 3))
    | st.builds(Plain, st.none() | st.text(max_size=3)),
    lambda inner: st.builds(Plain, st.lists(inner, max_size=2)),
    max_leaves=3,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(SAFE), arguments=st.lists(values, max_size=3), other=st.booleans())
def test_typed_messages_with_wrong_values(shared, name, arguments, other):
    """Every call is answered, by a result or an error, and the connection goes on."""
    sock, offer = shared
    sock.sendall(wire.frame(Call(5, offer.layout + other, name, tuple(arguments))))
    answer = wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))
    assert answer.serial == 5
    sock.sendall(wire.frame(Call(6, offer.layout, "add", (1, 2))))
    assert wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST)) == wire.Done(6, 3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    (root / "lib.c").write_text(SOURCE)
    with midflight.offer(midflight.load(root / "lib.c"), f"unix:{root}/s") as offer:
        sock, offered = guest(offer.address)
        yield sock, offered
        sock.close()


def test_pointers_that_were_never_given(running):
    sock, offer = guest(running)
    for message in (
        Call(1, offer.layout, "is_null", (Handle(1),)),
        wire.Text(1, 99),
        wire.Read(1, offer.layout, "nothing"),
        wire.Write(1, offer.layout, "counter", b"1234"),
        wire.Write(1, offer.layout, "counter", 2**40),
        wire.Swap(1),
    ):
        sock.sendall(wire.frame(message))
        answer = wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))
        assert isinstance(answer, wire.Failed), message
    sock.sendall(wire.frame(Release(tuple(range(1000)))))
    sock.close()
    assert works(running)


def test_a_pointer_of_another_connection(running):
    one, offer = guest(running)
    other, _ = guest(running)
    one.sendall(wire.frame(Call(1, offer.layout, "secret", ())))
    given = wire.decode(wire.from_server.decode, wire.receive(one, wire.LARGEST))
    assert isinstance(given.value, Handle)
    other.sendall(wire.frame(Call(1, offer.layout, "is_null", (Handle(given.value.number),))))
    answer = wire.decode(wire.from_server.decode, wire.receive(other, wire.LARGEST))
    assert answer.trouble.kind == "ArgumentTypeError"
    one.close()
    other.close()


def test_a_client_that_goes_during_its_callback(running):
    sock, offer = guest(running)
    sock.sendall(wire.frame(Call(1, offer.layout, "apply", (Token(1),))))
    callback = wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))
    assert isinstance(callback, wire.Callback)
    sock.close()
    assert works(running)


def test_a_callback_answered_with_an_address(running):
    sock, offer = guest(running)
    for value in (b"12345678", Handle(1), Plain([]), 2**40, b"x"):
        sock.sendall(wire.frame(Call(1, offer.layout, "apply", (Token(1),))))
        callback = wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))
        sock.sendall(wire.frame(wire.Answer(callback.number, value)))
        answer = wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))
        assert isinstance(answer, wire.Failed)
    sock.close()


def test_too_many_calls_at_once(running, monkeypatch):
    from midflight.offering import peer

    monkeypatch.setattr(peer, "_MOST_CALLS", 4)
    sock, offer = guest(running)
    for serial in range(1, 9):
        sock.sendall(wire.frame(Call(serial, offer.layout, "apply", (Token(1),))))
    kinds = [type(wire.decode(wire.from_server.decode, wire.receive(sock, wire.LARGEST))) for _ in range(8)]
    assert sorted(kind.__name__ for kind in kinds) == ["Callback"] * 4 + ["Failed"] * 4
    sock.close()


# ---- a server that isn't one ----------------------------------------------------------------------------------------


class Impostor:
    """Listens, and says the given bytes to whoever comes."""

    def __init__(self, root, *sayings):
        self.at = f"unix:{root}/impostor"
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(f"{root}/impostor")
        self.sock.listen()
        self.sayings = sayings
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                with client, contextlib.suppress(OSError):
                    for saying in self.sayings:
                        client.sendall(saying)
                        if saying is not self.sayings[-1]:
                            client.recv(65536)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

    def stop(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join()


def greeting(protocol=wire.PROTOCOL, magic=wire.MAGIC, *, token=False):
    return wire.frame(wire.Greeting(magic, protocol, "9.9", b"n" * 32, token))


@pytest.mark.parametrize(
    ("sayings", "kind", "words"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ProtocolError, "a frame of"),
        ((struct.pack(">I", 5) + b"\xc1\xc1\xc1\xc1\xc1",), ProtocolError, "can't be understood"),
        ((greeting(2),), ProtocolError, "version 2 of the protocol .midflight 9.9., this side version 1"),
        ((greeting(magic="else"),), ProtocolError, "isn't midflight"),
        ((greeting(token=True),), midflight.TokenError, "asks for a token"),
        ((greeting(), b"\xff\xff\xff\xff"), ProtocolError, "a frame of"),
        ((greeting(), wire.frame(wire.Refused(wire.Trouble("SystemExit", "no")))), midflight.RemoteError, "SystemExit"),
    ],
)
def test_servers_that_are_refused(tmp_path, sayings, kind, words):
    impostor = Impostor(tmp_path, *sayings)
    with pytest.raises(kind, match=words):
        remote.source(impostor.at, connect_timeout=20).resolve()
    impostor.stop()


def test_an_interface_that_leads_nowhere(tmp_path, running):
    sock, offer = guest(running)
    sock.close()
    interface = msgspec.structs.replace(offer.interface, types=offer.interface.types[:1])
    bad = msgspec.structs.replace(offer, interface=interface)
    impostor = Impostor(tmp_path, greeting(), wire.frame(wire.Welcome(b"", bad, 1 << 20)))
    with pytest.raises(ProtocolError, match="isn't sound"):
        remote.source(impostor.at, connect_timeout=20).resolve()
    impostor.stop()


def test_seeded_garbage_at_the_client(tmp_path, running):
    sock, offer = guest(running)
    sock.close()
    chance = random.Random(11)
    welcome = wire.frame(wire.Welcome(b"", offer, 1 << 20))
    for turn in range(40):
        bad = bytearray(welcome)
        for _ in range(chance.randrange(1, 5)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        root = tmp_path / str(turn)
        root.mkdir()
        impostor = Impostor(root, greeting(), bytes(bad[: chance.randrange(len(bad))] if turn % 4 == 0 else bad))
        found = remote.source(impostor.at, connect_timeout=0.05)
        with contextlib.suppress(MidflightError):
            artifact = found.resolve()
            found.connection.faces(artifact.offered)
        found.connection.close()
        impostor.stop()


def test_results_of_another_type_are_refused(tmp_path, running):
    sock, offer = guest(running)
    sock.close()
    welcome = wire.frame(wire.Welcome(b"", offer, 1 << 20))
    for name, arguments, value in (
        ("add", (1, 2), 2**31),
        ("add", (1, 2), b"1234"),
        ("flip", (True,), 1),
        ("secret", (), 12345678),
        ("next", (1,), 2.5),
    ):
        root = tmp_path / f"{name}{type(value).__name__}"
        root.mkdir()
        impostor = Impostor(root, greeting(), welcome, wire.frame(wire.Done(1, value)))
        # What follows the welcome is sent when the client has said something more: its call.
        found = remote.source(impostor.at, connect_timeout=20)
        faces = found.connection.faces(found.connection.offered())
        with pytest.raises(ProtocolError, match="something else than"):
            found.connection.call(faces.get(name), arguments)
        found.connection.close()
        impostor.stop()


def test_a_lost_connection_says_so(tmp_path, running):
    sock, offer = guest(running)
    sock.close()
    impostor = Impostor(tmp_path, greeting(), wire.frame(wire.Welcome(b"", offer, 1 << 20)), b"\0\0\0\x09part")
    found = remote.source(impostor.at, connect_timeout=20)
    faces = found.connection.faces(found.connection.offered())
    with pytest.raises(ConnectionLostError, match="in the middle of a message"):
        found.connection.call(faces.get("add"), (1, 2))
    found.connection.close()
    impostor.stop()


def test_proofs_belong_to_one_side_and_one_connection():
    token, one, other = b"secret", os.urandom(32), os.urandom(32)
    proof = wire.proof(token, "client", one, other)
    assert wire.proven(token, "client", one, other, proof)
    assert not wire.proven(token, "server", one, other, proof)
    assert not wire.proven(token, "client", other, one, proof)
    assert not wire.proven(b"other", "client", one, other, proof)
    assert not wire.proven(token, "client", one, other, b"")
    assert session.version()
