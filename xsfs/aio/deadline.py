# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How long a task waits for the store: with each call, or with many calls together.

A cancel scope costs as much as a short request does, so none is opened before there is
something to wait for.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from xsfs.aio.runtime import Runtime
    from xsfs.errors import Timeout


class Awaited(Protocol):
    """Whose answers are waited for."""

    timeout_s: float

    @property
    def runtime(self) -> Runtime:
        """Whose clock counts."""

    @property
    def progress(self) -> tuple[int, int]:
        """What moves with each answer."""

    def overdue(self, before: tuple[int, int]) -> Timeout:
        """What was begun when `progress` stood there has taken too long; what to raise."""


class _Deadline(NamedTuple):
    # By the runtime's clock.
    at_s: float
    # The progress when it was set.
    before: tuple[int, int]


# Stands for one that starts with the next wait: most requests come to none.
_NOT_YET = _Deadline(math.inf, (0, 0))

# None where each wait counts for itself.
_of_task: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


def begin() -> None:
    """From its next wait on, all waiting of this task counts together."""
    _of_task.set(_NOT_YET)


class WithinDeadline:
    """A block that is given up when the answers take too long."""

    __slots__ = ("_awaited", "_before", "_scope")

    def __init__(self, awaited: Awaited) -> None:
        deadline = _of_task.get()
        if deadline is None or deadline is _NOT_YET:
            at_s = awaited.runtime.now() + awaited.timeout_s
            fresh = _Deadline(at_s, awaited.progress)
            if deadline is _NOT_YET:
                _of_task.set(fresh)
            deadline = fresh
        self._awaited = awaited
        self._before = deadline.before
        self._scope = awaited.runtime.deadline(deadline.at_s)

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        swallowed = await self._scope.__aexit__(kind, error, traceback)
        if self._scope.has_passed:
            raise self._awaited.overdue(self._before)
        return swallowed
