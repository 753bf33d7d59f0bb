# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A machine on which xsfs is installed where mount(8) finds it: a mount namespace of our own.

The host's files are there, with files of the test's in the place of a few; what is mounted
there is not seen outside. A process keeps the namespace for as long as the test lasts.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from tests.deadline import DEADLINE_S

BIN = Path(sys.executable).parent

# Run once in the namespace; $1 is the folder of the test's own files.
SET_UP = """
set -e
umount -a -l -t fuse.xsfs
mount -t tmpfs tmpfs /run
mkdir /run/user
mount --bind "$1/sbin" /usr/local/sbin
for file in fstab fuse.conf; do
    touch "$1/$file"
    test -e "/etc/$file" || touch "/etc/$file"
    mount --bind "$1/$file" "/etc/$file"
done
mount --bind "$1/fuse" /dev/fuse
"""


# Python, or this checkout, may be in a home that is closed to others: a user of the tests may
# look into every directory, and nothing more.
REACH = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


class Machine:
    """The namespace and what runs in it.

    Args:
        xsfs: the installed command.
    """

    def __init__(self, xsfs: Path = BIN / "xsfs") -> None:
        self._folder = TemporaryDirectory(prefix="xsfs-")
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)
        (self.folder / "sbin").mkdir()
        (self.folder / "sbin/xsfs").symlink_to(xsfs)
        # As on a machine where udev gives it to all users.
        os.mknod(self.folder / "fuse", 0o020666, os.makedev(10, 229))
        (self.folder / "fuse").chmod(0o666)
        self.mountpoint = self.folder / "m"
        self.mountpoint.mkdir()
        self._start()
        self._namespace = os.readlink(f"/proc/{self.pid}/ns/mnt")

    def _start(self) -> None:
        """Start the keeper of the namespace, `pid`, and what else makes the machine."""
        unshare = ["unshare", "-m", "--propagation", "slave"]
        self._keeper = subprocess.Popen(
            [*unshare, "sh", "-c", SET_UP + "echo ready; exec cat", "sh", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._keeper.pid
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n"

    def _enter(self) -> list[str]:
        return ["nsenter", "-m", "-t", str(self.pid), "--"]

    def run(
        self, *command: str | Path, user: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with what it says."""
        enter = self._enter()
        if user:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *REACH]
        return subprocess.run(
            [*enter, *command],
            cwd="/",
            env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    def check(self, *command: str | Path, user: int = 0, **env: str) -> str:
        """The output of a program that succeeds in silence."""
        done = self.run(*command, user=user, **env)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def mounts(self, columns: str = "TARGET,SOURCE,FSTYPE") -> list[list[str]]:
        """What findmnt shows of the mounts of xsfs that the test made."""
        columns = f"TARGET,{columns}"
        done = self.run("findmnt", "-n", "-r", "-t", "fuse.xsfs", "-o", columns)
        lines = (line.split(" ") for line in done.stdout.splitlines())
        return [rest for target, *rest in lines if target.startswith(str(self.folder))]

    def daemons(self) -> list[int]:
        """Processes of xsfs in the namespace, but for the event helpers."""
        return [pid for pid in self._pids() if b"helper.py" not in _command(pid)]

    def _pids(self) -> list[int]:
        pids = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                inside = os.readlink(f"/proc/{name}/ns/mnt") == self._namespace
                if inside and int(name) != self.pid:
                    pids.append(int(name))
        return pids

    def settle(self, timeout_s: float = DEADLINE_S) -> None:
        """Unmount all, and wait until all programs have ended."""
        for target, *_ in reversed(self.mounts("TARGET")):
            self.check("umount", target)
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                ended = os.pidfd_open(pid)
                try:
                    assert select.select([ended], [], [], timeout_s)[0], _command(pid)
                finally:
                    os.close(ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._keeper.communicate()
        self._folder.cleanup()


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
