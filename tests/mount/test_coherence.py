# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is read through the mount is what the store was left with a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.mount.coherence import Checker, run
from tests.mount.mounting import Mounted

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

ROUNDS = 600


@pytest.mark.parametrize("cache", ["strict", "off"])
def test_no_open_and_no_listing_is_stale(fuse: None, daemon: Daemon, cache: str) -> None:
    with Mounted(daemon.socket, f"cache={cache}") as mounted, xsfs.Client(daemon.socket) as client:
        checker = Checker(client, mounted.path, seed=1)
        rounds = iter(range(ROUNDS))
        run(checker, checker.check, lambda: next(rounds, None) is not None)
    assert checker.counts["opens"] > ROUNDS / 2
    assert checker.counts["listings"] > ROUNDS / 10
    assert not checker.wrong


def test_a_cache_that_follows_events_catches_up(fuse: None, daemon: Daemon) -> None:
    with Mounted(daemon.socket, "cache=watch") as mounted, xsfs.Client(daemon.socket) as client:
        checker = Checker(client, mounted.path, seed=1)
        rounds = iter(range(ROUNDS // 4))
        run(checker, checker.measure, lambda: next(rounds, None) is not None)
    assert len(checker.lags_s) == ROUNDS // 4
    assert not checker.wrong
