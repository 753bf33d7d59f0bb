# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A character device that speaks the wire protocol: a pty in raw mode before a real daemon.

In the place of /dev/xen/xenbus; it takes writes of any size, unlike the kernel's driver.
One thread carries the bytes both ways, between the device and one connection to the daemon.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import tty
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class Device:
    """A device that leads to a daemon's socket."""

    def __init__(self, daemon: Path) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(daemon))
        self._flows = threading.Event()
        self._flows.set()
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="device")
        self._thread.start()

    def stall(self) -> None:
        """Carry nothing more, until `resume`; what is under way may still pass."""
        self._flows.clear()

    def resume(self) -> None:
        """Carry on."""
        self._flows.set()

    def close(self) -> None:
        """Hang up; the device is gone for those who have it open, too."""
        os.close(self._ended)
        self._flows.set()
        self._thread.join()
        self._socket.close()
        for fd in (self._master, self._slave, self._end):
            os.close(fd)

    def _carry(self) -> None:
        ways = {self._master: self._socket.fileno(), self._socket.fileno(): self._master}
        # A daemon that goes ends the carrying; the device stays, and is silent.
        with contextlib.suppress(OSError):
            while self._end not in (ready := select.select([*ways, self._end], [], [])[0]):
                self._flows.wait()
                for source in ready:
                    data = os.read(source, 65536)
                    if not data:
                        return
                    while data:
                        select.select([], [ways[source]], [])
                        data = data[os.write(ways[source], data) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
