# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The tables, held with both real daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocol.conversation import GUEST, hold
from tests.protocol.tables import TABLES
from tests.xen.rings import Hypervisor, Ring
from tests.xen.wire import Op, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.protocol.conversation import Connection
    from tests.xen.daemons import Daemon, Kind


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
            host = Wire(socket)
            self._hypervisor.create(GUEST)
            ring = Ring(self._daemon.rundir, GUEST, port=2)
            host.ask(Op.INTRODUCE, b"%d\0001\0002\0" % GUEST)
            home = b"/local/domain/%d\0" % GUEST
            host.ask(Op.MKDIR, home)
            host.ask(Op.SET_PERMS, home + b"n%d\0" % GUEST)
        return ring


@pytest.fixture(scope="module")
def store(shared_daemon: Daemon) -> Iterator[RealStore]:
    with Hypervisor(shared_daemon.rundir) as hypervisor:
        yield RealStore(shared_daemon, hypervisor)


@pytest.mark.parametrize("name", TABLES)
def test_conversation(name: str, store: RealStore) -> None:
    hold(TABLES[name], store)
