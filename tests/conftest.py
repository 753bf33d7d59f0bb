# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fixtures that all tests share: the real daemons, and what a machine must have for FUSE.

On a machine that lacks something a test is skipped and the missing piece named; when CI is
set it fails instead. What only root can do is skipped for other users, also then.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import surroundings
from tests.xen.daemons import KINDS, Daemon, Kind
from tests.xen.embedded import Embedded
from tests.xen.link import Link
from tests.xen.packages import Unavailable, Xen, provide

if TYPE_CHECKING:
    from collections.abc import Iterator


# Speed is not tested: a busy machine may take its time.
settings.register_profile("xsfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_configure() -> None:
    """Have the tests not depend on how they are started, nor on how busy the machine is."""
    surroundings.make_usual()
    settings.load_profile("xsfs")


def missing(piece: str) -> NoReturn:
    """Ends a test for which the machine lacks something."""
    if os.environ.get("CI"):
        pytest.fail(piece, pytrace=False)
    pytest.skip(piece)


def require(program: str) -> None:
    """Asks for a program on this machine."""
    if shutil.which(program) is None:
        missing(f"{program} is missing")


@pytest.fixture(scope="session")
def root() -> None:
    """Asks for root, who may mount(2), make namespaces and devices, and become other users."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def xen() -> Xen:
    """Xen's daemons and tools, unpacked."""
    try:
        return provide()
    except Unavailable as error:
        missing(str(error))


@pytest.fixture(scope="session")
def fuse() -> None:
    """Asks for a machine on which file systems in user space can be mounted."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing("/dev/fuse is missing or not accessible")
    if shutil.which("fusermount3") is None:
        missing("fusermount3 is missing (Debian: fuse3)")


@pytest.fixture
def rundir() -> Iterator[Path]:
    """A new folder with a path short enough for sockets."""
    with TemporaryDirectory(prefix="xsfs-") as folder:
        yield Path(folder)


@pytest.fixture(params=KINDS)
def daemon(request: pytest.FixtureRequest, rundir: Path, xen: Xen) -> Iterator[Daemon]:
    """A fresh daemon of each kind, with an empty store, for one test."""
    kind: Kind = request.param
    with Daemon(kind, rundir, xen) as daemon:
        yield daemon


@pytest.fixture
def link(daemon: Daemon) -> Iterator[Link]:
    """A link to the daemon, to be disturbed."""
    with Link(daemon.rundir / "link", daemon.socket) as link:
        yield link


@pytest.fixture(
    params=[(store, kind) for store in (Daemon, Embedded) for kind in KINDS],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
    scope="module",
)
def shared_daemon(request: pytest.FixtureRequest, xen: Xen) -> Iterator[Daemon]:
    """A daemon of each kind, and the embedded store like each, for all tests of a module.

    Each test keeps to nodes of its own.
    """
    store: type[Daemon]
    kind: Kind
    store, kind = request.param
    with (
        TemporaryDirectory(prefix="xsfs-") as folder,
        store(kind, Path(folder), xen) as daemon,
    ):
        yield daemon
