# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One conversation with a store, sans-IO: bytes in, replies and watch events out.

Not here: sockets, waiting, reconnecting, and what any payload means. Not thread-safe: its
owner serialises. Sending returns bytes; what was received comes out in the stream's order,
because the order of replies and events carries meaning (the event for a change that was
acknowledged before a request was sent comes before that request's reply).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from xsfs.errors import NotFound, StoreError, UnexpectedPacket
from xsfs.protocol.packet import HEADER, Op, PacketParser, broken_off, pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

Tag = TypeVar("Tag")

_ID_MAX = 0xFFFFFFFF

# Looking up an enum's member takes as long as half of a packet's parsing.
_WATCH_EVENT = Op.WATCH_EVENT.value
_ERROR = Op.ERROR.value


class Event(NamedTuple):
    """A watch fired: the path that changed, and the token of the watch."""

    path: bytes
    token: bytes

    def __repr__(self) -> str:
        return f"Event({_quoted(self.path)}, {_quoted(self.token)})"


def _quoted(text: bytes) -> str:
    """The literal in double quotes, the form in which pyxs's tutorial shows events."""
    return 'b"' + repr(text)[2:-1].replace('"', '\\"') + '"'


class Reply(NamedTuple, Generic[Tag]):
    """The store's answer to the request that was sent with `tag`; an error is a value here."""

    tag: Tag
    result: object


class Conversation(Generic[Tag]):
    """Requests in flight by id, and the parser of what comes back.

    `Tag` is whatever the owner wants back with the reply: a future, a callback, an index.
    """

    def __init__(self) -> None:
        self._parser = PacketParser()
        self._next_id = 1
        # Whether the peer has put ids of its own into replies.
        self._ids_change = False
        self._in_flight: dict[int, tuple[Request[object], Tag]] = {}

    @property
    def in_flight(self) -> int:
        """How many replies are still to come."""
        return len(self._in_flight)

    def send(self, request: Request[object], tx_id: int, tag: Tag) -> bytes:
        """The bytes to send for `request`, which is in flight from now on.

        Raises:
            InvalidPayload: it does not fit into a packet; nothing is in flight.
        """
        req_id = self._next_id
        data = pack(request.op, req_id, tx_id, request.payload)
        self._in_flight[req_id] = (request, tag)
        # Events carry id 0, so no request does; an id still in flight is never given twice.
        self._next_id += 1
        while self._next_id > _ID_MAX or self._next_id in self._in_flight:
            self._next_id = self._next_id % _ID_MAX + 1
        return data

    def receive(self, data: bytes) -> Iterable[Reply[Tag] | Event]:
        """What `data` completes, in the order of the stream; to be iterated over at once.

        Raises:
            UnexpectedPacket: the peer broke the protocol: an id that is not in flight, a
                type that does not answer the request, a payload that cannot be read; raised
                by the iteration, after what came before it.
        """
        items: list[Reply[Tag] | Event] = []
        try:
            for op, req_id, _, payload in self._parser.feed(data):
                if op == _WATCH_EVENT:
                    items.append(_event(payload))
                    continue
                entry = None if self._ids_change else self._in_flight.get(req_id)
                if entry is None:
                    req_id = self._only_request(op, req_id)
                    entry = self._in_flight[req_id]
                request, tag = entry
                if op == request.op:
                    result = request.decode(payload)
                elif op == _ERROR:
                    result = StoreError.of(payload.removesuffix(b"\0"))
                    if request.missing is not None and isinstance(result, NotFound):
                        result = request.missing
                else:
                    raise UnexpectedPacket(f"type {op} to a request of type {request.op}")
                del self._in_flight[req_id]
                items.append(Reply(tag, result))
        except UnexpectedPacket as error:
            return broken_off(items, error)
        return items

    def _only_request(self, op: int, req_id: int) -> int:
        """The id of the one request that a reply with an id of no request can answer.

        Linux before 4.16 (and stable 4.14.y and 4.15.y before its "xenbus: track caller request
        id") numbers the replies on /dev/xen/xenbus itself; before 4.11 it numbered those about
        watches 0.

        Raises:
            UnexpectedPacket: several are in flight, or the reply is not of its type.
        """
        if len(self._in_flight) == 1:
            ((ours, (request, _)),) = self._in_flight.items()
            if op in (request.op, _ERROR):
                if req_id not in (0, ours) and not self._ids_change:
                    self._ids_change = True
                    log.warning(
                        "the store answers request %d as %d (a Linux kernel before 4.16?): "
                        "only one request at a time can be made on this connection",
                        ours,
                        req_id,
                    )
                return ours
        raise UnexpectedPacket(f"reply of type {op} to request {req_id}, not in flight")

    def refuse(self, packet: bytes, error: StoreError) -> Reply[Tag]:
        """The reply to a request that was sent as `packet`, and that will not be answered."""
        _, req_id, _, _ = HEADER.unpack_from(packet)
        _, tag = self._in_flight.pop(req_id)
        return Reply(tag, error)

    def abandon(self) -> list[Tag]:
        """The tags of all requests in flight, which will not be answered any more."""
        tags = [tag for _, tag in self._in_flight.values()]
        self._in_flight.clear()
        return tags


def _event(payload: bytes) -> Event:
    # Two strings; later protocols may append more.
    fields = payload.split(b"\0")
    if len(fields) < 3 or not fields[0]:
        raise UnexpectedPacket(f"not a watch event: {payload!r}")
    return Event(fields[0], fields[1])
