# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Conversations that can be held with two stores at once, to compare every reply and event.

No judgement here: what each side said comes back as data. One thread.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.deadline import DEADLINE_S
from tests.xen.rings import Hypervisor, Ring
from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon
    from tests.xen.wire import Stream
    from xsfs.server import Running

# The guest, and the clients of domain 0.
GUEST_DOMID = 7
GUEST = 2
CLIENTS = (0, 1, GUEST)

UNKNOWN_TRANSACTION = 4711


class Step(NamedTuple):
    """One request."""

    client: int
    op: int
    payload: bytes
    # None: no transaction; else which of the client's open ones, modulo their number.
    transaction: int | None = None


class Said(NamedTuple):
    """What came of a step."""

    # Events up to the reply, and the reply; then events after it.
    requester: tuple[tuple[int, bytes], ...]
    after: tuple[tuple[int, bytes], ...]
    others: tuple[tuple[tuple[int, bytes], ...], ...]

    @property
    def reply(self) -> tuple[int, bytes]:
        """Type and payload of the reply."""
        return self.requester[-1]


class Peer:
    """A connection on which everything is kept in order."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.transactions: list[int] = []
        self._req_id = 0

    def say(self, op: int, payload: bytes, tx_id: int = 0) -> list[tuple[int, bytes]]:
        """Everything up to the reply, which is the last; a new transaction is noted."""
        self._req_id += 1
        self.wire.send(op, payload, self._req_id, tx_id)
        heard = []
        while True:
            packet = self.wire.receive()
            heard.append((packet.op, _comparable(packet.op, packet.payload)))
            if packet.op == Op.TRANSACTION_START:
                self.transactions.append(int(packet.payload[:-1]))
            if packet.op != Op.WATCH_EVENT:
                assert packet.req_id == self._req_id, packet
                return heard

    def events(self) -> tuple[tuple[int, bytes], ...]:
        """What has come unasked: a request that disturbs nothing is the barrier."""
        return tuple(self.say(Op.GET_DOMAIN_PATH, b"0\0")[:-1])


class Side:
    """A store, two clients of domain 0, and a guest; a context manager closes them."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.sockets = contextlib.ExitStack()

    def connect(self) -> socket.socket:
        """A connection of domain 0."""
        raise NotImplementedError

    def renew_guest(self) -> Stream:
        """Introduce the guest anew; its connection."""
        raise NotImplementedError

    def renew(self) -> None:
        """New connections, and a store like new but for generations."""
        self.sockets.close()
        first, second = (self.sockets.enter_context(self.connect()) for _ in range(2))
        self.peers = [Peer(Wire(first)), Peer(Wire(second))]
        for op, payload in (
            (Op.SET_PERMS, b"/\0n0\0"),
            (Op.WRITE, b"/\0"),
            (Op.RM, b"/t\0"),
            (Op.RM, b"/local\0"),
            (Op.SET_PERMS, b"@introduceDomain\0n0\0"),
            (Op.SET_PERMS, b"@releaseDomain\0n0\0"),
        ):
            self.peers[0].say(op, payload)
        self.peers.append(Peer(Wire(self.renew_guest())))
        home = b"/local/domain/%d\0" % GUEST_DOMID
        self.peers[0].say(Op.WRITE, home)
        self.peers[0].say(Op.SET_PERMS, home + b"n%d\0" % GUEST_DOMID)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sockets.close()

    def carry_out(self, step: Step) -> Said:
        """One request, and what everybody heard of it."""
        peer = self.peers[step.client]
        tx_id = 0
        if step.transaction is not None:
            tx_id = UNKNOWN_TRANSACTION
            if peer.transactions:
                tx_id = peer.transactions[step.transaction % len(peer.transactions)]
        heard = peer.say(step.op, step.payload, tx_id)
        self._follow_transactions(step, peer, tx_id, heard[-1])
        return Said(
            tuple(heard),
            peer.events(),
            tuple(other.events() for other in self.peers if other is not peer),
        )

    def _follow_transactions(
        self, step: Step, peer: Peer, tx_id: int, reply: tuple[int, bytes]
    ) -> None:
        op, _ = reply
        if step.op == Op.TRANSACTION_END and tx_id in peer.transactions:
            if reply != (Op.ERROR, b"EINVAL\0"):
                peer.transactions.remove(tx_id)
        elif op == Op.RESET_WATCHES:
            peer.transactions.clear()
        elif op == Op.INTRODUCE:
            # Once more, and the guest starts anew.
            self.peers[GUEST].transactions.clear()


def _comparable(op: int, payload: bytes) -> bytes:
    if op == Op.DIRECTORY_PART:
        # The generation is a number of the daemon's own.
        return payload.partition(b"\0")[2]
    # So is the id of a transaction.
    return b"" if op == Op.TRANSACTION_START else payload


class RealSide(Side):
    """A real daemon."""

    def __init__(self, daemon: Daemon, hypervisor: Hypervisor) -> None:
        super().__init__()
        self._daemon = daemon
        self._hypervisor = hypervisor

    def connect(self) -> socket.socket:
        return self._daemon.connect()

    def renew_guest(self) -> Stream:
        self.peers[0].say(Op.RELEASE, b"%d\0" % GUEST_DOMID)
        self._hypervisor.create(GUEST_DOMID)
        ring = Ring(self._daemon.rundir, GUEST_DOMID, port=2)
        self.sockets.enter_context(ring)
        self.peers[0].say(Op.INTRODUCE, b"%d\0001\0002\0" % GUEST_DOMID)
        return ring


class EmbeddedSide(Side):
    """The embedded store."""

    def __init__(self, path: Running) -> None:
        super().__init__()
        self._path = path

    def connect(self) -> socket.socket:
        return connect(self._path)

    def renew_guest(self) -> Stream:
        self.peers[0].say(Op.RELEASE, b"%d\0" % GUEST_DOMID)
        self.peers[0].say(Op.INTRODUCE, b"%d\0001\0002\0" % GUEST_DOMID)
        return self.sockets.enter_context(connect(self._path.domains[GUEST_DOMID]))


def connect(path: str, timeout_s: float = DEADLINE_S) -> socket.socket:
    """A connection to a socket; its calls raise TimeoutError after timeout_s."""
    stream = socket.socket(socket.AF_UNIX)
    # With a timeout connect() does not wait for a place in the queue.
    stream.connect(path)
    stream.settimeout(timeout_s)
    return stream
