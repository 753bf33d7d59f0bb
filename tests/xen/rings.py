# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Domains for a daemon under the shim: their ring pages, event channels, life and death.

Not a guest's XenStore driver: a Ring carries raw bytes, as a socket does.
A Ring or Hypervisor belongs to one thread at a time.  Stores to the shared page are ordered
only as the processor orders them, which is enough on x86.

Source: xs_wire.h (struct xenstore_domain_interface), shim.c (the files and sockets).
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

from tests.deadline import DEADLINE_S
from tests.xen.daemons import DOMAINS_BYTES, RING_BYTES, DomainState

if TYPE_CHECKING:
    from pathlib import Path

RING_SIZE = 1024  # XENSTORE_RING_SIZE, xs_wire.h
REQUESTS, REPLIES = 0, RING_SIZE  # byte offsets in the page
REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD = range(512, 516)  # in words of 4 bytes
INDEX_MASK = 0xFFFFFFFF

DOMID_SELF = 0x7FF0  # xen.h; stands for the hypervisor in shim.c's ports
VIRQ_DOM_EXC = 3  # xen.h


class _Kicker:
    """Makes ports of the daemon's pending."""

    def __init__(self, rundir: Path) -> None:
        self._daemon = str(rundir / "evtchn")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def kick(self, domid: int, port: int, timeout_s: float) -> None:
        self.socket.settimeout(timeout_s)
        self.socket.sendto(struct.pack("=I", domid << 16 | port), self._daemon)


class Hypervisor:
    """The list of domains that the daemon sees, and the virtual interrupt about it.

    Args:
        rundir: a Daemon's folder; the daemon has been started at least once.
    """

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        self._kicker = _Kicker(rundir)
        with (rundir / "domains").open("r+b") as file:
            self._states = mmap.mmap(file.fileno(), DOMAINS_BYTES)

    def create(self, domid: int) -> None:
        """A running domain with an empty ring, for INTRODUCE to take up."""
        (self._rundir / f"ring-{domid}").write_bytes(bytes(RING_BYTES))
        self._states[domid] = DomainState.RUNNING

    def change(self, domid: int, state: DomainState) -> None:
        """Sets a domain's state and raises VIRQ_DOM_EXC, as Xen does at a shutdown or death."""
        self._states[domid] = state
        self._kicker.kick(DOMID_SELF, VIRQ_DOM_EXC, timeout_s=5.0)

    def close(self) -> None:
        """Lets go of the files; the domains stay as they are."""
        self._kicker.socket.close()
        self._states.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Ring:
    """A domain's end of its ring: a stream of bytes to the daemon and back.

    To be made before INTRODUCE, used after its reply (INTRODUCE empties the ring).

    Args:
        rundir: a Daemon's folder.
        domid: a domain that Hypervisor.create made, or 0.
        port: the domain's event channel port that INTRODUCE names, 1..65535.
        timeout_s: how long sendall and recv wait before they raise TimeoutError.
    """

    def __init__(
        self, rundir: Path, domid: int, port: int = 1, timeout_s: float = DEADLINE_S
    ) -> None:
        self.domid = domid
        self.port = port
        self.timeout_s = timeout_s
        self._kicker = _Kicker(rundir)
        self._address = rundir / f"evtchn-{domid}"
        self._kicker.socket.bind(str(self._address))
        with (rundir / (f"ring-{domid}" if domid else "xsd_kva")).open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), RING_BYTES)
        self._words = memoryview(self._page).cast("I")

    def fileno(self) -> int:
        """Readable when the daemon has made room or put bytes; `drain`, then look for both."""
        return self._kicker.socket.fileno()

    def drain(self) -> None:
        """Takes the notifications that wait."""
        self._kicker.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._kicker.socket.recv(4)

    def put(self, data: bytes) -> int:
        """Puts on the ring what it has room for; how many bytes those are."""
        return self._put(data, time.monotonic() + self.timeout_s)

    def take(self, size: int) -> bytes:
        """What the daemon has put there, at most size bytes; b"" for nothing."""
        return self._take(size, time.monotonic() + self.timeout_s)

    def sendall(self, data: bytes) -> None:
        """Puts bytes on the ring, as the daemon makes room for them.

        Raises:
            TimeoutError: no room in time; part of the data has been sent.
        """
        deadline_s = time.monotonic() + self.timeout_s
        while data:
            sent = self._put(data, deadline_s)
            if not sent:
                self._await_notification(deadline_s)
            data = data[sent:]

    def recv(self, size: int) -> bytes:
        """The next bytes of the daemon's, at least one and at most size.

        Raises:
            TimeoutError: none in time.
        """
        deadline_s = time.monotonic() + self.timeout_s
        while not (data := self._take(size, deadline_s)):
            self._await_notification(deadline_s)
        return data

    def _put(self, data: bytes, deadline_s: float) -> int:
        prod = self._words[REQ_PROD]
        room = RING_SIZE - self._used(prod, self._words[REQ_CONS])
        start = prod % RING_SIZE
        chunk = data[: min(room, RING_SIZE - start)]
        if chunk:
            self._page[REQUESTS + start : REQUESTS + start + len(chunk)] = chunk
            self._words[REQ_PROD] = (prod + len(chunk)) & INDEX_MASK
            self._kick(deadline_s)
        return len(chunk)

    def _take(self, size: int, deadline_s: float) -> bytes:
        cons = self._words[RSP_CONS]
        used = self._used(self._words[RSP_PROD], cons)
        start = cons % RING_SIZE
        length = min(size, used, RING_SIZE - start)
        data = self._page[REPLIES + start : REPLIES + start + length]
        if data:
            self._words[RSP_CONS] = (cons + length) & INDEX_MASK
            self._kick(deadline_s)
        return data

    def close(self) -> None:
        """Lets go of the page; the daemon is told nothing."""
        self._words.release()
        self._page.close()
        self._kicker.socket.close()
        self._address.unlink()

    @staticmethod
    def _used(prod: int, cons: int) -> int:
        used = (prod - cons) & INDEX_MASK
        assert used <= RING_SIZE, f"the ring's indexes are {prod} and {cons}"
        return used

    def _kick(self, deadline_s: float) -> None:
        # A daemon that died takes nothing: what waits for it finds out at its deadline.
        with contextlib.suppress(ConnectionRefusedError):
            self._kicker.kick(self.domid, self.port, max(0.001, deadline_s - time.monotonic()))

    def _await_notification(self, deadline_s: float) -> None:
        """Notifications wait in the socket, so none between a look and this call is missed."""
        self._kicker.socket.settimeout(max(0.001, deadline_s - time.monotonic()))
        self._kicker.socket.recv(4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
