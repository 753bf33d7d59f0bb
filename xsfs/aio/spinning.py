# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Waiting by polling in a loop for what comes within microseconds. Knows no event loop; blocks."""

from __future__ import annotations

import select
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# How long to spin, in seconds, and for how long not to spin again if nothing came twice in a row:
# then the peer is slow, or needs this processor; once may be the end of a quick conversation.
# Yielding (sched_yield(2)) instead would cost a whole time slice when other processes are ready.
_SPIN_S = 5e-5
_DO_NOT_SPIN_S = 1e-2


class SpinningPoll:
    """Waits for something to read, without going to sleep if the peer is quick.

    Going to sleep and being woken takes longer than the store's reply, or than the next request
    of a program that has just got the answer to its last.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._was_vain = False
        self._spin_again_s = 0.0

    def register(self, fd: int) -> None:
        """Set the descriptor to poll."""
        self._poll.register(fd, select.POLLIN)

    def is_readable(self) -> bool:
        """Whether there is something to read now."""
        return bool(self._poll.poll(0))

    def is_readable_soon(self, has_other_work: Callable[[], bool] = lambda: False) -> bool:
        """Whether there is something to read now or within the time of a spin.

        Args:
            has_other_work: whether the caller has something else to do, and is not to spin.
        """
        start_s = now_s = monotonic()
        while not self._poll.poll(0):
            if now_s < self._spin_again_s or has_other_work():
                return False
            now_s = monotonic()
            if now_s > start_s + _SPIN_S:
                if self._was_vain:
                    self._spin_again_s = now_s + _DO_NOT_SPIN_S
                self._was_vain = True
                return False
        self._was_vain = False
        return True

    def is_readable_within(self, timeout_ms: int) -> bool:
        """Whether there is something to read within that time."""
        return self.is_readable_soon() or bool(self._poll.poll(timeout_ms))
