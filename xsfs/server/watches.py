# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""All watches, and which of them a change concerns. Pure.

Whether a peer may hear of a change is not known here. Source: xenstore.txt, WATCH.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xsfs.errors import StoreError
from xsfs.protocol import paths

if TYPE_CHECKING:
    from xsfs.server.peer import Peer


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """One watch of one peer."""

    peer: Peer = field(repr=False)
    path: bytes
    token: bytes
    # What events leave out at the front of a path: the length of the home, if it was relative.
    prefix: int
    # Levels below the path that concern it; None: all.
    depth: int | None
    # Grows with each registration.
    serial: int

    def reaches(self, path: bytes) -> bool:
        """Whether `path`, which is below, is not too deep."""
        if self.depth is None:
            return True
        start = 0 if self.path == b"/" else len(self.path)
        return path.count(b"/", start) <= self.depth


class Watches:
    """All watches, by path and by peer.

    Args:
        root_first: in the order of paths from the root, newest first; else of registration.
    """

    def __init__(self, root_first: bool) -> None:
        self._by_path: dict[bytes, list[Watch]] = {}
        self._by_peer: dict[Peer, dict[tuple[bytes, bytes], Watch]] = {}
        self._root_first = root_first
        self._serial = 0

    def has(self, peer: Peer, path: bytes, token: bytes) -> bool:
        """Whether the peer has such a watch."""
        return (path, token) in self._by_peer.get(peer, ())

    def count(self, peer: Peer) -> int:
        """How many watches the peer has."""
        return len(self._by_peer.get(peer, ()))

    def add(self, peer: Peer, path: bytes, token: bytes, prefix: int, depth: int | None) -> None:
        """A new watch, which the peer does not have."""
        self._serial += 1
        watch = Watch(peer, path, token, prefix, depth, self._serial)
        self._by_peer.setdefault(peer, {})[path, token] = watch
        self._by_path.setdefault(path, []).append(watch)

    def remove(self, peer: Peer, path: bytes, token: bytes) -> None:
        """Take a watch back.

        Raises:
            StoreError: ENOENT, the peer has no such watch.
        """
        watch = self._by_peer.get(peer, {}).pop((path, token), None)
        if watch is None:
            raise StoreError(b"ENOENT")
        self._take_out(watch)

    def drop(self, peer: Peer) -> None:
        """Take all watches of a peer back."""
        for watch in self._by_peer.pop(peer, {}).values():
            self._take_out(watch)

    def paths(self) -> list[bytes]:
        """The paths that are watched."""
        return list(self._by_path)

    def on(self, path: bytes) -> list[Watch]:
        """The watches on just this path."""
        return self._in_order(list(self._by_path.get(path, ())))

    def concerned(self, path: bytes) -> list[Watch]:
        """The watches on this path and above it, as far as their depth reaches."""
        if path.startswith(b"@"):
            return self.on(path)
        found = list(self._by_path.get(path, ()))
        for above in paths.ancestors(path):
            if above in self._by_path:
                found += [watch for watch in self._by_path[above] if watch.reaches(path)]
        return self._in_order(found)

    def special(self, name: bytes, domid: int) -> list[tuple[bytes, Watch]]:
        """The events of a special watch: the path in the event, and the watch.

        With a depth, or on `name/domid` itself, the path names the domain.
        """
        full = b"%b/%d" % (name, domid)
        plain = [(name, watch) for watch in self.on(name) if watch.depth is None]
        deep = [watch for watch in self._by_path.get(name, ()) if watch.depth]
        return plain + [(full, watch) for watch in self._in_order(deep + self.on(full))]

    def _take_out(self, watch: Watch) -> None:
        there = self._by_path[watch.path]
        there.remove(watch)
        if not there:
            del self._by_path[watch.path]

    def _in_order(self, found: list[Watch]) -> list[Watch]:
        if len(found) < 2:
            return found
        if self._root_first:
            return sorted(found, key=lambda watch: (len(watch.path), -watch.serial))
        return sorted(found, key=lambda watch: watch.serial)
