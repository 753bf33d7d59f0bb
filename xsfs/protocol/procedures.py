# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Operations of more than one request: whole listings, whole subtrees.

Each procedure is a generator that yields batches of requests and is sent their results in
order (errors as values), and returns the result; both clients run them. Pure.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from xsfs.errors import NotFound, StoreError, TooBig
from xsfs.protocol import paths, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            # Children came or went between two parts: start over.
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


class Walk:
    """`(path, value, children)` of `top` and of every node below it.

    Nodes that vanish meanwhile are left out; a value that may not be read is empty.

    Args:
        topdown: parents before their children, and names that the caller removes from
            `children` are skipped; else children before their parents.

    Raises:
        StoreError: what the store said; NotFound when there is no `top`.
    """

    def __init__(self, top: bytes, topdown: bool) -> None:
        self._topdown = topdown
        # Not read yet.
        self._top: bytes | None = top
        self._stack: list[tuple[Node, Iterator[bytes]]] = []

    def next(self) -> Procedure[Node | None]:
        """The next node; None at the end."""
        if self._top is not None:
            top, self._top = self._top, None
            if here := (yield from self._enter(top)):
                return here
        # Not recursive: a path may have a thousand components.
        while self._stack:
            here, remaining = self._stack[-1]
            name = next(remaining, None)
            if name is None:
                self._stack.pop()
                if not self._topdown:
                    return here
                continue
            with suppress(NotFound):
                if below := (yield from self._enter(paths.join(here[0], name))):
                    return below
        return None

    def _enter(self, path: bytes) -> Procedure[Node | None]:
        """Read a node; returns it, if it comes before its children."""
        value, children = yield from node(path)
        here = path, value, children
        self._stack.append((here, iter(children)))
        return here if self._topdown else None


def tree(path: bytes) -> Procedure[dict[bytes, bytes]]:
    """The values of a node and of all nodes below it, by path; parents come first.

    Level by level, each in one go. Nodes that vanish meanwhile, or that may not be read, are
    left out; in a transaction it is a snapshot.

    Raises:
        StoreError: the node itself cannot be read.
    """
    values: dict[bytes, bytes] = {}
    top = paths.check(path)
    level = [top]
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
                # The daemons let a path become longer than a request may name.
                below += [child for child in children if paths.fits(child)]
        level = below
    return values
