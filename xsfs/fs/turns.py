# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Turns: a task with much to compute lets the others run every millisecond or so."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

_TURN_S = 0.001


class Turns:
    """When one task last let the others run.

    Args:
        turn_s: for how long it may hold them up, in seconds.
    """

    def __init__(self, turn_s: float = _TURN_S) -> None:
        self._turn_s = turn_s
        self._end_s = perf_counter() + turn_s

    async def over(self) -> bool:
        """Let others run, if this turn is over; whether it was."""
        is_over = perf_counter() > self._end_s
        if is_over:
            await trio.lowlevel.checkpoint()
            self._end_s = perf_counter() + self._turn_s
        return is_over


async def collect(items: Iterable[T]) -> list[T]:
    """All items, taken in turns."""
    turns, found = Turns(), []
    for item in items:
        found.append(item)
        await turns.over()
    return found
