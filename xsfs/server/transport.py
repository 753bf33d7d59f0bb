# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One client's socket: passes received requests to the store, and sends what the store queues.

Requests of a client that does not read stay unread when too many replies wait; its connection is
closed when too many events do, and when it breaks the protocol. Never blocks: the caller waits for
the socket.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from typing import TYPE_CHECKING

from xsfs.errors import UnexpectedPacket
from xsfs.protocol.packet import PAYLOAD_MAX, PacketParser
from xsfs.server.dispatch import handle

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from xsfs.protocol.packet import Packet
    from xsfs.server.store import Store

_log = logging.getLogger(__name__)

# How much is received, and then answered, at a time: a few milliseconds' worth.
_RECEIVE_MAX = 1 << 16

# Requests are left alone while this much waits to be sent: enough for thousands of replies
# to a client that sends first and reads later, as the real daemons let it.
_UNSENT_MAX = 4 << 20


class Transport:
    """The socket of one peer.

    Args:
        sock: connected, non-blocking; it belongs to the transport from now on.
        store: what is served.
        domid: on whose behalf the client speaks.
        wake: called when something other than the socket asks for a `flush`.
    """

    def __init__(
        self, sock: socket.socket, store: Store, domid: int, wake: Callable[[Transport], None]
    ) -> None:
        self.socket = sock
        # The events to wait for before the next `serve`, for epoll.
        self.interest = select.EPOLLIN
        self.closed = False
        self._store = store
        self._peer = store.connect(domid, lambda: wake(self))
        self._parser = PacketParser(PAYLOAD_MAX)
        # Requests that have been received, and wait until there is room for their replies.
        self._requests: deque[Packet] = deque()
        # The client has sent its last: its connection is closed when all is answered.
        self._ended = False
        self._unsent = memoryview(b"")

    def serve(self, events: int) -> None:
        """Receive requests and carry them out; `flush` sends the replies.

        If it leaves a request unfinished, this has to be called before any other's `serve`.

        Args:
            events: what epoll says of the socket; 0 to go on.
        """
        if events & ~select.EPOLLOUT and not (self._requests or self._ended):
            self._receive()
        peer, requests, store = self._peer, self._requests, self._store
        unfinished = store.unfinished
        try:
            if unfinished:
                unfinished.go_on()
            while requests and not (unfinished.peer or peer.closed) and self._has_room():
                handle(store, peer, *requests.popleft())
        except Exception:
            # An error of the store itself ends only this connection.
            _log.exception("internal error, a connection is closed: please report this")
            peer.close()

    def flush(self) -> bool:
        """Send what is queued as far as the socket takes it, or close the socket.

        Returns:
            whether `interest` or `closed` is another one than before.
        """
        peer = self._peer
        try:
            while not peer.closed and (self._unsent or peer.queued):
                data = self._unsent or memoryview(peer.take())
                self._unsent = data
                self._unsent = data[self.socket.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            # Whatever the error, the client is gone.
            peer.close()
        is_unfinished = self._store.unfinished.peer is peer
        busy = bool(self._unsent or self._requests or is_unfinished)
        if peer.closed or (self._ended and not busy):
            self.closed = True
            return True
        interest = select.EPOLLOUT if busy else 0
        if not (self._requests or self._ended) and self._has_room():
            interest |= select.EPOLLIN
        before, self.interest = self.interest, interest
        return interest != before

    def close(self) -> None:
        """Close the socket, and make the store forget the client."""
        self.closed = True
        self.socket.close()
        self._store.disconnect(self._peer)

    def _has_room(self) -> bool:
        return self._unsent.nbytes + self._peer.queued <= _UNSENT_MAX

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_RECEIVE_MAX)
        except BlockingIOError:
            # The event was for an earlier socket with the same number.
            return
        except OSError:
            self._peer.close()
            return
        self._ended = not data
        try:
            self._requests.extend(self._parser.feed(data))
        except UnexpectedPacket as error:
            _log.warning("a client's connection is closed, its packet is malformed: %s", error)
            self._ended = True
