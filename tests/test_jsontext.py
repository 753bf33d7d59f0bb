# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""JSON text in pieces, beside the standard library's json."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs import jsontext
from xsfs.errors import InvalidPath, InvalidPayload

texts = st.text(st.characters(codec="utf-8"), max_size=5)
trees = st.recursive(
    texts | st.none(), lambda below: st.dictionaries(texts, below, max_size=4), max_leaves=12
)


def read_in_pieces(text: bytes, cuts: list[int]) -> object:
    reader = jsontext.Reader()
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        reader.feed(text[start:end])
    assert reader.complete
    return reader.value


@given(trees, st.booleans(), st.none() | st.integers(0, 4), st.lists(st.integers(0), max_size=6))
def test_any_text_is_read_as_json_reads_it(
    tree: object, ascii_only: bool, indent: int | None, cuts: list[int]
) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode() + b" \n"
    assert read_in_pieces(text, cuts) == tree


@given(st.text('{}:," \\nul1\u00e9\x01', max_size=12).map(str.encode))
def test_what_json_refuses_is_refused(text: bytes) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            jsontext.loads(text)
        return
    if isinstance(wanted, (str, dict)) and b"1" not in text:
        assert jsontext.loads(text) == wanted


@given(trees, st.data())
def test_a_text_cut_short_is_neither_complete_nor_malformed(
    tree: object, data: st.DataObject
) -> None:
    text = json.dumps({"key": tree}).encode()
    reader = jsontext.Reader()
    reader.feed(text[: data.draw(st.integers(0, len(text) - 1))])
    assert not reader.complete


@pytest.mark.parametrize(
    "text",
    [
        b"not json",
        b"{not json",
        b'{"a" "b"}',
        b'{"a":}',
        b'{"a":"b",}',
        b'{"a":"b"}}',
        b'{"a":"b"} {',
        b'"a" "b"',
        b'{"a":1x',
        b'{"a":tru}',
        b'{"a":yes',
        b'{"a":01',
        b'{"a":+1',
        b'{"a":1 2',
        b"{1",
        b'{"a":[]}',
        b"[1]",
        b"-}",
        b"NaN",
        b'"\n"',
        b'"\\x"',
        b'"\xff"',
        b"nulL",
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_no_continuation_mends_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsontext.Reader().feed(text)


def test_the_reason_names_the_place() -> None:
    with pytest.raises(ValueError, match="byte 7: a colon is expected, not '1'"):
        jsontext.loads(b'{ "a"  1}')


def test_blank_text_is_nothing_yet() -> None:
    reader = jsontext.Reader()
    assert reader.blank
    reader.feed(b" \n")
    assert reader.blank
    reader.feed(b"n")
    assert not reader.blank


def test_a_string_that_never_ends_is_not_kept() -> None:
    reader = jsontext.Reader()
    with pytest.raises(InvalidPayload):
        reader.feed(b'"' + b"x" * 30_000)


@pytest.mark.parametrize("word", ["0", "-0", "12", "1.50", "-3e+7", "1E400", "true", "false"])
def test_numbers_and_words_are_the_text_that_they_are_written_as(word: str) -> None:
    assert jsontext.loads(word.encode()) == word
    assert jsontext.loads(b'{"a":%b,"b":{"c": %b}}' % (word.encode(), word.encode())) == {
        "a": word,
        "b": {"c": word},
    }


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers(0)))
def test_any_number_in_pieces(number: float, cuts: list[int]) -> None:
    text = json.dumps({"a": number}).encode()
    assert read_in_pieces(text, cuts) == {"a": json.dumps(number)}


def test_what_may_go_on_is_not_complete() -> None:
    reader = jsontext.Reader()
    reader.feed(b"12")
    assert not reader.complete
    reader.feed(b"3")
    reader.finish()
    assert reader.complete
    assert reader.value == "123"
    reader = jsontext.Reader()
    reader.feed(b"12e")
    with pytest.raises(ValueError, match="byte"):
        reader.finish()


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":' * 200_000,
        b'{"":' * 200_000,
        (b'{"%b":{"bbb":1' % (b"n" * 3070)),
        (b'{"%b":{"%b":' % (b"n" * 1600, b"n" * 1600)),
    ],
)
def test_a_path_too_long_is_refused_at_once(text: bytes) -> None:
    reader = jsontext.Reader()
    with pytest.raises(InvalidPath, match="byte"):
        reader.feed(text[:16384])
    assert reader.keys <= 3073
