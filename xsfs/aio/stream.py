# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One life of the asynchronous client's connection: a channel, polled on the spot or awaited.

For one event loop; not thread-safe. Not here: connecting, watches (reconnecting.py).
"""

from __future__ import annotations

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

# How much is read at a time, in bytes: some 300 events, which take a few ms to be taken.
_CHUNK = 1 << 14


class AsyncStream:
    """Requests out, results and events in.

    Args:
        stream: just opened; owned from now on.
        runtime: of the loop that uses it.
    """

    def __init__(self, stream: Stream, runtime: Runtime) -> None:
        self.channel: Channel[Batch] = Channel(stream)
        # Why it shall end.
        self.failure: errors.ConnectionError | None = None
        self._stream = stream
        self._fd = stream.fileno()
        self._runtime = runtime
        # Sends what the stream did not take at once.
        self._sender: Task | None = None
        self.input = SpinningPoll()
        self.input.register(self._fd)

    async def readable(self) -> None:
        """Wait for something to receive, or for `fail`."""
        await self._runtime.readable(self._fd)

    def send(self, requests: Sequence[Request[object]], tx_id: int, batch: Batch) -> None:
        """Send requests together; what the stream does not take now follows."""
        try:
            self.channel.send(requests, tx_id, batch)
        except errors.ConnectionError as error:
            # They count as sent, and are lost with all others.
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

    def fail(self, error: errors.ConnectionError) -> None:
        """Have the task that receives end the connection."""
        if self.failure is None:
            self.failure = error
            self._runtime.close(self._fd)

    async def close(self) -> None:
        """Give the descriptor back, and let nobody wait for results any more."""
        for batch in self.channel.abandon():
            batch.lose()
        if self._sender is not None:
            await self._sender.stop()
        self._runtime.close(self._fd)
        self._stream.close()
