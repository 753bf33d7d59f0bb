# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A JSON merge patch (RFC 7396) as requests to the store. Pure.

The patch is applied to the tree in which every node is an object with its own value under the
key `""`; a string is short for an object with that key alone, and takes no child away.
Permissions in it (`jsontree.PERMS`) are set on the node and on all that is named below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from xsfs import jsontree
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.jsontext import JsonOrNull
    from xsfs.protocol.requests import Request


# A path, the patch for it, and the permissions that apply there.
_Step: TypeAlias = "tuple[bytes, JsonOrNull, list[bytes] | None]"


def plan(patch: JsonOrNull, top: bytes) -> Iterator[Request[None]]:
    """The requests, in order, that patch the node at `top`.

    Nodes are created before anything below them is removed, so removing a missing node is no
    error. Permissions come last: after giving a node away, we might not write below it.

    Raises:
        ValueError: a key is not a name, an own value not a string, a string not text.
        InvalidPath: a path is longer than the protocol allows.
        InvalidPayload: a value does not fit into a packet with its path.
        InvalidPermission: permissions are malformed.
    """
    permissions: dict[bytes, list[bytes]] = {}
    # What is left to do, last in, first out; iterators, as an object may have many members.
    left: list[Iterator[_Step]] = [iter([(top, patch, None)])]
    path = top
    try:
        while left:
            for path, node, entries in left[-1]:
                if node is None:
                    yield requests.rm(path)
                    continue
                if isinstance(node, dict) and jsontree.PERMS in node:
                    entries = jsontree.to_perms(node[jsontree.PERMS])
                if entries is not None:
                    permissions[path] = entries
                if isinstance(node, str):
                    yield requests.write(path, jsontree.to_bytes(node))
                    continue
                if "" in node:
                    yield requests.write(path, _own_value(node[""]))
                elif not any(_members(node, removed=False)):
                    yield requests.mkdir(path)
                left += (
                    _children(path, node, None, removed=True),
                    _children(path, node, entries, removed=False),
                )
                break
            else:
                left.pop()
    except ValueError as error:
        if not hasattr(error, "__notes__"):
            error.add_note(path.decode())
        raise
    for path, entries in permissions.items():
        yield requests.set_perms(path, entries)


def _members(node: dict[str, JsonOrNull], *, removed: bool) -> Iterator[tuple[str, JsonOrNull]]:
    for key, child in node.items():
        if key and key != jsontree.PERMS and (child is None) == removed:
            yield key, child


def _children(
    path: bytes, node: dict[str, JsonOrNull], entries: list[bytes] | None, *, removed: bool
) -> Iterator[_Step]:
    for key, child in _members(node, removed=removed):
        try:
            below = jsontree.child_path(path, key)
        except ValueError as error:
            error.add_note(path.decode())
            raise
        yield below, child, entries


def path_of(request: Request[None]) -> bytes:
    """The path that a planned request is about."""
    return request.payload.partition(b"\0")[0]


def _own_value(own: JsonOrNull) -> bytes:
    if own is None:
        return b""
    if not isinstance(own, str):
        raise ValueError("the value beside children must be a string")
    return jsontree.to_bytes(own)
