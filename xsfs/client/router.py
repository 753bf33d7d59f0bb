# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The connection that a client, its copies and its monitors share; `connect` restores it.

Thread-safe. Not here: reading and writing (link.py). It never reconnects by itself: watches
and transactions are lost with a connection, so its user must know.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Protocol

from xsfs import errors
from xsfs.client.link import Link
from xsfs.protocol.verbs import TIMEOUT_S

if TYPE_CHECKING:
    from xsfs.client.endpoint import Endpoint
    from xsfs.client.waiters import Mailbox


class Subscriber(Protocol):
    """A monitor, as the router knows it: it receives events."""

    @property
    def mailbox(self) -> Mailbox:
        """Where they arrive."""


class Router:
    """Shares one connection among clients, monitors and threads.

    Args:
        connection: the endpoint of the store; not opened before `connect`.
    """

    def __init__(self, connection: Endpoint) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._link: Link | None = None

    def __repr__(self) -> str:
        return f"Router({self.connection!r})"

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, neither closed nor known to be lost."""
        return self._link is not None and self._link.is_alive

    def connect(self, timeout_s: float) -> None:
        """Open the connection, unless it is open.

        Raises:
            ConnectionError: the store cannot be reached.
        """
        with self._lock:
            if self.is_connected:
                return
            stream = self.connection.open(timeout_s)
            try:
                self._link = Link(stream)
            except OSError:
                stream.close()
                raise

    def close(self) -> None:
        """Close the connection, if there is one; all who wait get an error."""
        with self._lock:
            if self._link is not None:
                self._link.close()
                self._link = None

    def link(self) -> Link:
        """The open connection.

        Raises:
            ConnectionError: there is none.
        """
        link = self._link
        if link is None:
            raise errors.ConnectionError(errno.ENOTCONN, "not connected")
        return link

    # -- by pyxs's names ----------------------------------------------------------------------

    def start(self) -> None:
        """`connect`, within the time that a client takes."""
        self.connect(TIMEOUT_S)

    def terminate(self) -> None:
        """`close`."""
        self.close()

    def subscribe(self, token: bytes, monitor: Subscriber) -> None:
        """Deliver the events of all watches with that token to a monitor, also if others set them.

        `Monitor.wait` returns those of the monitor's own watches, or with `unwatched` all.
        """
        self.link().subscribe(token, monitor.mailbox)

    def unsubscribe(self, token: bytes, monitor: Subscriber) -> None:
        """Undo `subscribe`."""
        self.link().unsubscribe(token, monitor.mailbox)
