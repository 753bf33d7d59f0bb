# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Waits for the mount table to change, by trio. Knows no FUSE."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


async def gone(is_mounted: Callable[[], bool]) -> None:
    """Wait until a mount is gone from this namespace; for ever where there is no /proc."""
    try:
        table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        await trio.sleep_forever()
    # proc(5): a change is reported by POLLERR and POLLPRI only, but trio waits for POLLIN, which
    # an epoll instance has when it has something to report.
    epoll = select.epoll()
    try:
        epoll.register(table, select.EPOLLERR | select.EPOLLPRI)
        while is_mounted():
            await trio.lowlevel.wait_readable(epoll)
            epoll.poll(0)
    finally:
        epoll.close()
        os.close(table)
