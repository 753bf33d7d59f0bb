# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A conversation, sans-IO: which reply is whose, and what a peer may not say."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs.errors import InvalidPayload, NotFound, StoreError, UnexpectedPacket
from xsfs.protocol import requests
from xsfs.protocol.conversation import Conversation, Event, Reply
from xsfs.protocol.packet import HEADER, Op, PacketParser, pack

READ = requests.read(b"/a")


def ids(data: bytes) -> list[int]:
    return [req_id for _, req_id, _, _ in PacketParser().feed(data)]


def test_replies_in_any_order_find_their_requests() -> None:
    conversation: Conversation[str] = Conversation()
    first = ids(conversation.send(READ, 0, "first"))[0]
    second = ids(conversation.send(requests.directory(b"/"), 0, "second"))[0]
    data = pack(Op.DIRECTORY, second, 0, b"a\0b\0") + pack(Op.READ, first, 0, b"v")
    assert list(conversation.receive(data)) == [
        Reply("second", [b"a", b"b"]),
        Reply("first", b"v"),
    ]


def test_a_request_carries_its_transaction() -> None:
    conversation: Conversation[None] = Conversation()
    assert HEADER.unpack_from(conversation.send(READ, 7, None))[2] == 7


def test_events_come_in_between() -> None:
    conversation: Conversation[int] = Conversation()
    (req_id,) = ids(conversation.send(READ, 0, 1))
    event = pack(Op.WATCH_EVENT, 0, 0, b"/a\0token\0")
    assert list(conversation.receive(event + pack(Op.READ, req_id, 0, b"") + event)) == [
        Event(b"/a", b"token"),
        Reply(1, b""),
        Event(b"/a", b"token"),
    ]


def test_events_of_later_protocols_may_say_more() -> None:
    conversation: Conversation[None] = Conversation()
    event = pack(Op.WATCH_EVENT, 0, 0, b"/a\0t\0more\0")
    assert list(conversation.receive(event)) == [Event(b"/a", b"t")]


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        (b"ENOENT\0", NotFound, errno.ENOENT),
        (b"EQUOTA\0", StoreError, errno.EDQUOT),
        (b"ENOSPC\0", StoreError, errno.ENOSPC),
        (b"EWHATEVER\0", StoreError, errno.EIO),
        (b"\0", StoreError, errno.EIO),
        (b"", StoreError, errno.EIO),
        (b"\xff\n", StoreError, errno.EIO),
    ],
)
def test_errors_are_values(name: bytes, kind: type[StoreError], number: int) -> None:
    conversation: Conversation[None] = Conversation()
    (req_id,) = ids(conversation.send(READ, 0, None))
    (reply,) = conversation.receive(pack(Op.ERROR, req_id, 0, name))
    assert isinstance(reply, Reply)
    assert isinstance(reply.result, kind)
    assert reply.result.errno == number
    assert reply.result.name == name.removesuffix(b"\0")


@pytest.mark.parametrize(
    "packet",
    [
        pack(Op.WRITE, 99, 0, b"OK\0"),
        pack(Op.WRITE, 0, 0, b"OK\0"),
        pack(Op.WRITE, 1, 0, b"OK\0"),
        pack(4711, 1, 0, b""),
        pack(Op.WATCH_EVENT, 0, 0, b""),
        pack(Op.WATCH_EVENT, 0, 0, b"/a\0"),
        pack(Op.WATCH_EVENT, 0, 0, b"\0token\0"),
    ],
)
def test_a_peer_that_breaks_the_protocol(packet: bytes) -> None:
    conversation: Conversation[None] = Conversation()
    assert ids(conversation.send(READ, 0, None)) == [1]
    with pytest.raises(UnexpectedPacket):
        list(conversation.receive(packet))
    assert conversation.abandon() == [None]


@pytest.mark.parametrize(("req_id", "lines"), [(99, 1), (0, 0)])
@pytest.mark.parametrize(
    ("op", "payload"), [(Op.READ, b"ENOENT\0"), (Op.ERROR, b"ENOENT\0")], ids=["reply", "error"]
)
def test_ids_that_a_kernel_changed(
    req_id: int, lines: int, op: Op, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    conversation: Conversation[int] = Conversation()
    for number in range(3):
        conversation.send(READ, 0, number)
        (reply,) = conversation.receive(pack(op, req_id + number if req_id else 0, 0, payload))
        assert isinstance(reply, Reply)
        assert reply.tag == number
        assert isinstance(reply.result, NotFound) == (op == Op.ERROR)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * lines
    # With two in flight nothing says whose it is, and not even an id that is right by chance.
    known = ids(conversation.send(READ, 0, 3) + conversation.send(READ, 0, 4))
    with pytest.raises(UnexpectedPacket, match="not in flight"):
        list(conversation.receive(pack(op, known[0] if req_id else 0, 0, payload)))


def test_what_came_before_counts() -> None:
    conversation: Conversation[str] = Conversation()
    (req_id,) = ids(conversation.send(READ, 0, "tag"))
    items = iter(
        conversation.receive(pack(Op.READ, req_id, 0, b"v") + pack(Op.READ, req_id, 0, b"again"))
    )
    assert next(items) == Reply("tag", b"v")
    with pytest.raises(UnexpectedPacket):
        next(items)


@pytest.mark.parametrize("payload", [b"", b"x\0", b"\0"])
def test_a_reply_that_is_no_number(payload: bytes) -> None:
    conversation: Conversation[None] = Conversation()
    (req_id,) = ids(conversation.send(requests.transaction_start(), 0, None))
    with pytest.raises(UnexpectedPacket):
        list(conversation.receive(pack(Op.TRANSACTION_START, req_id, 0, payload)))


def test_ids_wrap_and_are_never_in_use_nor_zero() -> None:
    conversation: Conversation[None] = Conversation()
    conversation._next_id = 0xFFFFFFFE
    sent = [ids(conversation.send(READ, 0, None))[0] for _ in range(5)]
    assert len(set(sent)) == 5
    assert all(0 < req_id <= 0xFFFFFFFF for req_id in sent)
    conversation._next_id = 0xFFFFFFFF - 1
    conversation._in_flight.pop(0xFFFFFFFE)
    more = [ids(conversation.send(READ, 0, None))[0] for _ in range(3)]
    assert not set(more) & set(sent[1:])


def test_a_request_too_long_is_not_in_flight() -> None:
    conversation: Conversation[str] = Conversation()
    with pytest.raises(InvalidPayload):
        conversation.send(READ._replace(payload=bytes(4097)), 0, "long")
    assert conversation.abandon() == []


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    conversation: Conversation[None] = Conversation()
    conversation.send(READ, 0, None)
    try:
        for item in conversation.receive(data):
            assert isinstance(item, Reply | Event)
    except UnexpectedPacket:
        pass


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event(b"/foo/bar", b"a unique token"), 'Event(b"/foo/bar", b"a unique token")'),
        (Event(b"/a", b"\"'\\\0\xff"), 'Event(b"/a", b"\\"\\\'\\\\\\x00\\xff")'),
        (Event(b"/a", b"it's"), 'Event(b"/a", b"it\'s")'),
    ],
)
def test_events_print_as_in_the_tutorial(event: Event, text: str) -> None:
    assert repr(event) == text
    assert eval(text) == event
