# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`make run`, but for the packages that it installs: mount, and show the store around."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.xen.daemons import Daemon

RUN = Path(__file__).parents[2] / "tools/run"
BIN = Path(sys.executable).parent


def run(mountpoint: Path, **env: str) -> str:
    done = subprocess.run(
        [RUN, mountpoint],
        env={"PATH": os.environ["PATH"], "HOME": "/", "BIN": str(BIN), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def mountpoint(rundir: Path, fuse: None) -> Iterator[Path]:
    path = rundir / "m"
    yield path
    subprocess.run(["umount", path], check=True)


def test_run_shows_the_embedded_store(mountpoint: Path) -> None:
    shown = run(mountpoint, XENSTORED_PATH="", XENSTORED_RUNDIR="")
    if "embedded" not in shown:
        pytest.skip("this machine has a XenStore")
    assert "$ cat local/domain/1/name\nweb\n" in shown
    assert "/greeting\nhello again\n" in shown
    assert "tool/xsfs-tour/ MODIFY greeting" in shown
    unmount = "umount" if os.geteuid() == 0 else "fusermount3 -u"
    assert f"To unmount: {unmount} {mountpoint}" in shown
    assert not (mountpoint / "tool/xsfs-tour").exists()
    assert "mounted already" in run(mountpoint, XENSTORED_PATH="")


def test_run_takes_the_hosts_store(daemon: Daemon, mountpoint: Path) -> None:
    daemon.tool("xenstore-write", "/local/domain/7/name", "seven")
    shown = run(mountpoint, XENSTORED_PATH=str(daemon.socket))
    assert f"the XenStore of this host, at {daemon.socket}" in shown
    assert "$ cat local/domain/7/name\nseven\n" in shown
    assert "tool/xsfs-tour/ MODIFY greeting" in shown
    assert daemon.tool("xenstore-exists", "/tool/xsfs-tour").returncode == 1
