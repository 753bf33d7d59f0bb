# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One connection of the asynchronous client, until it is lost: a channel, polled or awaited.

For one event loop; not thread-safe. Not here: connecting, watches (reconnecting.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xsfs import errors
from xsfs.aio.spinning import SpinningPoll
from xsfs.client.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xsfs.aio.batch import Batch
    from xsfs.aio.runtime import Runtime, Task
    from xsfs.client.endpoint import Stream
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.requests import Request

# How much is read at a time, in bytes: some 300 events, which take a few ms to be handled.
_CHUNK = 1 << 14

# For how long the replies to a call are polled for, and for how many calls they are not after a
# call that took longer.
_POLL_MS = 1
_CALLS_NOT_POLLED = 16


class AsyncStream:
    """Requests out, results and events in.

    Args:
        stream: just opened; owned from now on.
        runtime: of the loop that uses it.
    """

    def __init__(self, stream: Stream, runtime: Runtime) -> None:
        self.channel: Channel[Batch] = Channel(stream)
        # Why the connection is to end.
        self.failure: errors.ConnectionError | None = None
        self._stream = stream
        self._fd = stream.fileno()
        self._runtime = runtime
        # Sends what the stream did not take at once.
        self._sender: Task | None = None
        # For how many calls not to poll, as the store is slow.
        self._not_polled = 0
        self.input = SpinningPoll()
        self.input.register(self._fd)

    async def readable(self) -> None:
        """Wait for something to receive, or for `fail`."""
        await self._runtime.readable(self._fd)

    def send(self, requests: Sequence[Request[object]], tx_id: int, batch: Batch) -> None:
        """Send requests together; what the stream does not take now is sent later."""
        try:
            self.channel.send(requests, tx_id, batch)
        except errors.ConnectionError as error:
            # These requests count as sent, and are lost with all others.
            self.fail(error)
        if self.channel.has_unsent and self._sender is None:
            self._sender = self._runtime.spawn(self._send_rest)

    async def _send_rest(self) -> None:
        try:
            while self.channel.has_unsent and self.failure is None:
                await self._runtime.writable(self._fd)
                self.channel.flush()
        except errors.ConnectionError as error:
            self.fail(error)
        finally:
            self._sender = None

    def receive(self, deliver: Callable[[Event], None]) -> None:
        """Take what has come; see `Channel.receive`."""
        self.channel.receive(_CHUNK, deliver)

    def poll(self, batch: Batch, deliver: Callable[[Event], None]) -> None:
        """Poll a moment for the results of a few requests, without a pass of the loop.

        The store answers in less time than a pass takes. If it does not, the next calls do
        without.

        Raises:
            ConnectionError: the connection is lost, or the peer broke the protocol.
        """
        if self._not_polled:
            self._not_polled -= 1
            return
        # A deadline, as events may keep coming before the replies; no other task runs meanwhile.
        deadline_s = time.monotonic() + _POLL_MS / 1e3
        while batch.left:
            if time.monotonic() > deadline_s or not self.input.is_readable_within(_POLL_MS):
                self._not_polled = _CALLS_NOT_POLLED
                return
            self.receive(deliver)

    def fail(self, error: errors.ConnectionError) -> None:
        """Make the receiving task end the connection."""
        if self.failure is None:
            self.failure = error
            self._runtime.close(self._fd)

    async def close(self) -> None:
        """Close the descriptor; all that wait for results get an error."""
        for batch in self.channel.abandon():
            batch.lose()
        if self._sender is not None:
            await self._sender.stop()
        self._runtime.close(self._fd)
        self._stream.close()
