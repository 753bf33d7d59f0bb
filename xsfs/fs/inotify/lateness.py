# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Up to which request the watch events of all changes have come. Used from the trio thread alone.

The daemons send the event of a change before the reply to any later request, and a socket keeps
that order. Over /dev/xen/xenbus Linux does not (see `Stream.delays_events`): an event is late by as
long as a driver's callback takes. There is no bound to that; `LATE_S` is what is allowed for.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from xsfs.aio.pipeline import Pipeline

# How late an event may be over XenBus, in seconds.
LATE_S = 1.0

# How exactly that is measured, in seconds; bounds how much is remembered.
_STEP_S = 0.02


class Lateness:
    """Says to which requests' changes an event cannot belong any more."""

    def __init__(self, client: Pipeline) -> None:
        self._client = client
        # When the request of that ordinal was the last that was answered.
        self._answered: deque[tuple[float, int]] = deque()
        self._passed = 0

    def reconnected(self) -> None:
        """The ordinals of requests begin again."""
        self._answered.clear()
        self._passed = 0

    async def run(self) -> None:
        """The task: let changes pass when no event comes, over XenBus alone."""
        while self._client.delays_events:
            await trio.sleep(LATE_S)
            self.pass_answered()

    def pass_answered(self) -> int:
        """The ordinal of the last request before whose reply's events all have come by now."""
        answered = self._client.answered
        if not self._client.delays_events:
            return answered
        now_s = trio.current_time()
        if not self._answered or now_s - self._answered[-1][0] >= _STEP_S:
            self._answered.append((now_s, answered))
        while self._answered and now_s - self._answered[0][0] >= LATE_S:
            self._passed = self._answered.popleft()[1]
        return self._passed
