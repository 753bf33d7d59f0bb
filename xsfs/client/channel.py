# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A stream to a store and the requests in flight on it: what both clients' connections share.

Never waits: its owner polls the stream. Not thread-safe. Not here: connecting, timeouts, which
watch gets an event.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from xsfs import errors
from xsfs.errors import InvalidOperation, StoreError
from xsfs.protocol.conversation import Conversation, Reply
from xsfs.protocol.packet import PAYLOAD_MAX, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.client.endpoint import Stream
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.requests import Request


class Results(Protocol):
    """Receives the results of requests that were sent together."""

    def settle(self, index: int, result: object) -> None:
        """Take the result of the request at `index`; an error is a value."""


R = TypeVar("R", bound=Results)

# How many packets go into one write: the store works on them while the next are made.
_PACKETS_A_WRITE = 250

# What a failed write says of the connection, and not of the request that it carried.
_GONE = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF}
)


class Channel(Generic[R]):
    """Requests out, results and events in.

    Args:
        stream: just opened; closed by its owner.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._conversation: Conversation[tuple[R, int]] = Conversation()
        self._unsent: deque[bytes | memoryview] = deque()
        self.delays_events = stream.delays_events
        # Ordinals: the request sent last, the request answered last.
        self.sent = 0
        self.answered = 0

    @property
    def in_flight(self) -> int:
        """How many results are still to come."""
        return self._conversation.in_flight

    @property
    def has_unsent(self) -> bool:
        """Whether the stream did not take all: call `flush` when it is writable."""
        return bool(self._unsent)

    def send(self, requests: Sequence[Request[object]], tx_id: int, results: R) -> None:
        """Send requests together, as far as the stream takes them now.

        Raises:
            InvalidOperation: a request would harm others who use the kernel's connection.
            InvalidPayload: a request does not fit into a packet.
            ConnectionError: the connection is lost.
        """
        one_by_one = self._stream.one_packet_a_write
        if one_by_one and any(request.op == Op.RESET_WATCHES for request in requests):
            # The driver would pass it to the store (xenbus_dev_frontend.c).
            raise InvalidOperation(
                "reset_watches over XenBus would drop the kernel's own watches: "
                "remove your watches, or close the connection"
            )
        self.sent += len(requests)
        pack = self._conversation.send
        packets: list[bytes] = []
        for index, request in enumerate(requests):
            packets.append(pack(request, tx_id, (results, index)))
            if len(packets) == _PACKETS_A_WRITE:
                self._put(packets, one_by_one)
                packets = []
        if packets:
            self._put(packets, one_by_one)

    def _put(self, packets: list[bytes], one_by_one: bool) -> None:
        must_wait = bool(self._unsent)
        self._unsent += packets if one_by_one else (b"".join(packets),)
        if not must_wait:
            self.flush()

    def flush(self) -> None:
        """Send what is left, as far as the stream takes it now.

        Raises:
            ConnectionError: the connection is lost.
        """
        unsent = self._unsent
        while unsent:
            piece = unsent[0]
            try:
                sent = self._stream.send(piece)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ECONNRESET):
                    # Not an error here: reading returns what is still there, and then the end.
                    unsent.clear()
                    return
                if (
                    not self._stream.one_packet_a_write
                    or error.errno in _GONE
                    or not isinstance(piece, bytes)
                ):
                    raise errors.of_connection(error) from error
                unsent.popleft()
                self._refuse(piece, error)
                continue
            if sent < len(piece):
                unsent[0] = memoryview(piece)[sent:]
            else:
                unsent.popleft()

    def _refuse(self, packet: bytes, error: OSError) -> None:
        """Take the failure of a write by the kernel's driver as the only reply to that request.

        This is how the driver reports that the store refused a watch, or that a packet is too
        long for it (xenbus_dev_frontend.c, xenbus_write_watch and xenbus_file_write).
        """
        # The driver's buffer holds so much, header included.
        number = errno.E2BIG if len(packet) > PAYLOAD_MAX else error.errno or errno.EIO
        refusal = StoreError.of(errno.errorcode[number].encode())
        self._settle(self._conversation.refuse(packet, refusal))

    def receive(self, size: int, deliver: Callable[[Event], None]) -> None:
        """Take what has come, up to `size` bytes, in the order of the stream.

        Args:
            deliver: called with each event.

        Raises:
            ConnectionError: the connection is lost, or the peer broke the protocol.
        """
        try:
            data = self._stream.receive(size)
        except BlockingIOError:
            return
        except OSError as error:
            raise errors.of_connection(error) from error
        for item in self._conversation.receive(data):
            if isinstance(item, Reply):
                self._settle(item)
            else:
                deliver(item)
        if not data:
            raise errors.ConnectionError(errno.ECONNRESET, "the store closed the connection")

    def _settle(self, reply: Reply[tuple[R, int]]) -> None:
        self.answered += 1
        results, index = reply.tag
        results.settle(index, reply.result)

    def abandon(self) -> list[R]:
        """The receivers for requests in flight, which will not be answered any more."""
        return [results for results, _ in self._conversation.abandon()]
