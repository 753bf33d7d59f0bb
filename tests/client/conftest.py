# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fixtures for the clients' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.xen.daemons import Daemon
from xsfs import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.xen.packages import Xen

TOP = b"/test"


@pytest.fixture
def client(shared_daemon: Daemon) -> Iterator[Client]:
    """A client whose tests keep to nodes below TOP, which are gone afterwards."""
    with Client(shared_daemon.socket, timeout_s=10.0) as client:
        yield client
    with Client(shared_daemon.socket) as cleaner:
        cleaner.delete(TOP)


@pytest.fixture
def other(shared_daemon: Daemon) -> Iterator[Client]:
    """Another client of the same daemon."""
    with Client(shared_daemon.socket, timeout_s=10.0) as client:
        yield client


@pytest.fixture
def xenstored(rundir: Path, xen: Xen) -> Iterator[Daemon]:
    """A fresh C xenstored, where one kind of daemon is enough."""
    with Daemon("xenstored", rundir, xen) as daemon:
        yield daemon


@pytest.fixture
def loop(daemon: Daemon) -> str:
    """The asynchronous client's event loop: each with one daemon, as they do not meet."""
    return "trio" if daemon.kind == "xenstored" else "asyncio"
