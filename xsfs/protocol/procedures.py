# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What takes more than one request: whole listings, whole subtrees.

Each procedure is a generator that yields batches of requests and is sent their results in
order (errors as values), and returns what was asked for; both clients run them. Pure.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from xsfs.errors import NotFound, StoreError, TooBig
from xsfs.protocol import paths, requests

if TYPE_CHECKING:
    from xsfs.protocol.requests import Part, Request

T = TypeVar("T")

# Path, value, names of the children.
Node: TypeAlias = "tuple[bytes, bytes, list[bytes]]"

# Yields requests, is sent their results, returns a T.
Procedure: TypeAlias = Generator["list[Request[object]]", "list[object]", T]


def listing(path: bytes) -> Procedure[list[bytes]]:
    """The names of all children, however many, in the daemon's order.

    Raises:
        StoreError: what the store said; NotFound when there is no such node.
    """
    (names,) = yield [requests.directory(path)]
    if isinstance(names, TooBig):
        return (yield from _listing_by_parts(path))
    if isinstance(names, StoreError):
        raise names
    return cast("list[bytes]", names)


def _listing_by_parts(path: bytes) -> Procedure[list[bytes]]:
    names: list[bytes] = []
    generation, offset = b"", 0
    while True:
        (result,) = yield [requests.part(path, offset)]
        if isinstance(result, StoreError):
            raise result
        part = cast("Part", result)
        if offset and part.generation != generation:
            # Children came or went between two parts: what was read is of no use.
            names, offset = [], 0
            continue
        generation = part.generation
        names += part.names
        offset += part.length
        if part.last:
            return names


def node(path: bytes) -> Procedure[tuple[bytes, list[bytes]]]:
    """A node's value and the names of its children; a value that may not be read is empty.

    Raises:
        StoreError: what the store said of the children; NotFound when there is no such node.
    """
    names, value = yield [requests.directory(path), requests.read(path)]
    if isinstance(names, TooBig):
        names = yield from _listing_by_parts(path)
    if isinstance(names, StoreError):
        raise names
    children = [name for name in cast("list[bytes]", names) if paths.fits(paths.join(path, name))]
    return b"" if isinstance(value, StoreError) else cast("bytes", value), children


def walk(top: bytes, topdown: bool) -> Generator[list[Request[object]] | Node, list[object], None]:
    """Yields batches, as a procedure, and besides every node of the tree when its turn comes.

    Nodes that vanish meanwhile are left out.

    Args:
        topdown: parents before their children, and whoever removes names from a node's
            children is spared those; else children before their parents.

    Raises:
        StoreError: what the store said; NotFound when there is no `top`.
    """
    value, children = yield from node(top)
    if topdown:
        yield top, value, children
    # Not recursive: a path may have a thousand components.
    stack = [(top, value, children, iter(children))]
    while stack:
        path, value, children, remaining = stack[-1]
        name = next(remaining, None)
        if name is None:
            stack.pop()
            if not topdown:
                yield path, value, children
            continue
        path = paths.join(path, name)
        try:
            value, children = yield from node(path)
        except NotFound:
            continue
        if topdown:
            yield path, value, children
        stack.append((path, value, children, iter(children)))


def tree(top: bytes) -> Procedure[dict[bytes, bytes]]:
    """The values of `top` and of all nodes below it, by path, parents before children.

    Level by level, each in one batch. Nodes that vanish meanwhile, or that may not be read,
    are left out; run it in a transaction for a snapshot.

    Raises:
        StoreError: `top` itself cannot be read.
    """
    values: dict[bytes, bytes] = {}
    level = [paths.check(top)]
    while level:
        replies = yield [request for path in level for request in requests.listing_and_value(path)]
        below: list[bytes] = []
        for path, names, value in zip(level, replies[::2], replies[1::2], strict=True):
            if isinstance(value, StoreError):
                if path == top:
                    raise value
                continue
            values[path] = cast("bytes", value)
            if isinstance(names, TooBig):
                try:
                    names = yield from _listing_by_parts(path)
                except NotFound:
                    names = []
            if not isinstance(names, StoreError):
                children = (paths.join(path, name) for name in cast("list[bytes]", names))
                # The daemons let a path grow longer than the protocol lets anyone ask for.
                below += [child for child in children if paths.fits(child)]
        level = below
    return values
