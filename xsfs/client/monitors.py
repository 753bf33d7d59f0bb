# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Monitor: watches, and the events that come from them.

Thread-safe; several threads may wait on one monitor, each event goes to one of them.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from xsfs import errors
from xsfs.client.waiters import Mailbox
from xsfs.errors import StoreError
from xsfs.protocol import paths, requests
from xsfs.protocol.verbs import StoreVerbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from xsfs.client.link import Link
    from xsfs.client.router import Router
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.requests import Request


class Connected(StoreVerbs):
    """A client, as monitors know it: it has a connection that they can share."""

    router: Router
    timeout_s: float


class Monitor:
    """Watches of a client, on the client's connection.

    Events are read from the store only while a thread waits: for events, or for any reply.
    A program that watches should wait, as a store holds events back for it without limit
    (C xenstored), or stalls those who cause them (oxenstored).

    Args:
        client: whose connection is used. Closing it ends the monitor; closing the monitor
            removes its watches and leaves the client open.
    """

    def __init__(self, client: Connected) -> None:
        self.client = client
        # Held while a watch is set or removed.
        self._lock = threading.RLock()
        self._link: Link | None = None
        self.mailbox = Mailbox()
        self._watches: set[tuple[bytes, bytes]] = set()
        # How many watches have each token.
        self._tokens: Counter[bytes] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def watched(self) -> set[bytes]:
        """The paths that are watched."""
        return {path for path, _ in self._watches}

    def close(self) -> None:
        """Remove all watches."""
        with self._lock:
            # A lost connection has removed them already.
            with suppress(errors.ConnectionError):
                for path, token in list(self._watches):
                    self.unwatch(path, token)
            self._watches.clear()
            self._tokens.clear()
            self._close_poll()

    def watch(self, wpath: bytes, token: bytes, depth: int | None = None) -> None:
        """Set a watch: an event for every change of `wpath` or of a node below it.

        The first event comes at once. Changes made in a transaction count when committed;
        events may come for no change at all.

        Args:
            wpath: a path, `@introduceDomain` or `@releaseDomain`.
            token: comes back in the events; must be new for this path on this connection.
            depth: how many levels below `wpath` count; only the newest daemons know it.

        Raises:
            Exists: the path is watched with this token.
            ConnectionError: the connection that held this monitor's watches is lost.
        """
        request = requests.watch(wpath, token, depth)
        with self._lock:
            link = self._bound()
            is_new = (wpath, token) not in self._watches
            # First, as its event may come before the reply.
            if is_new:
                self._watches.add((wpath, token))
                self._tokens[token] += 1
                link.subscribe(token, self.mailbox)
            try:
                self._ask(link, request)
            except BaseException:
                if is_new:
                    self._forget(link, wpath, token)
                raise

    def unwatch(self, wpath: bytes, token: bytes) -> None:
        """Remove a watch.

        Raises:
            NotFound: this monitor has no such watch.
        """
        request = requests.unwatch(wpath, token)
        with self._lock:
            if (wpath, token) not in self._watches:
                raise StoreError.of(b"ENOENT")
            link = self._bound()
            self._ask(link, request)
            self._forget(link, wpath, token)

    def wait(self, unwatched: bool = False, timeout_s: float | None = None) -> Iterator[Event]:
        """Events, as they come, in the store's order.

        Args:
            unwatched: also those that were on their way when their watch was removed.
            timeout_s: how long to wait for each, in seconds; 0 not at all, None for ever.

        Raises:
            Timeout: none came in time.
            ConnectionError: the connection is closed or lost.
        """
        while True:
            event = self._bound().take(self.mailbox, timeout_s)
            if unwatched or self._is_watched(event):
                yield event

    def fileno(self) -> int:
        """A descriptor that is readable when `wait` may have an event; to poll, not to read.

        Valid until the monitor is closed or its connection is lost.
        """
        with self._lock:
            return self._bound().poll_fd(self.mailbox)

    def _bound(self) -> Link:
        """The connection that holds the watches; without watches, the current one."""
        with self._lock:
            if self._link is None or not (self._link.is_alive or self._watches):
                self._close_poll()
                self._link = self.client.router.link()
            return self._link

    def _ask(self, link: Link, request: Request[None]) -> None:
        (result,) = link.call([request], 0, self.client.timeout_s)
        if isinstance(result, StoreError):
            raise result

    def _forget(self, link: Link, wpath: bytes, token: bytes) -> None:
        self._watches.discard((wpath, token))
        self._tokens[token] -= 1
        if not self._tokens[token]:
            del self._tokens[token]
            link.unsubscribe(token, self.mailbox)

    def _is_watched(self, event: Event) -> bool:
        path, token = event
        while (path, token) not in self._watches:
            # The end of an absolute, or of a relative or special path.
            if path in (b"/", b""):
                return False
            path = paths.parent(path)
        return True

    def _close_poll(self) -> None:
        if self._link is not None:
            self._link.close_poll(self.mailbox)
