# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Is anything that is read through a mount ever older than what the store was left with?

python -m tests.soak.coherence KIND CACHE SECONDS
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import xsfs
from tests.mount.coherence import Checker, run
from tests.mount.mounting import Mounted
from tests.soak.run import Result, go_on

if TYPE_CHECKING:
    from tests.soak.run import Run
    from tests.xen.daemons import Daemon


def main() -> int:
    """One more piece."""
    kind, cache, seconds = sys.argv[1:]

    def work(daemon: Daemon, so_far: Run) -> Result:
        deadline_s = time.monotonic() + float(seconds)
        with (
            Mounted(daemon.socket, f"cache={cache}") as mounted,
            xsfs.Client(daemon.socket) as client,
        ):
            checker = Checker(client, mounted.path, so_far.seed)
            look = checker.measure if cache == "watch" else checker.check
            run(checker, look, lambda: time.monotonic() < deadline_s)
        counts = {**checker.counts, "waits": len(checker.lags_s)}
        lags_s = sorted(checker.lags_s)
        peaks = {
            f"lag {share:.1%} (ms)": lags_s[int(share * (len(lags_s) - 1))] * 1e3
            for share in (0.5, 0.99, 1.0)
            if lags_s
        }
        return Result({name: n for name, n in counts.items() if n}, peaks, checker.wrong)

    return go_on("coherence", work, kind, cache)


if __name__ == "__main__":
    sys.exit(main())
