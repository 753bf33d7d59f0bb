# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The mount's counts in Prometheus' text format, for `.xsfs/metrics`. Pure.

node_exporter's textfile collector takes a copy of it; so does anything that reads the format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What goes up and down; all else only counts up.
_GAUGES = frozenset({"inodes", "transactions"})

_MEANINGS = {
    "inodes": "Files and directories that the kernel or the mount remembers",
    "connections": "Connections to the store so far; more than one after it was lost",
    "transactions": "Transactions open below .transactions",
    "events": "Watch events that the store sent",
    "echoes": "Of these, those that the mount's own changes caused",
    "renewals": "Times that the watches were set anew and all was compared",
    "notices": "Changes of which the kernel was told",
    "merged": "Notices that a waiting one of the same kind made needless",
    "injections": "Operations by which inotify events were raised",
    "failed": "Of these, those that failed",
    "log_lines_dropped": "Lines of the log that were dropped, as it took no more",
    "unsteady_snapshots": "Snapshots for .json that a busy store never granted",
}


def text(counts: Mapping[str, int]) -> bytes:
    """All counts: a help line, a type line and a sample each."""
    lines = []
    for key, count in counts.items():
        if key.startswith("@"):
            # A special watch: no name for a metric, nor worth one.
            continue
        kind, name = ("gauge", key) if key in _GAUGES else ("counter", f"{key}_total")
        lines += [
            f"# HELP xsfs_{name} {_MEANINGS.get(key, key)}",
            f"# TYPE xsfs_{name} {kind}",
            f"xsfs_{name} {count}",
        ]
    name = "xsfs_special_watch_events_total"
    lines += [f"# HELP {name} Events of the special watches", f"# TYPE {name} counter"]
    for watch in ("@introduceDomain", "@releaseDomain"):
        lines.append(f'{name}{{watch="{watch}"}} {counts.get(watch, 0)}')
    return "\n".join((*lines, "")).encode()
