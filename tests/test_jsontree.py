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


def loaded(text: bytes, top: bytes = b"/") -> dict[bytes, bytes]:
    return {path: value for path, value, _ in jsontree.loads(text, top)}


@pytest.mark.parametrize(("values", "tree"), TREES)
def test_the_shape(values: dict[bytes, bytes], tree: object) -> None:
    assert json.loads(jsontree.dumps(values)) == tree
    assert [(path, value) for path, value, _ in jsontree.load(tree)] == list(values.items())


def test_a_subtree() -> None:
    values = {b"/": b"", b"/a": b"", b"/a/b": b"1", b"/ab": b"no", b"/a/b/c": b"2"}
    assert json.loads(jsontree.dumps(values, b"/a")) == {"b": {"": "1", "c": "2"}}
    assert loaded(b'{"b": {"": "1", "c": "2"}}', b"/a") == {
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
    assert loaded(jsontree.dumps(values)) == values


def test_as_deep_as_a_path_can_be() -> None:
    values = {b"/": b""} | {b"/a" * depth: b"%d" % depth for depth in range(1, 1500)}
    text = jsontree.dumps(values)
    assert text.count(b"{") == text.count(b"}") == 1499
    assert loaded(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("null", "[]", "", "{", '{"a": null}', '{"a": []}', '{".perms": "x"}'),
        *('{"": {}}', '{"a/b": "1"}', '{"a.b": "1"}', '{"a": {"": null}}', '{"a": "\\ud800"}'),
        *('{"\\udcff": "1"}', "\xff"),
    ],
)
def test_refuses_what_is_no_tree(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors among them
        jsontree.loads(text)


entries = st.sampled_from([[b"n0"], [b"n0", b"r5"], [b"n5", b"b0"]])


@given(st.dictionaries(st.lists(names, max_size=3).map(tuple), entries), st.data())
def test_every_tree_survives_with_its_permissions(
    leaves: dict[tuple[bytes, ...], list[bytes]], data: st.DataObject
) -> None:
    paths_ = {b"/": b""}
    for parts in leaves:
        for depth in range(len(parts)):
            paths_[b"/" + b"/".join(parts[: depth + 1])] = b""
    values = dict(sorted(paths_.items()))
    permissions = {path: data.draw(entries) for path in values}
    text = jsontree.dumps(values, b"/", permissions)
    assert {node.path: (node.value, node.perms) for node in jsontree.loads(text)} == {
        path: (values[path], permissions[path]) for path in values
    }


def test_permissions_are_shown_where_they_differ_from_those_above() -> None:
    values = {b"/": b"", b"/a": b"1", b"/a/b": b"2", b"/c": b""}
    permissions = {path: [b"n0"] for path in values} | {b"/a/b": [b"n5", b"r0"], b"/c": [b"b1"]}
    assert json.loads(jsontree.dumps(values, b"/", permissions)) == {
        ".perms": "n0",
        "a": {"": "1", "b": {"": "2", ".perms": "n5,r0"}},
        "c": {".perms": "b1"},
    }
