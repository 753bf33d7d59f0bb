# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A guest's way to a real daemon: a Unix socket before the ring of an unprivileged domain.

In the place of a guest's kernel, for one client: what it sends goes on the ring as it is, so
the daemon takes it for the guest. One thread carries the bytes both ways, and alone uses the
ring.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Self

from tests.xen.rings import Hypervisor, Ring
from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon

_PORT = 9
_CHUNK = 65536


class Guest:
    """A domain that runs, introduced to the daemon, with a home that it owns.

    Args:
        daemon: has been started.
        path: where to listen for the one client.
        domid: of no other domain.
    """

    def __init__(self, daemon: Daemon, path: Path, domid: int = 5) -> None:
        self.socket = path
        self.home = b"/local/domain/%d" % domid
        with Hypervisor(daemon.rundir) as hypervisor:
            hypervisor.create(domid)
        self._ring = Ring(daemon.rundir, domid, port=_PORT)
        with daemon.connect() as client:
            host = Wire(client)
            host.ask(Op.INTRODUCE, b"%d\0001\0%d\0" % (domid, _PORT))
            host.ask(Op.MKDIR, self.home + b"\0")
            host.ask(Op.SET_PERMS, self.home + b"\0n%d\0" % domid)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="guest")
        self._thread.start()

    def close(self) -> None:
        """End the client's connection; the domain stays as it is."""
        os.close(self._ended)
        self._thread.join()
        self._listener.close()
        self._ring.close()
        os.close(self._end)

    def _serve(self) -> None:
        if self._end in select.select([self._listener.fileno(), self._end], [], [])[0]:
            return
        client, _ = self._listener.accept()
        with client, contextlib.suppress(ConnectionError):
            self._carry(client)

    def _carry(self, client: socket.socket) -> None:
        ring, requests = self._ring.fileno(), b""
        while True:
            # What does not fit waits for the daemon, while replies go on: so neither is stuck.
            sources = [ring, self._end] if requests else [ring, self._end, client.fileno()]
            ready = select.select(sources, [], [])[0]
            if self._end in ready:
                return
            if client.fileno() in ready:
                requests = client.recv(_CHUNK)
                if not requests:
                    return
            if ring in ready:
                self._ring.drain()
            while sent := self._ring.put(requests):
                requests = requests[sent:]
            while replies := self._ring.take(_CHUNK):
                client.sendall(replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
