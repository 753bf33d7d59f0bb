# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.xsfs/stats` and `.xsfs/metrics`, as those who collect them read them."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.xen.guest import Guest
from tests.xen.wire import Op, Wire
from xsfs.server import OXENSTORED, running

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import Metric

    from tests.xen.daemons import Daemon


def families(mount: Path) -> dict[str, Metric]:
    text = (mount / ".xsfs/metrics").read_text()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric) -> dict[str, float]:
    return {sample.labels["domid"]: sample.value for sample in family.samples}


def test_the_metrics_are_the_stats(mount: Path) -> None:
    stats = json.loads((mount / ".xsfs/stats").read_text())
    found = families(mount)
    assert found["xsfs_inodes"].type == "gauge"
    assert found["xsfs_connections"].type == "counter"
    (connections,) = found["xsfs_connections"].samples
    assert (connections.name, connections.value) == ("xsfs_connections_total", 1)
    assert {f"xsfs_{key}" for key in stats if not key.startswith("@")} <= set(found)
    watches = found["xsfs_special_watch_events"].samples
    assert [sample.labels["watch"] for sample in watches] == ["@introduceDomain", "@releaseDomain"]


def test_they_are_hidden(mount: Path) -> None:
    assert ".xsfs" not in os.listdir(mount)
    assert sorted(os.listdir(mount / ".xsfs")) == ["metrics", "stats"]


def test_each_help_text_stands_alone(mount: Path) -> None:
    texts = [family.documentation for family in families(mount).values()]
    assert len(texts) == len(set(texts))
    assert all(len(text.split()) > 4 and "these" not in text.split() for text in texts)


def test_the_time_is_that_of_reading(mount: Path) -> None:
    before_s = time.time()
    assert before_s - 1 <= os.stat(mount / ".xsfs/metrics").st_mtime <= time.time() + 1


def test_which_guest_fills_the_store(fuse: None, daemon: Daemon, rundir: Path) -> None:
    outside = Outside(daemon)
    with Guest(daemon, rundir / "guest") as guest, Mounted(daemon.socket) as mounted:
        (mounted.path / "local/domain").stat()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(guest.socket))
            wire = Wire(connection)
            wire.ask(Op.WATCH, b"data\0t\0")
            for number in range(20):
                wire.ask(Op.WRITE, b"data/%d\0x" % number)
            for number, state in enumerate((b"4", b"4", b"1", b"nonsense")):
                wire.ask(Op.WRITE, b"device/vif/%d/state\0" % number + state)
            wire.ask(Op.TRANSACTION_START, b"\0")
            # What it did is known to the mount when that reads the next.
            outside.write(b"/end", b"1")
            assert (mounted.path / "end").read_text() == "1\n"
            found = families(mounted.path)
            nodes = 1 + 21 + 2 + 4 * 2
            assert values(found["xsfs_domain_nodes"])["5"] == nodes
            assert values(found["xsfs_domain_nodes_quota"]) == {"5": 1000}
            assert values(found["xsfs_domain_watches"])["5"] == 1
            if daemon.kind == "xenstored":
                # oxenstored tells neither.
                assert values(found["xsfs_domain_transactions"])["5"] == 1
                assert values(found["xsfs_domain_watches_quota"]) == {"5": 128}
            assert values(found["xsfs_domain_events"])["5"] >= 24
            devices = {
                (sample.labels["domid"], sample.labels["state"]): sample.value
                for sample in found["xsfs_domain_devices"].samples
            }
            assert devices == {
                ("5", "connected"): 2,
                ("5", "initialising"): 1,
                ("5", "unknown"): 1,
            }
    outside.close()


def test_where_the_daemon_does_not_tell_owners_are_counted(fuse: None) -> None:
    store = {b"/local/domain/5/a": b"1", b"/local/domain/6": b"", b"/b": b""}
    perms = {path: [b"n5"] for path in (b"/local/domain/5", b"/local/domain/5/a")}
    with (
        running(store, perms=perms, domains=[5], rules=OXENSTORED) as running_store,
        Mounted(os.fspath(running_store)) as mounted,
    ):
        nodes = values(families(mounted.path)["xsfs_domain_nodes"])
        assert nodes["5"] == 2
        assert nodes["6"] == 0
        assert nodes["0"] >= 4


def test_a_guest_sees_its_own(fuse: None) -> None:
    perms = {b"/local/domain/5": [b"n5"]}
    with (
        running({b"/local/domain/5": b""}, perms=perms, domains=[5]) as store,
        Mounted(store.domains[5], "root=/local/domain/5") as mounted,
    ):
        (mounted.path / "a").write_text("1")
        assert values(families(mounted.path)["xsfs_domain_nodes"]) == {"5": 2}
