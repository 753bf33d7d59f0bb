# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How much longer than idle the mount's users wait while a hostile client floods the store.

On both daemons; the median of all looks at a file beside the flood. Ends with status 1 when a
bar is missed.

    python -m tests.bench.floods
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.mount import Bar
from tests.mount.bystander import flood_beside
from tests.mount.floods import FLOODS
from tests.xen.daemons import KINDS, Daemon

DEADLINE_S = 120.0


def main() -> int:
    bars = []
    for kind in KINDS:
        for flood in FLOODS:
            with TemporaryDirectory(prefix="xsfs-") as folder, Daemon(kind, Path(folder)) as daemon:
                seen = flood_beside(daemon, flood, DEADLINE_S)
            idle_s, busy_s = median(seen.idle_s), median(seen.busy_s)
            print(
                f"{kind}, {flood}: {len(seen.busy_s)} looks, {idle_s * 1e3:.2f} -> "
                f"{busy_s * 1e3:.2f} ms, at most {max(seen.busy_s):.2f} s; "
                f"memory {seen.before_kb} -> {seen.peak_kb} -> {seen.after_kb} KB"
            )
            bars.append(Bar(f"{kind}: stat and read beside {flood} / idle", busy_s / idle_s, 10))
    print(*bars, sep="\n")
    return int(any(bar.ratio > bar.most for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
