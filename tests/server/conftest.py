# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store and xenstored, side by side."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.server.conversation import (
    GUEST_DOMID,
    EmbeddedSide,
    RealSide,
    Said,
    Side,
    Step,
)
from tests.xen.daemons import Daemon, Kind
from tests.xen.rings import Hypervisor
from xsfs.server import running
from xsfs.server.rules import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.packages import Xen


class Stores(NamedTuple):
    """The two to compare."""

    real: Side
    embedded: Side

    def renew(self) -> None:
        """Start anew on both."""
        self.real.renew()
        self.embedded.renew()

    def say(self, client: int, op: int, payload: bytes, transaction: int | None = None) -> Said:
        """One request to both, which have to say the same."""
        step = Step(client, op, payload, transaction)
        said = self.embedded.carry_out(step)
        assert said == self.real.carry_out(step), step
        return said


@pytest.fixture(scope="module")
def stores(request: pytest.FixtureRequest, xen: Xen) -> Iterator[Stores]:
    """The embedded store and a real daemon; each test or example has to renew them."""
    kind: Kind = getattr(request, "param", "xenstored")
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        Daemon(kind, Path(folder), xen) as daemon,
        Hypervisor(daemon.rundir) as hypervisor,
        RealSide(daemon, hypervisor) as real,
        running(domains=[GUEST_DOMID], rules=BY_NAME[kind]) as path,
        EmbeddedSide(path) as embedded,
    ):
        # Owners of nodes have to exist.
        hypervisor.create(1)
        yield Stores(real, embedded)
