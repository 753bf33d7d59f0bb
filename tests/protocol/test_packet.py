# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The parser of the byte stream: whole, byte by byte, with a tail, and garbage."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs.errors import InvalidPayload, UnexpectedPacket
from xsfs.protocol.packet import HEADER, PAYLOAD_MAX, REPLY_MAX, Packet, PacketParser, pack

words = st.integers(0, 0xFFFFFFFF)
packets = st.tuples(words, words, words, st.binary(max_size=100))


def packed(many: list[Packet]) -> bytes:
    return b"".join(pack(*packet) for packet in many)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(edges)]


def split(fed: list[bytes], limit: int = REPLY_MAX) -> tuple[list[Packet], bool]:
    """All packets out of the pieces, and whether the stream held together."""
    splitter = PacketParser(limit)
    found: list[Packet] = []
    try:
        for data in fed:
            for packet in splitter.feed(data):
                found.append(packet)
    except UnexpectedPacket:
        return found, False
    return found, True


@given(st.lists(packets), st.lists(st.integers(0)))
def test_cut_anywhere(many: list[Packet], cuts: list[int]) -> None:
    assert split(pieces(packed(many), cuts)) == (many, True)


@given(st.lists(packets, max_size=5))
def test_byte_by_byte(many: list[Packet]) -> None:
    assert split([bytes([byte]) for byte in packed(many)]) == (many, True)


@given(st.lists(packets), packets, st.integers(0), st.lists(st.integers(0)))
def test_a_tail_is_kept(many: list[Packet], last: Packet, cut: int, cuts: list[int]) -> None:
    end = pack(*last)
    tail = end[: cut % len(end)]
    splitter = PacketParser()
    found = [p for data in pieces(packed(many) + tail, cuts) for p in splitter.feed(data)]
    assert found == many
    assert list(splitter.feed(end[len(tail) :])) == [last]


@given(st.binary(), st.lists(st.integers(0)))
def test_garbage_means_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    assert split(pieces(data, cuts), limit=50) == split([data], limit=50)


@given(st.lists(packets), words.filter(lambda length: length > REPLY_MAX))
def test_what_comes_before_an_absurd_length_counts(many: list[Packet], length: int) -> None:
    data = packed(many) + HEADER.pack(2, 1, 0, length) + b"more"
    assert split([data]) == (many, False)
    assert split([bytes([byte]) for byte in data]) == (many, False)


def test_long_replies_are_taken() -> None:
    # oxenstored lists a directory of any size in one packet.
    data = HEADER.pack(1, 1, 0, 1_000_000) + b"n\0" * 500_000
    found, _ = split(pieces(data, list(range(0, len(data), 700))))
    assert found == [(1, 1, 0, b"n\0" * 500_000)]


def test_no_request_is_over_the_limit() -> None:
    # C xenstored drops the connection of a client that sends one.
    assert len(pack(2, 1, 0, bytes(PAYLOAD_MAX))) == 16 + 4096
    with pytest.raises(InvalidPayload):
        pack(2, 1, 0, bytes(PAYLOAD_MAX + 1))
