# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The tables, held with both real daemons, and with the embedded store."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.protocol.conversation import GUEST, hold
from tests.protocol.tables import TABLES
from tests.server.conversation import connect
from tests.xen.daemons import KINDS, Daemon
from tests.xen.rings import Hypervisor, Ring
from tests.xen.wire import Op, Wire
from xsfs.server import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.protocol.conversation import Connection
    from tests.xen.daemons import Kind
    from tests.xen.packages import Xen
    from xsfs.server import Running


class RealStore:
    """A real daemon, and a domain that it can be made to talk to."""

    def __init__(self, daemon: Daemon, hypervisor: Hypervisor) -> None:
        self.kind: Kind = daemon.kind
        self._daemon = daemon
        self._hypervisor = hypervisor

    def connect(self) -> Connection:
        return self._daemon.connect()

    def guest(self) -> Connection:
        with self._daemon.connect() as socket:
            self._hypervisor.create(GUEST)
            ring = Ring(self._daemon.rundir, GUEST, port=2)
            introduce(Wire(socket))
        return ring


class EmbeddedStore:
    """The embedded store, which gives a domain a socket."""

    kind: Kind = "xenstored"

    def __init__(self, running: Running) -> None:
        self._running = running

    def connect(self) -> Connection:
        return connect(self._running)

    def guest(self) -> Connection:
        with connect(self._running) as socket:
            introduce(Wire(socket))
        return connect(self._running.domains[GUEST])


def introduce(host: Wire) -> None:
    """Introduce the guest, and give it a home."""
    host.ask(Op.INTRODUCE, b"%d\0001\0002\0" % GUEST)
    home = b"/local/domain/%d\0" % GUEST
    host.ask(Op.MKDIR, home)
    host.ask(Op.SET_PERMS, home + b"n%d\0" % GUEST)


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, xen: Xen) -> Iterator[RealStore]:
    kind: Kind = request.param
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon(kind, Path(folder), xen) as daemon,
        Hypervisor(daemon.rundir) as hypervisor,
    ):
        yield RealStore(daemon, hypervisor)


@pytest.mark.parametrize("name", TABLES)
def test_conversation(name: str, store: RealStore) -> None:
    hold(TABLES[name], store)


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedStore]:
    with running(domains=[GUEST]) as store:
        yield EmbeddedStore(store)


# It has no hypervisor to ask which domains exist, and knows the requests of today's xenstored.
OTHERWISE = {"permissions", "domains", "requests that are none"}


@pytest.mark.parametrize("name", [name for name in TABLES if name not in OTHERWISE])
def test_conversation_with_the_embedded_store(name: str, embedded: EmbeddedStore) -> None:
    hold(TABLES[name], embedded)
