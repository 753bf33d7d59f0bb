# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The tables, run on both real daemons and on the embedded store."""

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
from xsfs.server.rules import BY_NAME

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

    def __init__(self, running: Running, kind: Kind) -> None:
        self._running = running
        self.kind = kind

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
def embedded(request: pytest.FixtureRequest) -> Iterator[EmbeddedStore]:
    kind: Kind = request.param
    with running(domains=[GUEST], rules=BY_NAME[kind]) as store:
        yield EmbeddedStore(store, kind)


# It has no hypervisor to ask which domains exist, and knows the requests of today's xenstored.
# What it leaves out of oxenstored's ways is listed in README.
OTHERWISE = {
    "xenstored": {"permissions", "domains", "requests that are none"},
    "oxenstored": {
        "permissions",
        "domains",
        "special nodes",
        "how transactions are misused",
        "control",
        "what a guest may not",
        "a guest's quotas",
        "the transaction in a reply to a watch",
        "an empty payload",
    },
}


@pytest.mark.parametrize(
    ("embedded", "name"),
    [(kind, name) for kind in KINDS for name in TABLES if name not in OTHERWISE[kind]],
    indirect=["embedded"],
)
def test_conversation_with_the_embedded_store(name: str, embedded: EmbeddedStore) -> None:
    hold(TABLES[name], embedded)
