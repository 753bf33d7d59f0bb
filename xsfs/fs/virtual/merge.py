# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A JSON merge patch (RFC 7396) as requests to the store. Pure.

The patch is applied to the tree in which every node is an object with its own value under the
key `""`; a string is short for an object with that key alone, and takes no child away.
Permissions in it (`jsontree.PERMS`) are set on the node and on all that is named below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs import jsontree
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.jsontext import JsonOrNull
    from xsfs.protocol.requests import Request


def plan(patch: JsonOrNull, top: bytes) -> Iterator[Request[None]]:
    """What to ask of the store, in order, to patch the node at `top`.

    Nodes are made before anything below them is removed: so removing what is not there is
    no error. Permissions come last: whoever gives a node away may yet write below it.

    Raises:
        ValueError: a key is not a name, an own value not a string, a string not text.
        InvalidPath: a path is longer than the protocol allows.
        InvalidPayload: a value does not fit into a packet with its path.
        InvalidPermission: permissions are malformed.
    """
    permissions: dict[bytes, list[bytes]] = {}
    pending: list[tuple[bytes, JsonOrNull, list[bytes] | None]] = [(top, patch, None)]
    while pending:
        path, node, entries = pending.pop()
        try:
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
            children = {
                jsontree.child_path(path, key): child
                for key, child in node.items()
                if key and key != jsontree.PERMS
            }
            kept = [
                (below, child, entries) for below, child in children.items() if child is not None
            ]
            if "" in node:
                yield requests.write(path, _own_value(node[""]))
            elif not kept:
                yield requests.mkdir(path)
            # Last in, first out.
            pending += [(below, None, None) for below, child in children.items() if child is None]
            pending += reversed(kept)
        except ValueError as error:
            error.add_note(path.decode())
            raise
    for path, entries in permissions.items():
        yield requests.set_perms(path, entries)


def changed(request: Request[None]) -> bytes:
    """The path that a planned request is about."""
    return request.payload.partition(b"\0")[0]


def _own_value(own: JsonOrNull) -> bytes:
    if own is None:
        return b""
    if not isinstance(own, str):
        raise ValueError("the value beside children is a string")
    return jsontree.to_bytes(own)
