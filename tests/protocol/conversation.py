# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Conversations with a store as data: rows of connection, transaction, request, reply.

`hold` runs one on any store. What C xenstored replies is the expectation; where oxenstored
replies something else, the row has that too. The wire code is the tests' own, so that it shares
no error with the package. One thread.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

import pytest

from tests.deadline import DEADLINE_S
from tests.xen.wire import HEADER, Op, Stream, Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.xen.daemons import Kind
    from tests.xen.wire import Packet

# Connections: of the privileged domain 0, and of a guest (an ordinary domain, introduced,
# with a home of its own).
A, B, C = "A", "B", "C"
G = "G"
GUEST = 7

# Transactions: none, some by name, one that does not exist.
T0, T1, T2, UNKNOWN = "none", "first", "second", "unknown"
_UNKNOWN_ID = 4711

OK = b"OK\0"


class E(NamedTuple):
    """An error reply."""

    name: bytes


class Any_(NamedTuple):
    """Any reply that is not an error."""


class NewId(NamedTuple):
    """The id of a new transaction, which the row names."""


class AfterGeneration(NamedTuple):
    """A directory's part: a generation, of the daemon's own counting, and this."""

    names: bytes


ANY: Final = Any_()
NEW_ID: Final = NewId()

Expected: TypeAlias = "bytes | E | Any_ | NewId | AfterGeneration"


class Say(NamedTuple):
    """A request, and its reply."""

    connection: str
    transaction: str
    op: int
    payload: bytes
    reply: Expected
    oxenstored: Expected | None = None


class Hear(NamedTuple):
    """All events that came since the last time, in order: path and token."""

    connection: str
    events: Sequence[tuple[bytes, bytes]]
    oxenstored: Sequence[tuple[bytes, bytes]] | None = None


class Order(NamedTuple):
    """A request, and the types of what comes because of it, in order."""

    connection: str
    transaction: str
    op: int
    payload: bytes
    types: Sequence[int]
    oxenstored: Sequence[int] | None = None


class Send(NamedTuple):
    """Bytes, as they are, in pieces."""

    connection: str
    pieces: Sequence[bytes]


class Receive(NamedTuple):
    """Packets, as they are: type, request id, transaction id, payload."""

    connection: str
    packets: Sequence[tuple[int, int, int, bytes]]
    oxenstored: Sequence[tuple[int, int, int, bytes]] | None = None


class Silence(NamedTuple):
    """Nothing comes, although other connections are served."""

    connection: str


class Dropped(NamedTuple):
    """The store has closed the connection."""

    connection: str


class Leave(NamedTuple):
    """The client closes the connection."""

    connection: str


class Only(NamedTuple):
    """Rows for one kind of daemon."""

    kind: Kind
    rows: Sequence[Row]


Row: TypeAlias = Say | Hear | Order | Send | Receive | Silence | Dropped | Leave | Only


class Connection(Stream, Protocol):
    """A socket, or a guest's ring."""

    def close(self) -> None: ...


class Store(Protocol):
    """What a conversation is run on."""

    kind: Kind

    def connect(self) -> Connection:
        """A new connection of domain 0; its calls raise TimeoutError."""

    def guest(self) -> Connection:
        """The connection of the domain GUEST, which is introduced by this."""


class Speaker:
    """One connection, and what came on it unasked."""

    def __init__(self, stream: Stream) -> None:
        self.wire = Wire(stream)
        self.events: list[tuple[bytes, bytes]] = []
        self._req_id = 1000

    def say(self, op: int, payload: bytes, tx_id: int = 0) -> list[Packet]:
        """All packets up to the reply, which is the last; events among them are kept."""
        self._req_id += 1
        self.wire.send(op, payload, self._req_id, tx_id)
        packets = []
        while True:
            packet = self.wire.receive()
            packets.append(packet)
            if packet.op != Op.WATCH_EVENT:
                assert packet.req_id == self._req_id, packet
                return packets
            path, token, rest = packet.payload.split(b"\0")
            assert not rest, packet
            self.events.append((path, token))

    def settle(self) -> list[Packet]:
        """What had come, up to the reply to a request that changes nothing."""
        return self.say(Op.GET_DOMAIN_PATH, b"0\0")[:-1]


