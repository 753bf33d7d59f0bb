# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a link reads for: threads that wait, and mailboxes that keep events.

Plain state, used under the link's lock, but for `Waiter.sleep`.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs.protocol.conversation import Event


class Waiter:
    """A thread that waits for a number of results or events, or for its turn to lead."""

    __slots__ = ("_alarm", "_is_rung", "left", "results")

    def __init__(self, size: int) -> None:
        self.results: list[object] = [None] * size
        # How many are still missing.
        self.left = size
        self._is_rung = False
        # Most waiters lead at once and never sleep.
        self._alarm: threading.Lock | None = None

    def settle(self, index: int, result: object) -> None:
        """Count one that has come."""
        self.results[index] = result
        self.left -= 1
        if not self.left:
            self.wake()

    def set_alarm(self) -> None:
        """Get ready to sleep."""
        if self._alarm is None:
            self._alarm = threading.Lock()
            self._alarm.acquire()

    def wake(self) -> None:
        """Let `sleep` return."""
        if self._alarm is not None and not self._is_rung:
            self._is_rung = True
            self._alarm.release()

    def sleep(self, timeout_s: float | None) -> None:
        """Sleep until woken, at most `timeout_s` seconds; may return early."""
        assert self._alarm is not None
        if self._alarm.acquire(timeout=-1 if timeout_s is None else timeout_s):
            self._is_rung = False


class Mailbox:
    """Where the events of some watches arrive, in the order of the stream."""

    __slots__ = ("_poll", "events", "signal_fd", "waiters")

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        # Each waits for one event.
        self.waiters: set[Waiter] = set()
        # An eventfd, readable while there are events; -1 before `open_poll`.
        self.signal_fd = -1
        self._poll: select.epoll | None = None

    def __del__(self) -> None:
        self.close_poll()

    def open_poll(self, stream_fd: int) -> int:
        """A descriptor that is readable while there are events here, or bytes in the stream."""
        if self._poll is None:
            flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
            self.signal_fd = os.eventfd(bool(self.events), flags)
            self._poll = select.epoll()
            self._poll.register(stream_fd, select.EPOLLIN)
            self._poll.register(self.signal_fd, select.EPOLLIN)
        return self._poll.fileno()

    def close_poll(self) -> None:
        """Close the descriptor that `open_poll` gave, if it did."""
        if self._poll is not None:
            self._poll.close()
            os.close(self.signal_fd)
            self._poll, self.signal_fd = None, -1
