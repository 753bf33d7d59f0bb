# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A JSON merge patch (RFC 7396) as requests to the store. Pure.

The patch is applied to the tree in which every node is an object with its own value under the
key `""`; a string is short for an object with that key alone, and takes no child away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsfs import jsontree
from xsfs.protocol import paths, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.jsontext import JsonOrNull
    from xsfs.protocol.requests import Request


def plan(patch: JsonOrNull, top: bytes) -> list[Request[None]]:
    """What to ask of the store, in order, to patch the node at `top`.

    Nodes are made before anything below them is removed: so removing what is not there is
    no error.

    Raises:
        ValueError: a key is not a name, an own value not a string, a string not text.
        InvalidPath: a path is longer than the protocol allows.
        InvalidPayload: a value does not fit into a packet with its path.
    """
    return list(_walk(patch, top))


def changed(request: Request[None]) -> bytes:
    """The path that a planned request is about."""
    return request.payload.partition(b"\0")[0]


def _walk(patch: JsonOrNull, top: bytes) -> Iterator[Request[None]]:
    pending = [(top, patch)]
    while pending:
        path, node = pending.pop()
        if node is None:
            yield requests.rm(path)
        elif isinstance(node, str):
            yield requests.write(path, jsontree.to_bytes(node))
        else:
            children = {_child(path, key): child for key, child in node.items() if key}
            kept = [(below, child) for below, child in children.items() if child is not None]
            if "" in node:
                yield requests.write(path, _own_value(path, node[""]))
            elif not kept:
                yield requests.mkdir(path)
            # Last in, first out.
            pending += [(below, None) for below, child in children.items() if child is None]
            pending += reversed(kept)


def _child(path: bytes, key: str) -> bytes:
    name = jsontree.to_bytes(key)
    if not paths.is_name(name):
        raise ValueError(f"{key!r} below {path.decode()} is not the name of a node")
    return paths.join(path, name)


def _own_value(path: bytes, own: JsonOrNull) -> bytes:
    if own is None:
        return b""
    if not isinstance(own, str):
        raise ValueError(f"the own value of {path.decode()} is not a string")
    return jsontree.to_bytes(own)
