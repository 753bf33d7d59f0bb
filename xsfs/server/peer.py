# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One client as the store knows it: who it is, its transactions, what waits to be sent.

Pure: the owner of the client's socket takes the bytes, and is woken when there are some. Not
thread-safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs.protocol.packet import HEADER, PAYLOAD_MAX, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.server.domains import Domain
    from xsfs.server.transactions import Transaction

# Bytes of events that may wait for a client that does not read, before the connection is given
# up. xenstored lets domains have 2 MiB (the default of its quota `memory`), and sockets
# everything. Replies do not count: while they wait, no requests of the client are read.
EVENTS_MAX_DOMAIN = 2 << 20
EVENTS_MAX_DOM0 = 64 << 20

# The wire's transaction id is a u32, and 0 is none (xs_wire.h).
_ID_MAX = 0xFFFFFFFF


class Peer:
    """A client of the store.

    Args:
        domain: on whose behalf it speaks.
        merge_events: whether an event equal to a queued one is dropped.
        wake: called when an event was queued, or the connection is to be closed.
    """

    def __init__(self, domain: Domain, merge_events: bool, wake: Callable[[], None]) -> None:
        self.domain = domain
        self.privileged = domain.domid == 0
        self.home = b"/local/domain/%d" % domain.domid
        self.transactions: dict[int, Transaction] = {}
        # The connection is over: what the client sends is ignored, nothing is sent.
        self.closed = False
        self._wake = wake
        self._merge_events = merge_events
        self._next_transaction = 1
        self._queue: list[bytes] = []
        # Bytes that wait to be taken.
        self.queued = 0
        self._events_queued = 0
        self._events_max = EVENTS_MAX_DOM0 if self.privileged else EVENTS_MAX_DOMAIN
        # The events queued since the last reply. Merging goes no further back: an event that
        # stands before the reply to a READ must not swallow one for a later change.
        self._events: set[bytes] = set()

    def open_transaction(self, transaction: Transaction) -> int:
        """The id of a transaction from now on."""
        number = self._next_transaction
        while number in self.transactions:
            number = number % _ID_MAX + 1
        self._next_transaction = number % _ID_MAX + 1
        transaction.number = number
        self.transactions[number] = transaction
        return number

    def reply(self, op: int, req_id: int, tx_id: int, payload: bytes) -> None:
        """Queue the answer to a request."""
        self._push(HEADER.pack(op, req_id, tx_id, len(payload)) + payload)
        if self._events:
            self._events.clear()

    def event(self, path: bytes, token: bytes) -> None:
        """Queue a watch event. One that is too long for a packet is lost, as in xenstored."""
        payload = b"%b\0%b\0" % (path, token)
        if len(payload) > PAYLOAD_MAX or self.closed:
            return
        if self._merge_events and not path.startswith(b"@"):
            if payload in self._events:
                return
            self._events.add(payload)
        self._push(HEADER.pack(Op.WATCH_EVENT, 0, 0, len(payload)) + payload)
        self._events_queued += HEADER.size + len(payload)
        if self._events_queued > self._events_max:
            self.close()
        else:
            self._wake()

    def take(self) -> bytes:
        """All that is queued; it counts as sent."""
        data = b"".join(self._queue)
        self._queue.clear()
        self._events.clear()
        self.queued = self._events_queued = 0
        return data

    def close(self) -> None:
        """End the connection; what is queued is dropped."""
        if not self.closed:
            self.closed = True
            self.take()
            self._wake()

    def _push(self, packet: bytes) -> None:
        self._queue.append(packet)
        self.queued += len(packet)
