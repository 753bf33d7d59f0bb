# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Requests that the asynchronous client sent together, and the task that waits for them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from xsfs import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.aio.runtime import Event, Runtime


class Batch:
    """The results of requests that were sent together, as they come.

    Args:
        size: how many requests there are.
    """

    __slots__ = ("done", "is_abandoned", "is_lost", "left", "results", "undoings")

    def __init__(self, size: int) -> None:
        self.results: list[object] = [None] * size
        self.left = size
        # The connection was lost before all were answered.
        self.is_lost = False
        # The task was cancelled; then these undo what the requests answered so far have done.
        self.is_abandoned = False
        self.undoings: list[Callable[[], None]] = []
        self.done: Event | None = None

    def settle(self, index: int, result: object) -> None:
        """Take one result."""
        self.results[index] = result
        self.left -= 1
        if not self.left and self.done is not None:
            self.done.set()

    def undo_if_abandoned(self, undo: Callable[[], None]) -> None:
        """Undo what a request has done if nobody waits for it, now or at the end."""
        if self.is_abandoned:
            undo()
        else:
            self.undoings.append(undo)

    def lose(self) -> None:
        """The connection is lost: no more results will come."""
        self.is_lost = True
        if self.done is not None:
            self.done.set()

    async def wait(self, runtime: Runtime) -> list[object]:
        """All results.

        Raises:
            ConnectionError: not all came.
        """
        if self.left and not self.is_lost:
            self.done = runtime.event()
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
