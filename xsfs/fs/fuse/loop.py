# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A loop for pyfuse3 that takes a request which is there, or comes at once, without trio.

pyfuse3 takes each request in two steps (`_wait_fuse_readable` in its internal.pxi): it acquires
a lock, so that one worker alone waits, and waits for the device to be readable. In trio each
step is a pass of the scheduler, and one of them an epoll_wait(2): together as much as a short
request costs. Its workers find trio through one module global, which pyfuse3.asyncio replaces
to run on asyncio; here it is replaced by trio's functions, but for the lock and the wait. A program
that got an answer mostly asks again within microseconds: the wait spins for that (aio/spinning.py),
unless there is something else to do.

The device is made non-blocking. The kernel withdraws a request when its caller is killed; if it was
what made the device readable, a blocking read(2) would stop the whole process until the next
request. pyfuse3 does not expect the EAGAIN that comes instead, and lets it end the worker, which is
restarted here. This costs only libfuse's buffer of 1 MB, of which no page was touched.

Programs see no difference but in time. Between two passes of trio's scheduler at most `_STREAK`
requests are begun, and none after `_STREAK_S`: events, the store's replies, timers and
cancellation wait no longer than that. Used from the trio thread alone.

docs/pyfuse3.md says what pyfuse3 would have to offer to make this unnecessary.
"""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Self

import pyfuse3
import trio

from xsfs.aio.spinning import SpinningPoll

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

# How many requests are taken, and for how long in seconds, before all others have their turn.
_STREAK = 16
_STREAK_S = 0.0005

# The releases of pyfuse3 whose loop is as described above.
_KNOWN = re.compile(r"3\.5\.")


def is_as_expected() -> bool:
    """Whether this pyfuse3 waits for requests in the way that `Loop` relies on."""
    return bool(_KNOWN.match(pyfuse3.__version__)) and vars(pyfuse3).get("trio") is trio


@contextmanager
def installed(has_other_work: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Make pyfuse3 use this loop, if it is a release for which that works; else its own.

    To be entered before `pyfuse3.init`, and left after `pyfuse3.main`.

    Args:
        has_other_work: whether the trio thread has something else to do, and is not to spin.
    """
    if not is_as_expected():
        yield
        return
    pyfuse3.trio = Loop(has_other_work)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pyfuse3.trio = trio  # type: ignore[attr-defined]


class _Workers:
    """A nursery that restarts a task when there was nothing to be read."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(
        self, worker: Callable[..., Awaitable[None]], *args: object, name: str | None = None
    ) -> None:
        self._nursery.start_soon(partial(_keep, worker), *args, name=name)


async def _keep(worker: Callable[..., Awaitable[None]], *args: object) -> None:
    while True:
        try:
            return await worker(*args)
        except BlockingIOError:
            pass


class Loop:
    """Replaces the modules trio and trio.lowlevel as far as pyfuse3 uses them.

    One worker waits for the device in trio. Another that finds nothing to read waits until that
    one has a request, and then takes its place at the device while it is busy.
    """

    ClosedResourceError = trio.ClosedResourceError
    current_task = staticmethod(trio.lowlevel.current_task)
    current_trio_token = staticmethod(trio.lowlevel.current_trio_token)

    def __init__(self, has_other_work: Callable[[], bool]) -> None:
        self._device = -1
        self._has_other_work = has_other_work
        self._poll = SpinningPoll()
        self._is_awaited = False
        self._is_closing = False
        self._idle = trio.lowlevel.ParkingLot()
        self._left = 0
        self._until_s = 0.0

    @property
    def lowlevel(self) -> Self:
        return self

    def Lock(self) -> Self:
        """Nothing is locked: between `wait_readable` and its reading pyfuse3 does not wait."""
        return self

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc: object) -> None:
        pass

    @staticmethod
    @asynccontextmanager
    async def open_nursery() -> AsyncIterator[_Workers]:
        async with trio.open_nursery() as nursery:
            yield _Workers(nursery)

    async def wait_readable(self, device: int) -> None:
        """Return when there is something to read, which the caller reads at once.

        Raises:
            trio.ClosedResourceError: the loop is to end.
        """
        if device != self._device:
            self._device = device
            self._poll.register(device)
            os.set_blocking(device, False)
        if (
            self._left
            and monotonic() < self._until_s
            and self._poll.is_readable_soon(self._has_other_work)
        ):
            self._left -= 1
            return
        try:
            while True:
                if self._is_closing:
                    raise trio.ClosedResourceError
                if self._is_awaited:
                    await self._idle.park()
                else:
                    await self._wait(device)
                # Another may have read it meanwhile.
                if self._poll.is_readable():
                    return
        finally:
            if not self._is_awaited:
                self._idle.unpark()

    async def _wait(self, device: int) -> None:
        self._is_awaited = True
        try:
            await trio.lowlevel.wait_readable(device)
        finally:
            self._is_awaited = False
        self._left = _STREAK
        self._until_s = monotonic() + _STREAK_S

    def notify_closing(self, device: int) -> None:
        """Wake all that wait."""
        self._is_closing = True
        trio.lowlevel.notify_closing(device)
