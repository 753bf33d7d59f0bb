# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`.xsfs/stats` and `.xsfs/metrics`, as those who collect them read them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from pathlib import Path


def test_the_metrics_are_the_stats(mount: Path) -> None:
    stats = json.loads((mount / ".xsfs/stats").read_text())
    families = {
        family.name: family
        for family in text_string_to_metric_families((mount / ".xsfs/metrics").read_text())
    }
    assert families["xsfs_inodes"].type == "gauge"
    assert families["xsfs_connections"].type == "counter"
    (connections,) = families["xsfs_connections"].samples
    assert (connections.name, connections.value) == ("xsfs_connections_total", 1)
    assert {f"xsfs_{key}" for key in stats if not key.startswith("@")} <= set(families)
    watches = families["xsfs_special_watch_events"].samples
    assert [sample.labels["watch"] for sample in watches] == ["@introduceDomain", "@releaseDomain"]


def test_they_are_hidden(mount: Path) -> None:
    assert ".xsfs" not in os.listdir(mount)
    assert sorted(os.listdir(mount / ".xsfs")) == ["metrics", "stats"]
