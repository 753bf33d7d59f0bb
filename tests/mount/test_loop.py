# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount on the loop of xsfs's own, and on pyfuse3's where that is not known to go."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

# What the daemon runs first: another release of pyfuse3, as far as it tells.
_UNKNOWN = """
import pyfuse3
pyfuse3.__version__ = "3.99"
"""


@pytest.fixture(params=["own", "stock"])
def env(request: pytest.FixtureRequest, rundir: Path) -> dict[str, str]:
    """The environment in which a mount uses that loop."""
    if request.param == "own":
        return {}
    (rundir / "sitecustomize.py").write_text(_UNKNOWN)
    return {"PYTHONPATH": f"{rundir}:{Path(xsfs.__file__).parents[1]}"}


def test_it_serves_a_stream_blocked_readers_and_events(
    fuse: None, shared_daemon: Daemon, env: dict[str, str]
) -> None:
    outside = Outside(shared_daemon)
    for name in (b"a", b"b"):
        outside.write(b"/loop/" + name, b"0")
    with Mounted(shared_daemon.socket, env=env) as mounted, Inotify() as inotify:
        top = mounted.path / "loop"
        blocked = [
            subprocess.Popen(["head", "-n", "2", top / ".events"], stdout=subprocess.PIPE)
            for _ in range(3)
        ]
        stream = subprocess.Popen(
            ["sh", "-c", 'while :; do read -r line < "$1"; done', "sh", top / "b"]
        )
        inotify.watch(top / "a", "a", MODIFY)
        for count in range(1, 21):
            outside.write(b"/loop/a", b"%d" % count)
            assert inotify.take() == Heard("a", "MODIFY")
            assert (top / "a").read_bytes() == b"%d\n" % count
        for reader in blocked:
            assert reader.communicate(timeout=10)[0] == b"/loop/a\n" * 2
        stream.send_signal(signal.SIGKILL)
        stream.wait(10)
    outside.close()


@pytest.mark.parametrize("end", ["umount", "SIGTERM", "umount, while asked"])
def test_it_ends(fuse: None, shared_daemon: Daemon, env: dict[str, str], end: str) -> None:
    with Mounted(shared_daemon.socket, env=env) as mounted:
        root = os.open(mounted.path, os.O_PATH)
        if end == "umount, while asked":
            subprocess.run(["umount", "--lazy", mounted.path], check=True, timeout=10)
            os.stat(".xsfs", dir_fd=root)
        os.close(root)
        if end == "umount":
            mounted.unmount()
        assert (mounted.stop() if end == "SIGTERM" else mounted.wait()) == 0
