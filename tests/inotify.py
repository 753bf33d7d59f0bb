# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""inotify(7) through ctypes: what is heard, word by word, and never past a deadline.

Not a program of its own: who watches is the calling process. One thread at a time.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.deadline import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

# sys/inotify.h
_NAMES = {
    0x1: "ACCESS",
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x10: "CLOSE_NOWRITE",
    0x20: "OPEN",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x400: "DELETE_SELF",
    0x800: "MOVE_SELF",
    0x2000: "UNMOUNT",
    0x4000: "Q_OVERFLOW",
    0x8000: "IGNORED",
    0x40000000: "ISDIR",
}
MODIFY = 0x2
CREATE = 0x100
ALL_EVENTS = 0xFFF

_HEADER = struct.Struct("iIII")


class Heard(NamedTuple):
    """One event: what was watched, what happened to it, and to which of its entries."""

    watched: str
    what: str
    name: str = ""


class Inotify:
    """An inotify instance."""

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._labels: dict[int, str] = {}
        self._unread: list[Heard] = []

    def watch(self, path: Path, label: str, mask: int = ALL_EVENTS) -> None:
        """Watch a file or directory; its events carry `label`."""
        descriptor = _libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
        self._labels[descriptor] = label

    def take(self, timeout_s: float = DEADLINE_S) -> Heard:
        """The next event.

        Raises:
            TimeoutError: none came.
        """
        if not self._unread:
            if not select.select([self._fd], [], [], timeout_s)[0]:
                raise TimeoutError("nothing is heard")
            self._read()
        return self._unread.pop(0)

    def until(self, is_last: Callable[[Heard], bool], timeout_s: float = DEADLINE_S) -> list[Heard]:
        """All events up to the first that `is_last` takes, without that.

        Raises:
            TimeoutError: it did not come; the text shows what did.
        """
        deadline_s = time.monotonic() + timeout_s
        seen = 0
        while True:
            for index in range(seen, len(self._unread)):
                if is_last(self._unread[index]):
                    heard, self._unread = self._unread[:index], self._unread[index + 1 :]
                    return heard
            seen = len(self._unread)
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self._fd], [], [], left_s)[0]:
                raise TimeoutError(f"not heard in time; but: {self._unread[-40:]}")
            self._read()

    def _read(self) -> None:
        data = os.read(self._fd, 1 << 16)
        offset = 0
        while offset < len(data):
            descriptor, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = data[offset : offset + length].rstrip(b"\0").decode()
            offset += length
            what = ",".join(word for bit, word in _NAMES.items() if mask & bit)
            self._unread.append(Heard(self._labels.get(descriptor, ""), what, name))

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
