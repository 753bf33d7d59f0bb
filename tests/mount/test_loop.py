# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount on the loop of xsfs's own, and on pyfuse3's where that is not known to go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xsfs
from tests.deadline import DEADLINE_S
from tests.inotify import MODIFY, Heard, Inotify
from tests.mount.mounting import Mounted
from tests.mount.outside import Outside
from tests.programs import Program

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
            assert reader.communicate(timeout=DEADLINE_S)[0] == b"/loop/a\n" * 2
        stream.send_signal(signal.SIGKILL)
        stream.wait(DEADLINE_S)
    outside.close()


@pytest.mark.parametrize("end", ["umount", "SIGTERM", "umount, while asked"])
def test_it_ends(fuse: None, shared_daemon: Daemon, env: dict[str, str], end: str) -> None:
    with Mounted(shared_daemon.socket, env=env) as mounted:
        root = os.open(mounted.path, os.O_PATH)
        if end == "umount, while asked":
            subprocess.run(["umount", "--lazy", mounted.path], check=True, timeout=DEADLINE_S)
            os.stat(".xsfs", dir_fd=root)
        os.close(root)
        if end == "umount":
            mounted.unmount()
        assert (mounted.stop() if end == "SIGTERM" else mounted.wait()) == 0


# A file system on a loop that has the first process that asks for `x` killed when its request is
# seen, and not read yet.
_TAKEN_BACK = """
import errno, subprocess, sys
import pyfuse3, trio, trio.testing
from xsfs.fs.fuse import loop

asking = None

class Loop(loop.Loop):
    async def wait_readable(self, device):
        global asking
        await super().wait_readable(device)
        if asking is not None:
            asking.kill()
            asking.wait()
            asking = None

class Operations(pyfuse3.Operations):
    async def lookup(self, parent_inode, name, ctx):
        raise pyfuse3.FUSEError(errno.ENOENT)

async def main():
    global asking
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await trio.testing.wait_all_tasks_blocked()
        asking = subprocess.Popen(["stat", f"{sys.argv[1]}/x"])
        while asking is not None:
            await trio.sleep(0.01)
        # The timer of a process that is blocked would never come.
        await trio.sleep(0.01)
        print("alive", flush=True)
        said = await trio.run_process(
            ["stat", f"{sys.argv[1]}/y"], check=False, capture_stderr=True
        )
        assert b"No such file" in said.stderr, said
        pyfuse3.terminate()

loop.Loop = Loop
with loop.installed():
    pyfuse3.init(Operations(), sys.argv[1], {"fsname=taken-back"})
    try:
        trio.run(main)
    finally:
        pyfuse3.close(unmount=True)
print("ended", flush=True)
"""


def test_a_request_that_is_taken_back_stops_nobody(fuse: None, tmp_path: Path) -> None:
    try:
        with Program([sys.executable, "-W", "error", "-c", _TAKEN_BACK, tmp_path]) as program:
            program.await_line(b"alive")
            program.await_line(b"ended")
    finally:
        if os.path.ismount(tmp_path):
            subprocess.run(["umount", "--lazy", tmp_path], check=True)
