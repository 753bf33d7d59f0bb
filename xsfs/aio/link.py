# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One life of the trio client's connection: what goes out, and who waits for what comes.

For one trio loop; not thread-safe. Not here: connecting, receiving, watches
(connection.py).
"""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING

import trio

from xsfs import errors
from xsfs.client.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.client.endpoint import Stream
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.requests import Request

# How much is read, and so parsed, between two turns of the loop, in bytes.
_CHUNK = 1 << 16


class Batch:
    """Requests sent together, and the task that waits for all their results."""

    __slots__ = ("done", "is_abandoned", "is_lost", "left", "results", "undoings")

    def __init__(self, size: int) -> None:
        self.results: list[object] = [None] * size
        self.left = size
        # The connection went before all were answered.
        self.is_lost = False
        # The task gave up waiting; what is to be done about replies that came before.
        self.is_abandoned = False
        self.undoings: list[Callable[[], None]] = []
        self.done: trio.Event | None = None

    def settle(self, index: int, result: object) -> None:
        """One result has come."""
        self.results[index] = result
        self.left -= 1
        if not self.left and self.done is not None:
            self.done.set()

    def lose(self) -> None:
        """No more results will come."""
        self.is_lost = True
        if self.done is not None:
            self.done.set()

    async def wait(self) -> list[object]:
        """All results.

        Raises:
            ConnectionError: not all came.
        """
        if self.left and not self.is_lost:
            self.done = trio.Event()
            try:
                await self.done.wait()
            except BaseException:
                # All may have come since we were cancelled.
                self.is_abandoned = True
                for undo in self.undoings:
                    undo()
                raise
        if self.is_lost:
            raise errors.ConnectionError(errno.ECONNRESET, "the connection to the store was lost")
        return self.results


class Link:
    """One life of the connection."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.fd = stream.fileno()
        self.channel: Channel[Batch] = Channel(stream)
        self.more_to_send = trio.Event()
        # Why the task that receives shall end, when another one found out.
        self.failure: Exception | None = None
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def is_readable_within(self, timeout_ms: int) -> bool:
        """Whether something comes; blocks."""
        return bool(self._poll.poll(timeout_ms))

    def send(self, window: Sequence[Request[object]], tx_id: int, sent: Batch) -> None:
        """Send what the stream takes now, and leave the rest to `send_rest`."""
        try:
            self.channel.send(window, tx_id, sent)
        except errors.ConnectionError as error:
            # The requests are in flight, and lost with all others.
            self.fail(error)
        if self.channel.has_unsent:
            self.more_to_send.set()

    def receive(self, deliver: Callable[[Event], None]) -> None:
        """Take what has come; see `Channel.receive`."""
        self.channel.receive(_CHUNK, deliver)

    async def send_rest(self) -> None:
        """Send what `send` leaves, for ever."""
        while True:
            while self.channel.has_unsent:
                await trio.lowlevel.wait_writable(self.fd)
                self.channel.flush()
            self.more_to_send = trio.Event()
            await self.more_to_send.wait()

    def fail(self, error: Exception) -> None:
        """Have the task that receives end the connection."""
        if self.failure is None:
            self.failure = error
            trio.lowlevel.notify_closing(self.fd)

    def close(self) -> None:
        """Give the descriptor back, and let nobody wait for replies any more."""
        for batch in self.channel.abandon():
            batch.lose()
        trio.lowlevel.notify_closing(self.fd)
        self.stream.close()
