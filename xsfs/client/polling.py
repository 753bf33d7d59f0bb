# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Waiting for descriptors, also where eventlet has replaced what waits.

eventlet.monkey_patch() takes poll out of the select module, and makes its select let other
green threads run meanwhile.
"""

from __future__ import annotations

import select
from typing import Protocol

# poll(2)'s values (asm-generic/poll.h): eventlet takes the names away.
READABLE = 1
WRITABLE = 4


class Poller(Protocol):
    """What is used of `select.poll`."""

    def register(self, fd: int, events: int, /) -> None:
        """Wait for `events` of `fd` from now on."""

    def modify(self, fd: int, events: int, /) -> None:
        """Wait for other events."""

    def poll(self, timeout_ms: float | None = None, /) -> list[tuple[int, int]]:
        """Wait; the descriptors that are ready, each with its events."""


class _Select:
    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fd: int, events: int, /) -> None:
        self._events[fd] = events

    modify = register

    def poll(self, timeout_ms: float | None = None, /) -> list[tuple[int, int]]:
        writing = [fd for fd, events in self._events.items() if events & WRITABLE]
        timeout_s = None if timeout_ms is None else timeout_ms / 1000
        readable, writable, _ = select.select(list(self._events), writing, [], timeout_s)
        ready = {*readable, *writable}
        return [(fd, (fd in readable) * READABLE | (fd in writable) * WRITABLE) for fd in ready]


def poller() -> Poller:
    """A new one."""
    return select.poll() if hasattr(select, "poll") else _Select()
