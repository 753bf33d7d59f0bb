# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A tree of nodes ↔ JSON: what `.json` and `.backup` files show and `--load` takes. Pure.

A node with children is an object, one without is its value as a string. The value of a node with
children is under the key `""`, which is no node's name. Permissions, where they are shown, are
under `".perms"` as `"n0,r5"`, and apply to all nodes below without permissions of their own. Bytes
that are not UTF-8 become surrogate escapes, so every value survives the round trip.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, cast

from xsfs import jsontext
from xsfs.errors import InvalidPermission
from xsfs.protocol import paths, perms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# After how many paths an empty piece is made, if nothing of them is shown yet.
_UNSHOWN = 100

# Names of nodes have no dot.
PERMS = ".perms"


class Node(NamedTuple):
    """A node in a JSON text; its permission entries, owner first, or None if none are given."""

    path: bytes
    value: bytes
    perms: list[bytes] | None


def to_text(data: bytes) -> str:
    """Bytes as a string for JSON."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes of a string from JSON: the inverse of `to_text`.

    Raises:
        ValueError: the text holds a surrogate that escapes no byte.
    """
    return text.encode("utf-8", "surrogateescape")


def to_perms(entry: object) -> list[bytes]:
    """The permission entries under the key `PERMS`.

    Raises:
        InvalidPermission: it is not a string, or an entry is malformed.
    """
    try:
        return perms.check(cast("str", entry).encode().split(b","))
    except (AttributeError, ValueError):
        raise InvalidPermission(f"{entry!a} is not a list of permissions, such as n0,r5") from None


def pieces(
    values: Mapping[bytes, bytes],
    top: bytes = b"/",
    permissions: Mapping[bytes, list[bytes]] | None = None,
) -> Iterator[str]:
    """The subtree at `top` as a line of ASCII, in many small pieces.

    Args:
        values: the value of `top` and of every node below it, by absolute path, parents
            before their children; other paths are left out.
        permissions: of each of these nodes, to be shown too.
    """
    children: dict[bytes, list[bytes]] = {}
    for number, path in enumerate(values):
        if path != top and paths.is_below(path, top):
            children.setdefault(paths.parent(path), []).append(path)
        if not number % _UNSHOWN:
            # Empty, so that the caller can let other tasks run.
            yield ""
    shown = permissions or {}
    # No recursion: a tree may be deeper than Python's stack.
    walk = [iter([top])]
    before = ""
    while walk:
        # No path is empty.
        path = next(walk[-1], b"")
        if not path:
            walk.pop()
            yield "}" if walk else "\n"
            before = ", "
            continue
        if path != top:
            before += f"{json.dumps(to_text(paths.name(path)))}: "
        entries = shown.get(path)
        if entries == (shown.get(paths.parent(path)) if path != top else None):
            entries = None
        value, below = to_text(values[path]), children.get(path)
        if not below and entries is None:
            yield before + json.dumps(value)
            before = ", "
            continue
        own = {"": value} if value else {}
        if entries is not None:
            own[PERMS] = to_text(b",".join(entries))
        yield before + json.dumps(own)[:-1]
        before = ", " if own else ""
        walk.append(iter(below or ()))


def dumps(
    values: Mapping[bytes, bytes],
    top: bytes = b"/",
    permissions: Mapping[bytes, list[bytes]] | None = None,
) -> bytes:
    """All `pieces`."""
    return "".join(pieces(values, top, permissions)).encode("ascii")


def load(tree: object, top: bytes = b"/") -> Iterator[Node]:
    """The nodes, parents before children, of a tree in JSON.

    Args:
        tree: the value of the JSON text.
        top: the path of the tree's root.

    Raises:
        ValueError: something in it is neither an object nor a string, or a key is no name.
    """
    # No recursion: the text may be deeper than Python's stack.
    pending: list[tuple[bytes, object, list[bytes] | None]] = [(top, tree, None)]
    while pending:
        path, node, entries = pending.pop()
        if isinstance(node, str):
            yield Node(path, to_bytes(node), entries)
            continue
        if not isinstance(node, dict):
            raise ValueError(f"{to_text(path)}: a string or an object is expected")
        children = cast("dict[str, object]", node)
        own = children.get("", "")
        if not isinstance(own, str):
            raise ValueError(f"{to_text(path)}: the value beside children must be a string")
        if PERMS in children:
            entries = to_perms(children[PERMS])
        yield Node(path, to_bytes(own), entries)
        for key, child in reversed(children.items()):
            if key and key != PERMS:
                try:
                    pending.append((child_path(path, key), child, entries))
                except ValueError as error:
                    raise ValueError(f"{to_text(path)}: {error}") from None


def child_path(path: bytes, key: str) -> bytes:
    """The path of the node that a key names.

    Raises:
        ValueError: it is not the name of a node.
    """
    name = to_bytes(key)
    if not paths.is_name(name):
        raise ValueError(f"{key!a} is not the name of a node")
    return paths.join(path, name)


def loads(text: str | bytes, top: bytes = b"/") -> list[Node]:
    """`load` from JSON text.

    Raises:
        ValueError: the text is not JSON, or not a tree.
    """
    data = text.encode() if isinstance(text, str) else text
    return list(load(jsontext.loads(data), top))
