# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Trees survive the way to JSON and back, and nothing but trees comes back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs import jsontree
from xsfs.protocol import paths

TREES = (
    ({b"/": b""}, ""),
    ({b"/": b"v"}, "v"),
    ({b"/": b"", b"/a": b"1"}, {"a": "1"}),
    ({b"/": b"", b"/a": b"", b"/a/b": b"2"}, {"a": {"b": "2"}}),
    ({b"/": b"own", b"/a": b"1"}, {"": "own", "a": "1"}),
    ({b"/": b"", b"/a": b"own", b"/a/b": b"2"}, {"a": {"": "own", "b": "2"}}),
    ({b"/": b"", b"/b": b"\xff\0\xc3", b"/a": b"\xc3\xa4"}, {"b": "\udcff\0\udcc3", "a": "ä"}),
)


@pytest.mark.parametrize(("values", "tree"), TREES)
def test_the_shape(values: dict[bytes, bytes], tree: object) -> None:
    assert jsontree.dump(values) == tree
    assert json.loads(jsontree.dumps(values)) == tree
    assert jsontree.load(tree) == values
    assert list(jsontree.load(tree)) == list(values)


def test_a_subtree() -> None:
    values = {b"/": b"", b"/a": b"", b"/a/b": b"1", b"/ab": b"no", b"/a/b/c": b"2"}
    assert jsontree.dump(values, b"/a") == {"b": {"": "1", "c": "2"}}
    assert jsontree.load({"b": {"": "1", "c": "2"}}, b"/a") == {
        b"/a": b"",
        b"/a/b": b"1",
        b"/a/b/c": b"2",
    }


names = st.from_regex(rb"[A-Za-z0-9\-_@]{1,4}", fullmatch=True)


@given(st.dictionaries(st.lists(names, max_size=4).map(tuple), st.binary(max_size=8)))
def test_every_tree_survives(leaves: dict[tuple[bytes, ...], bytes]) -> None:
    values = {b"/": leaves.get((), b"")}
    for parts, value in sorted(leaves.items()):
        path = b"/"
        for part in parts:
            path = paths.join(path, part)
            values.setdefault(path, b"")
        values[path] = value
    assert jsontree.loads(jsontree.dumps(values)) == values


def test_as_deep_as_a_path_can_be() -> None:
    values = {b"/": b""} | {b"/a" * depth: b"%d" % depth for depth in range(1, 1500)}
    text = jsontree.dumps(values)
    assert text.count(b"{") == text.count(b"}") == 1499
    assert jsontree.loads(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("null", "1", "[]", "true", "", "{", '{"a": null}', '{"a": 1}', '{"a": []}'),
        *('{"": {}}', '{"a/b": "1"}', '{"a.b": "1"}', '{"a": {"": 1}}', '{"a": "\\ud800"}'),
        *('{"\\udcff": "1"}', "\xff"),
    ],
)
def test_refuses_what_is_no_tree(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors among them
        jsontree.loads(text)
