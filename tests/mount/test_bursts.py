# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""More events at once than oxenstored delivers (1024): what it held back is found all the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.inotify import Heard, Inotify
from tests.mount.mounting import Mounted
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

# oxenstored freezes whoever makes more than some 2100 changes at once.
CHANGES = 1500


@pytest.fixture
def store(daemon: Daemon) -> Iterator[xsfs.Client]:
    with xsfs.Client(daemon.socket) as client:
        client[b"/d/v"] = b"first"
        yield client


@pytest.fixture
def mounted(fuse: None, daemon: Daemon, store: xsfs.Client) -> Iterator[Mounted]:
    with Mounted(daemon.socket) as mounted:
        yield mounted


def commit(client: xsfs.Client, batch: list[requests.Request[None]]) -> None:
    """All in one transaction: its events come at once."""
    client.transaction()
    client.batch(batch)
    assert client.commit()


def test_no_creation_and_no_removal_is_missed(
    mounted: Mounted, store: xsfs.Client, daemon: Daemon
) -> None:
    nodes = [b"/d/n%d" % n for n in range(CHANGES)]
    names = {os.path.basename(path).decode() for path in nodes}
    with Inotify() as heard:
        heard.watch(mounted.path / "d", "d")
        for what, batch in (
            ("CREATE", [requests.mkdir(path) for path in nodes]),
            ("DELETE", [requests.rm(path) for path in nodes]),
        ):
            commit(store, batch)
            missing = set(names)
            while missing:
                event = heard.take()
                if event.what == what:
                    missing.remove(event.name)
    assert (mounted.stats()["renewals"] > 0) or daemon.kind == "xenstored"


def test_our_own_many_writes_are_no_burst(mounted: Mounted) -> None:
    with open(mounted.path / "d/v", "wb", buffering=0) as file:
        for number in range(CHANGES):
            file.write(b"%d\n" % number)
            file.seek(0)
    with Inotify() as heard:
        heard.watch(mounted.path / "d", "d")
        (mounted.path / "d/end").touch()
        heard.until(Heard("d", "CREATE", "end").__eq__)
    stats = mounted.stats()
    assert stats["events"] >= CHANGES
    assert stats["renewals"] == 0
