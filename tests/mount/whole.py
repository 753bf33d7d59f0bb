# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Is a mount a whole one: are values read and written, and do events come?

python -m tests.mount.whole MOUNTPOINT SOCKET     # of the embedded store, with its sample
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import xsfs
from tests.inotify import Inotify


def main(top: Path, socket: str) -> None:
    """Fails with a traceback when it is not."""
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        # Those are the daemon's matter, not ours.
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
    assert (top / "local/domain/1/name").read_text() == "web\n"
    (top / "new").write_text("1")
    with Inotify() as inotify, xsfs.Client(socket) as client:
        inotify.watch(top / "new", "new")
        client.write(b"/new", b"2")
        inotify.until(lambda heard: heard.what == "MODIFY")
    assert (top / "new").read_text() == "2\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
