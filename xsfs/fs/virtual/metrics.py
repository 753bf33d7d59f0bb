# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The mount's counts, and each domain's use of the store, in Prometheus' text format.

For `.xsfs/metrics`. node_exporter's textfile collector takes a copy of it; so does anything that
reads the format.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xsfs.fs.store.handles import TextHandle
from xsfs.fs.virtual.domains import KINDS
from xsfs.fs.virtual.files import VirtualFile, require_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xsfs.fs.store.handles import Handle
    from xsfs.fs.virtual.domains import Domains, Usage

# These go up and down (gauges); all others only count up (counters).
_GAUGES = frozenset({"inodes", "transactions"})

_MEANINGS = {
    "inodes": "Files and directories that the kernel or the mount remembers",
    "connections": "Connections to the store so far; more than one after it was lost",
    "transactions": "Transactions that are open below .transactions of the mount",
    "log_lines_dropped": "Log lines of the mount that could not be written in time",
    "events": "Watch events that the store sent to the mount",
    "echoes": "Watch events that the mount's own changes caused",
    "renewals": "Times that the mount's watches were set anew and all was compared",
    "notices": "Changes that were announced to the kernel",
    "merged": "Notices that a waiting one of the same kind made needless",
    "injections": "Operations on the mount by which inotify events were raised",
    "failed": "Operations to raise inotify events that failed",
    "helpers": "Processes started to raise inotify events; more than one after one ended",
    "unsteady_snapshots": "Snapshots for .json that a busy store never granted",
}


class MetricsFile(VirtualFile):
    """The file; what is in it is made when it is opened.

    Args:
        counts: of the mount.
        events: how many watch events there were below each domain's home.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, int]],
        events: Mapping[bytes, int],
        domains: Domains,
    ) -> None:
        super().__init__(b"metrics")
        self._counts = counts
        self._events = events
        self._domains = domains
        self._size = 0

    @property
    def mtime_ns(self) -> int:
        """The current time, as the content is generated when read."""
        return time.time_ns()

    @property
    def size(self) -> int:
        """The length of the last content."""
        return self._size

    async def open(self, flags: int, uid: int) -> Handle:
        """The numbers as they are now."""
        require_read(flags)
        shown = text(self._counts(), self._events, await self._domains.usages())
        self._size = len(shown)
        return TextHandle(shown)


def text(counts: Mapping[str, int], events: Mapping[bytes, int], usages: Sequence[Usage]) -> bytes:
    """All numbers: of each metric a help line, a type line and its samples."""
    return "".join(f"{line}\n" for line in _lines(counts, events, usages)).encode()


def _lines(
    counts: Mapping[str, int], events: Mapping[bytes, int], usages: Sequence[Usage]
) -> Iterator[str]:
    for key, count in counts.items():
        # A special watch is no name for a metric.
        if not key.startswith("@"):
            kind, name = ("gauge", key) if key in _GAUGES else ("counter", f"{key}_total")
            yield from _metric(name, kind, _MEANINGS[key], [("", count)])
    yield from _metric(
        "special_watch_events_total",
        "counter",
        "Events of the watches for domains that come and go",
        (
            (f'{{watch="{watch}"}}', counts.get(watch, 0))
            for watch in ("@introduceDomain", "@releaseDomain")
        ),
    )
    for kind in KINDS:
        yield from _metric(
            f"domain_{kind}",
            "gauge",
            f"{kind.capitalize()} that a domain has in the store",
            ((_domain(each), each.used[kind]) for each in usages if kind in each.used),
        )
        yield from _metric(
            f"domain_{kind}_quota",
            "gauge",
            f"{kind.capitalize()} that a domain may have in the store",
            ((_domain(each), each.quotas[kind]) for each in usages if each.quotas.get(kind)),
        )
    yield from _metric(
        "domain_devices",
        "gauge",
        "Devices of a domain (frontends), by the state that they are in",
        (
            (f'{{domid="{each.domid}",state="{state}"}}', count)
            for each in usages
            for state, count in sorted(each.devices.items())
        ),
    )
    yield from _metric(
        "domain_events_total",
        "counter",
        "Changes of nodes in /local/domain/DOMID that the store reported to the mount",
        (
            (f'{{domid="{domid.decode()}"}}', count)
            for domid, count in sorted(events.items())
            if domid.isdigit()
        ),
    )


def _domain(usage: Usage) -> str:
    return f'{{domid="{usage.domid}"}}'


def _metric(
    name: str, kind: str, meaning: str, samples: Iterable[tuple[str, int]]
) -> Iterator[str]:
    yield f"# HELP xsfs_{name} {meaning}"
    yield f"# TYPE xsfs_{name} {kind}"
    for labels, value in samples:
        yield f"xsfs_{name}{labels} {value}"
