# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Any bytes at all, to the parser and to the embedded store's dispatch: refused, never a crash.

Bounded in time by the number of examples; the same on every run.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from xsfs.errors import UnexpectedPacket
from xsfs.protocol import requests
from xsfs.protocol.conversation import Conversation, Event, Reply
from xsfs.protocol.packet import HEADER, PAYLOAD_MAX, Op
from xsfs.server.dispatch import handle
from xsfs.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

bounded = settings(max_examples=400, deadline=None, derandomize=True, database=None)

# Requests whose replies are read in every way there is.
ASKED: Sequence[requests.Request[object]] = (
    requests.directory(b"/a"),
    requests.part(b"/a", 0),
    requests.read(b"/a"),
    requests.get_perms(b"/a"),
    requests.transaction_start(),
    requests.transaction_end(True),
    requests.get_domain_path(1),
    requests.is_domain_introduced(1),
    requests.get_feature(),
    requests.quota_names(),
    requests.get_quota(b"nodes"),
    requests.control(b"help"),
)

words = st.sampled_from(
    [
        b"",
        b"/",
        b"/a",
        b"/a/b",
        b"//",
        b"@releaseDomain",
        b"x",
        b"n0",
        b"r5",
        b"T",
        b"F",
        b"0",
        b"7",
    ]
)
texts = st.one_of(
    st.binary(max_size=40),
    st.lists(words, max_size=4).map(b"\0".join),
    st.lists(words, max_size=4).map(lambda fields: b"".join(field + b"\0" for field in fields)),
)
numbers = st.one_of(st.integers(0, 30), st.integers(0, 2**32 - 1))


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """A packet whose length is true, mostly."""
    payload = draw(texts)
    length = draw(st.one_of(st.just(len(payload)), st.just(len(payload)), numbers))
    return HEADER.pack(draw(numbers), draw(numbers), draw(numbers), length) + payload


streams = st.one_of(st.binary(max_size=200), st.lists(packets(), max_size=8).map(b"".join))


def heard(stream: bytes, cuts: Sequence[int]) -> list[str]:
    """What a conversation makes of a stream that arrives in pieces; why it broke off, if so."""
    conversation: Conversation[int] = Conversation()
    for index, request in enumerate(ASKED):
        conversation.send(request, 0, index)
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    items: list[str] = []
    try:
        for start, end in pairwise(edges):
            for item in conversation.receive(stream[start:end]):
                assert isinstance(item, Reply | Event)
                items.append(repr(item))
    except UnexpectedPacket as error:
        items.append(str(error))
    # It ends in the log.
    assert "".join(items).isprintable()
    return items


@bounded
@given(streams, st.lists(st.integers(0, 300), max_size=12))
def test_any_stream_is_read_alike_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    assert heard(stream, cuts) == heard(stream, range(len(stream))) == heard(stream, [])


@bounded
@given(st.lists(st.tuples(st.integers(0, len(ASKED) - 1), texts), max_size=6))
def test_any_reply_is_a_result_or_the_end(replies: list[tuple[int, bytes]]) -> None:
    stream = b"".join(
        HEADER.pack(ASKED[index].op, index + 1, 0, len(payload)) + payload
        for index, payload in replies
    )
    heard(stream, [])


@bounded
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(st.sampled_from([op.value for op in Op]), numbers),
            st.one_of(st.just(0), st.integers(1, 4), numbers),
            texts,
        ),
        max_size=30,
    )
)
def test_any_request_to_the_embedded_store_gets_one_reply(
    asked: list[tuple[int, int, int, bytes]],
) -> None:
    """From domain 0 and from a guest; the store stands as it is told to, and answers on."""
    store = Store()
    connections = [store.connect(0, lambda: None), store.connect(5, lambda: None)]
    for number, (who, op, tx_id, payload) in enumerate(asked, 1):
        connection = connections[who]
        if connection.closed:
            continue
        handle(store, connection, op, number, tx_id, payload)
        if connection.closed:
            continue
        answers = [packet for packet in cut(connection.take()) if packet[0] != Op.WATCH_EVENT]
        assert [packet[1] for packet in answers] == [number]
        assert all(len(packet[2]) <= PAYLOAD_MAX for packet in answers)
    witness = store.connect(0, lambda: None)
    handle(store, witness, Op.WRITE, 1, 0, b"/witness\0alive")
    handle(store, witness, Op.READ, 2, 0, b"/witness\0")
    assert cut(witness.take())[-1] == (Op.READ, 2, b"alive")


def cut(data: bytes) -> list[tuple[int, int, bytes]]:
    """Type, id and payload of each packet."""
    found = []
    while data:
        op, req_id, _, length = HEADER.unpack_from(data)
        end = HEADER.size + length
        found.append((op, req_id, data[HEADER.size : end]))
        data = data[end:]
    return found
