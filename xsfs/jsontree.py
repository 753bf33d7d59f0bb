# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A tree of nodes ↔ JSON: what `.json` files show and `--load` takes. Pure.

A node with children is an object, one without is its value as a string; a value beside
children stands under the key `""`, which is no node's name. Bytes that are not UTF-8 go
through as surrogate escapes, so every value survives the round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from xsfs import jsontext
from xsfs.protocol import paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xsfs.jsontext import Json


def to_text(data: bytes) -> str:
    """Bytes as a JSON string holds them."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """What `to_text` was given.

    Raises:
        ValueError: the text holds a surrogate that escapes no byte.
    """
    return text.encode("utf-8", "surrogateescape")


def dump(values: Mapping[bytes, bytes], top: bytes = b"/") -> Json:
    """The subtree at `top` as JSON, children in the order of `values`.

    Args:
        values: the value of `top` and of every node below it, by absolute path, parents
            before their children; other paths are left out.
    """
    objects: dict[bytes, dict[str, Json]] = {}
    whole: dict[str, Json] = {}
    for path, value in values.items():
        if path == top:
            parent, key = whole, ""
        elif paths.is_below(path, top):
            above = paths.parent(path)
            if above not in objects:
                objects[above] = _make_object(objects, whole, above, top)
            parent, key = objects[above], to_text(paths.name(path))
        else:
            continue
        parent[key] = to_text(value)
    return whole[""]


def _make_object(
    objects: dict[bytes, dict[str, Json]], whole: dict[str, Json], path: bytes, top: bytes
) -> dict[str, Json]:
    parent, key = (
        (whole, "") if path == top else (objects[paths.parent(path)], to_text(paths.name(path)))
    )
    own = parent[key]
    made: dict[str, Json] = {"": own} if own else {}
    parent[key] = made
    return made


def dumps(values: Mapping[bytes, bytes], top: bytes = b"/") -> bytes:
    """`dump` as a line of ASCII."""
    return jsontext.dumps(dump(values, top)).encode("ascii") + b"\n"


def load(tree: object, top: bytes = b"/") -> dict[bytes, bytes]:
    """The values by absolute path, parents before children, of a tree in JSON.

    Args:
        tree: what the JSON text says.
        top: the path at which the tree stands.

    Raises:
        ValueError: something in it is neither an object nor a string, or a key is no name.
    """
    return dict(_walk(tree, top))


def _walk(tree: object, top: bytes) -> Iterator[tuple[bytes, bytes]]:
    # No recursion: the depth is the writer's choice.
    pending = [(top, tree)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, str):
            yield path, to_bytes(node)
            continue
        if not isinstance(node, dict):
            raise ValueError(f"{to_text(path)}: a string or an object is needed")
        children = cast("dict[str, object]", node)
        own = children.get("", "")
        if not isinstance(own, str):
            raise ValueError(f"{to_text(path)}: the value beside children is a string")
        yield path, to_bytes(own)
        for key, child in reversed(children.items()):
            if key:
                name = to_bytes(key)
                if not paths.is_name(name):
                    raise ValueError(f"{to_text(path)}: {key!r} is not the name of a node")
                pending.append((paths.join(path, name), child))


def loads(text: str | bytes, top: bytes = b"/") -> dict[bytes, bytes]:
    """`load` from JSON text.

    Raises:
        ValueError: the text is not JSON, or not a tree.
    """
    data = text.encode() if isinstance(text, str) else text
    return load(jsontext.loads(data), top)