class _Held:
    """A conversation while it runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.streams: dict[str, Connection] = {}
        self.speakers: dict[str, Speaker] = {}
        self.transactions: dict[tuple[str, str], int] = {}

    def speaker(self, name: str) -> Speaker:
        if name not in self.speakers:
            stream = self.store.guest() if name == G else self.store.connect()
            self.streams[name] = stream
            self.speakers[name] = Speaker(stream)
        return self.speakers[name]

    def tx_id(self, connection: str, transaction: str) -> int:
        if transaction == T0:
            return 0
        if transaction == UNKNOWN:
            return _UNKNOWN_ID
        ids = self.transactions
        own = ids.get((connection, transaction))
        # Another connection's, where it has none of that name itself.
        return own or next((n for (_, name), n in ids.items() if name == transaction), 0)

    def row(self, row: Row) -> None:
        is_ocaml = self.store.kind == "oxenstored"
        match row:
            case Say(connection, transaction, op, payload, reply, oxenstored):
                if is_ocaml and oxenstored is not None:
                    reply = oxenstored
                self.say(connection, transaction, op, payload, reply)
            case Hear(connection, events, oxenstored):
                speaker = self.speaker(connection)
                speaker.settle()
                heard, speaker.events = speaker.events, []
                assert heard == list(oxenstored if is_ocaml and oxenstored is not None else events)
            case Order(connection, transaction, op, payload, types, oxenstored):
                speaker = self.speaker(connection)
                packets = speaker.say(op, payload, self.tx_id(connection, transaction))
                packets += speaker.settle()
                found = [packet.op for packet in packets]
                assert found == list(oxenstored if is_ocaml and oxenstored is not None else types)
            case Send(connection, pieces):
                for piece in pieces:
                    self.speaker(connection).wire.stream.sendall(piece)
            case Receive(connection, expected, oxenstored):
                if is_ocaml and oxenstored is not None:
                    expected = oxenstored
                for packet in expected:
                    assert self.speaker(connection).wire.receive() == packet
            case Silence(connection):
                for _ in range(3):
                    self.speaker(B).settle()
                self.silence(connection)
            case Dropped(connection):
                with contextlib.suppress(ConnectionResetError, BrokenPipeError, EOFError):
                    self.speaker(connection).settle()
                    raise AssertionError("the connection lives")
            case Leave(connection):
                self.speakers.pop(connection)
                self.streams.pop(connection).close()
            case Only(kind, rows):
                if kind == self.store.kind:
                    for inner in rows:
                        self.row(inner)

    def say(self, name: str, transaction: str, op: int, payload: bytes, expected: Expected) -> None:
        tx_id = self.tx_id(name, transaction)
        reply = self.speaker(name).say(op, payload, tx_id)[-1]
        match expected:
            case E(error):
                assert (reply.op, reply.payload) == (Op.ERROR, error + b"\0")
                return
            case NewId():
                assert int(reply.payload.removesuffix(b"\0")) > 0
                self.transactions[name, transaction] = int(reply.payload[:-1])
            case AfterGeneration(names):
                generation, nul, rest = reply.payload.partition(b"\0")
                assert generation.isdigit()
                assert nul + rest == b"\0" + names
            case bytes():
                assert reply.payload == expected
        assert reply.op == op, reply

    def silence(self, connection: str) -> None:
        stream = self.streams[connection]
        assert isinstance(stream, socket.socket)
        stream.setblocking(False)
        with pytest.raises(BlockingIOError):
            stream.recv(1)
        stream.settimeout(DEADLINE_S)


def hold(rows: Sequence[Row], store: Store) -> None:
    """Run a conversation; an AssertionError names the first row that went otherwise.

    Nodes are made below `/t` (and the guest's home) alone; they are gone afterwards.
    """
    held = _Held(store)
    try:
        held.speaker(A).say(Op.WRITE, b"/t\0")
        # An earlier conversation's; refused when there was none.
        held.speaker(A).say(Op.RELEASE, b"%d\0" % GUEST)
        for number, row in enumerate(rows):
            try:
                held.row(row)
            except Exception as error:
                raise AssertionError(f"row {number}, {row}: {error!r}") from error
        with contextlib.closing(store.connect()) as stream:
            Speaker(stream).say(Op.RM, b"/t\0")
    finally:
        for stream in held.streams.values():
            stream.close()


def packed(op: int, payload: bytes, req_id: int = 1, tx_id: int = 0) -> bytes:
    """A packet for a `Send` row."""
    return HEADER.pack(op, req_id, tx_id, len(payload)) + payload
