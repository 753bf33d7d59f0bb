# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Merge patches: RFC 7396's examples, and any patch beside the RFC's own algorithm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsfs import jsontext, jsontree
from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission
from xsfs.fs.virtual import merge
from xsfs.protocol import paths
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from xsfs.jsontext import JsonOrNull

Object: TypeAlias = "dict[str, str | Object]"

TOP = b"/x/top"


def loaded(tree: object) -> dict[bytes, bytes]:
    return {node.path: node.value for node in jsontree.load(tree, TOP)}


def patched(tree: object, patch: JsonOrNull) -> dict[bytes, bytes]:
    """The values below TOP after the planned requests, done as the daemons do them."""
    values = {b"/": b"", b"/x": b""} | loaded(tree)
    for request in merge.plan(patch, TOP):
        path, _, value = request.payload.partition(b"\0")
        if request.op == Op.RM:
            assert paths.parent(path) in values, "xenstored says ENOENT"
            values = {p: v for p, v in values.items() if p != path and not paths.is_below(p, path)}
            continue
        for above in paths.ancestors(path):
            values.setdefault(above, b"")
        if request.op == Op.WRITE:
            values[path] = value
        else:
            values.setdefault(path, b"")
    return {p: v for p, v in values.items() if p == TOP or paths.is_below(p, TOP)}


# RFC 7396, appendix A: original, patch, result. Arrays and numbers are not for a store; an
# object without members is a node without children, which is shown as its value, "".
RFC_EXAMPLES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":"foo"}', "null", None),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
    ('""', '{"a":"b","c":null}', '{"a":"b"}'),
    # Here the store differs: a string is a node's own value, and takes no child away.
    ('{"a":"foo"}', '"bar"', '{"":"bar","a":"foo"}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_EXAMPLES)
def test_the_rfcs_examples(original: str, patch: str, result: str | None) -> None:
    expected = {} if result is None else loaded(json.loads(result))
    assert patched(json.loads(original), jsontext.loads(patch.encode())) == expected


@pytest.mark.parametrize("patch", ['{"a":["b"]}', '{"a":[1]}', '["c","d"]', '["c"]'])
def test_the_rfcs_examples_that_are_not_for_a_store(patch: str) -> None:
    with pytest.raises(ValueError, match=r"byte [0-9]+: an object, a string"):
        jsontext.loads(patch.encode())


names = st.sampled_from(["a", "b", "c@-_9"])
texts = st.sampled_from(["", "1", "\udcff", "\u00e9\n"])
patches = st.recursive(
    texts | st.none(), lambda below: st.dictionaries(names, below, max_size=3), max_leaves=8
)
own_values = st.dictionaries(st.just(""), texts | st.none())


def whole(tree: object) -> Object:
    """Every node as an object with its own value under the key ""."""
    if isinstance(tree, str):
        return {"": tree}
    assert isinstance(tree, dict)
    return {"": ""} | {key: child if key == "" else whole(child) for key, child in tree.items()}


def whole_patch(patch: object) -> object:
    if isinstance(patch, dict):
        own = {"": patch[""]} if "" in patch else {}
        return own | {key: whole_patch(child) for key, child in patch.items() if key}
    return {"": patch} if isinstance(patch, str) else patch


def merge_patch(target: object, patch: object) -> object:
    """RFC 7396, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


trees = st.recursive(
    texts,
    lambda below: st.builds(
        lambda own, children: own | children,
        st.dictionaries(st.just(""), texts),
        st.dictionaries(names, below, max_size=3),
    ),
    max_leaves=8,
)


@given(trees, patches, own_values)
def test_any_patch_does_what_the_rfc_says(
    tree: object, patch: JsonOrNull, own: dict[str, str | None]
) -> None:
    if isinstance(patch, dict):
        patch = own | patch
    result = merge_patch(whole(tree), whole_patch(patch))
    expected = {} if result is None else loaded(result)
    assert patched(tree, patch) == expected


def test_nothing_is_asked_for_that_need_not_be() -> None:
    plan = list(merge.plan({"a": {"b": {"c": "1"}, "d": None}}, b"/"))
    assert [(request.op, merge.path_of(request)) for request in plan] == [
        (Op.WRITE, b"/a/b/c"),
        (Op.RM, b"/a/d"),
    ]


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"a.b": "1"}, ValueError),
        ({"a/b": "1"}, ValueError),
        ({"a": {"": {"b": "1"}}}, ValueError),
        ({"a": "\ud800"}, ValueError),
        ({"\udcff": "1"}, ValueError),
        ({"a": "x" * 5000}, InvalidPayload),
        ({"n" * 4000: "1"}, InvalidPath),
        ({"a": {".perms": "x5"}}, InvalidPermission),
        ({"a": {".perms": {"b": "1"}}}, ValueError),
        ({"a": {".perms": None}}, ValueError),
    ],
)
def test_what_no_store_can_hold(patch: JsonOrNull, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        list(merge.plan(patch, b"/"))
    assert isinstance(caught.value, ValueError)


def test_a_patch_as_deep_as_a_path() -> None:
    patch: JsonOrNull = "deep"
    for _ in range(1500):
        patch = {"a": patch}
    (request,) = merge.plan(patch, b"/")
    assert request.payload == b"/a" * 1500 + b"\0deep"


def test_permissions_hold_for_all_that_is_named_below() -> None:
    patch: JsonOrNull = {
        "a": {".perms": "n5,r0", "": "1", "b": "2", "c": {".perms": "n0", "d": "3"}, "e": None}
    }
    plan = [(Op(request.op), request.payload) for request in merge.plan(patch, b"/")]
    assert plan == [
        (Op.WRITE, b"/a\x001"),
        (Op.WRITE, b"/a/b\x002"),
        (Op.WRITE, b"/a/c/d\x003"),
        (Op.RM, b"/a/e\0"),
        (Op.SET_PERMS, b"/a\0n5\0r0\0"),
        (Op.SET_PERMS, b"/a/b\0n5\0r0\0"),
        (Op.SET_PERMS, b"/a/c\0n0\0"),
        (Op.SET_PERMS, b"/a/c/d\0n0\0"),
    ]


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"'x\.y' is not the name of a node") as caught:
        list(merge.plan({"a": {"b": {"ok": "1", "x.y": "1"}}}, b"/top"))
    assert caught.value.__notes__ == ["/top/a/b"]
