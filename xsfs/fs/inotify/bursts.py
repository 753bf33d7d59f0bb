# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Long bursts of watch events, in which some may have been held back.

Used from the trio thread alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline

# oxenstored holds events back when more than 1024 are queued; then everything must be compared
# again. Replies are in the same queue: if a second request is sent when the first was answered, at
# most one of the two replies is queued at a time. So if more than 1024 events are queued, more than
# 512 of them are in a row, before or after such a reply.
LONG = 500
# A burst ends with a pause of this length, in seconds.
_PAUSE_S = 0.05


class Bursts:
    """Counts the events that come in a row on a client's connection."""

    def __init__(self, client: Pipeline) -> None:
        self._client = client
        # How many came in a row; the ordinal of the last request sent when the burst began.
        self._count = self._sent = 0
        self._last_s = -1.0
        self._long = trio.Event()

    def event(self) -> None:
        """Count an event."""
        client, now_s = self._client, trio.current_time()
        if client.answered > self._sent or now_s - self._last_s >= _PAUSE_S:
            self._count, self._sent = 0, client.sent
        self._count += 1
        self._last_s = now_s
        if self._count == LONG:
            self._long.set()

    def reconnected(self) -> None:
        """The ordinals of requests begin again."""
        self._sent = 0

    async def over(self) -> None:
        """Wait for the end of the next long burst."""
        await self._long.wait()
        # The end of a burst is the absence of events, for which there is nothing to wait but time.
        while (quiet_at_s := self._last_s + _PAUSE_S) > trio.current_time():  # noqa: ASYNC110
            await trio.sleep_until(quiet_at_s)
        self._long = trio.Event()
