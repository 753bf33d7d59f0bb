# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One client's socket: what comes is given to the store, what the store queues is sent.

A client that does not read is read no further once its replies pile up, and is given up when
its events do; a client that breaks the protocol is cut off. Never blocks. The listener calls.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from typing import TYPE_CHECKING

from xsfs.errors import UnexpectedPacket
from xsfs.protocol.packet import PAYLOAD_MAX, PacketParser

if TYPE_CHECKING:
    import socket

    from xsfs.protocol.packet import Packet
    from xsfs.server.listener import Listener

_log = logging.getLogger(__name__)

# What is received at once is answered at once: a few milliseconds' worth.
_RECEIVE_MAX = 1 << 16

# Requests are left alone while this much waits to be sent: enough for thousands of replies
# to a client that sends first and reads later, as the real daemons let it.
_UNSENT_MAX = 4 << 20


class Link:
    """The socket of one connection."""

    def __init__(self, listener: Listener, sock: socket.socket, domid: int) -> None:
        self._listener = listener
        self._socket = sock
        self._parser = PacketParser(PAYLOAD_MAX)
        self._connection = listener.store.connect(domid, lambda: listener.waiting.add(self))
        # Requests that have been received, and wait until there is room for their replies.
        self._requests: deque[Packet] = deque()
        # Nothing more is received: the client goes when all is answered.
        self._ended = False
        self._unsent = memoryview(b"")
        self._interest = select.EPOLLIN
        listener.watch(sock, self._interest, self._turn)

    def flush(self) -> None:
        """Send what is queued as far as the socket takes it, and wait for what is needed next."""
        connection = self._connection
        try:
            while not connection.closed and (self._unsent or connection.queued):
                if not self._unsent:
                    self._unsent = memoryview(connection.take())
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Whatever befell the socket, the client is gone.
            connection.close()
        busy = bool(self._unsent or self._requests)
        if connection.closed or (self._ended and not busy):
            self.close()
            return
        interest = select.EPOLLOUT if busy else 0
        if self._has_room() and not (self._requests or self._ended):
            interest |= select.EPOLLIN
        if interest != self._interest:
            self._interest = interest
            self._listener.change(self._socket, interest)

    def close(self) -> None:
        """Let go of the client."""
        if self._socket.fileno() >= 0:
            self._listener.forget(self, self._socket)
            self._socket.close()
            self._listener.store.disconnect(self._connection)

    def _has_room(self) -> bool:
        return self._unsent.nbytes + self._connection.queued <= _UNSENT_MAX

    def _turn(self, events: int) -> None:
        if not (self._requests or self._ended) and events & ~select.EPOLLOUT:
            self._receive()
        self._carry_out()
        self._listener.flush()
        self.flush()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_MAX)
        except BlockingIOError:
            # The event was for an earlier socket with the same number.
            return
        except OSError:
            self._connection.close()
            return
        self._ended = not data
        try:
            self._requests.extend(self._parser.feed(data))
        except UnexpectedPacket as error:
            _log.warning("a client is cut off: %s", error)
            self._ended = True

    def _carry_out(self) -> None:
        connection, requests = self._connection, self._requests
        handle = self._listener.store.handle
        try:
            while requests and not connection.closed and self._has_room():
                handle(connection, *requests.popleft())
        except Exception:
            # A fault of the store's own costs this client its connection, not everybody.
            _log.exception("a request failed")
            connection.close()
