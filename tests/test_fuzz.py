# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Any bytes at all, to whatever takes bytes from others: refused, never a crash.

A moment of what `python -m tests.soak.fuzz` does for hours, the same on every run; and what that
has found.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets import ASKED, SEEDS, TARGETS, WORDS, carry_out, heard
from xsfs.protocol.packet import HEADER, Op
from xsfs.server import C_XENSTORED, OXENSTORED, Rules, Store

bounded = settings(max_examples=200, derandomize=True, database=None)

# Inputs that failed once: the target, and the input.
FOUND = [
    ("orders", b"F!\0"),
    ("options", b"uid=" + b"9" * 5000),
]

words = st.sampled_from(
    [
        *(b"", b"/", b"/a", b"/a/b", b"//", b"a", b"@releaseDomain", b"x", b"n0", b"r5", b"b5"),
        *(b"T", b"F", b"0", b"7", b"5"),
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


@pytest.mark.parametrize(("name", "data"), [(name, data) for name in SEEDS for data in SEEDS[name]])
def test_what_is_right_is_taken(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@bounded
@given(st.data())
def test_anything(name: str, data: st.DataObject) -> None:
    parts = st.one_of(st.sampled_from(WORDS[name]), st.binary(max_size=4))
    TARGETS[name](data.draw(st.lists(parts, max_size=30).map(b"".join)))


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


@pytest.mark.parametrize("rules", [C_XENSTORED, OXENSTORED], ids=lambda rules: rules.name)
@bounded
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(st.sampled_from([op.value for op in Op]), numbers),
            st.one_of(st.just(0), st.integers(1, 4), numbers),
            texts,
        ),
        max_size=30,
    )
)
def test_any_request_to_the_embedded_store_gets_one_reply(
    rules: Rules, asked: list[tuple[int, int, int, bytes]]
) -> None:
    carry_out(Store(rules), asked)
