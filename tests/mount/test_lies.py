# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount whose store lies: what is read is true, the log says why, and there is one reconnect."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.mount.impatient import Impatient, error_in_time, store
from tests.outcome import until
from tests.xen.lies import ERRORS, LIES, ODDITIES
from tests.xen.wire import Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon
    from tests.xen.link import Link


@pytest.fixture
def mounted(fuse: None, daemon: Daemon, link: Link) -> Iterator[Impatient]:
    store(daemon, a="1")
    with Impatient(link.socket) as mounted:
        assert (mounted.path / "a").read_bytes() == b"1\n"
        yield mounted


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_seen_through(daemon: Daemon, link: Link, mounted: Impatient, lie: str) -> None:
    forgery, reason = LIES[lie]
    forged = link.forge(forgery, op=Op.READ)
    assert (mounted.path / "a").read_bytes() == b"1\n"
    assert forged.is_set()
    until(lambda: mounted.stats()["connections"] == 2)
    store(daemon, a="2")
    assert (mounted.path / "a").read_bytes() == b"2\n"
    assert mounted.stats()["connections"] == 2
    (said,) = (
        line for line in mounted.logs("connection lost").splitlines() if "connection lost" in line
    )
    assert reason in said
    assert mounted.log_is_clean()


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_oddity_is_passed_over(link: Link, mounted: Impatient, oddity: str) -> None:
    forged = link.forge(ODDITIES[oddity], op=Op.READ)
    assert (mounted.path / "a").read_bytes() == b"1\n"
    assert forged.is_set()
    assert mounted.stats()["connections"] == 1
    assert "connection lost" not in mounted.log()


@pytest.mark.parametrize("error", ERRORS)
def test_an_odd_error_is_an_error(link: Link, mounted: Impatient, error: str) -> None:
    forgery, number = ERRORS[error]
    link.forge(forgery, op=Op.READ)
    assert error_in_time((mounted.path / "a").read_bytes) == number
    assert (mounted.path / "a").read_bytes() == b"1\n"
    assert mounted.stats()["connections"] == 1
    assert mounted.log_is_clean()


def test_a_store_that_never_stops_lying(link: Link, mounted: Impatient) -> None:
    link.forge(LIES["a type of no request"][0], count=1_000_000, op=Op.READ)
    assert error_in_time((mounted.path / "a").read_bytes) == errno.EIO
    os.statvfs(mounted.path)
    link.forge(bytes)
    until(lambda: error_in_time((mounted.path / "a").read_bytes) == 0)
    assert (mounted.path / "a").read_bytes() == b"1\n"
    assert link.accepted < 30
