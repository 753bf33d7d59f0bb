# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A machine that systemd has booted, in namespaces of its own: units start, stop and restart.

It has xsfs installed as installed.Machine has, our units, a loopback device, and in the place
of xenstored.service one that puts a real daemon's socket where it belongs.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import xsfs
from tests.deadline import DEADLINE_S
from tests.mount.installed import BIN, SET_UP, Machine

if TYPE_CHECKING:
    from tests.xen.daemons import Daemon

ROOT = Path(__file__).parents[2]

# Nothing of the host's is started: systemd sees no units but these. It keeps to its own part of
# the cgroup tree, and all but a few folders of the machine's own is read-only.
_BOOT = """
mount -t tmpfs tmpfs /mnt
for folder in "$@"; do
    mkdir -p "/run/kept$folder"
    mount --bind "$folder" "/run/kept$folder"
done
mount -t tmpfs tmpfs /tmp
for folder in "$@"; do
    mkdir -p "$folder"
    mount --bind "/run/kept$folder" "$folder"
done
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system /run/generators
cp "$1"/units/* /run/systemd/system
ln -s /lib/systemd/system-generators/systemd-fstab-generator /run/generators
# A copy of /etc, for /etc/xsfs, which the host may not have.
mkdir -p /run/etc && cp -a /etc/. /run/etc && mount --bind /run/etc /etc
mount --bind "$1/fstab" /etc/fstab
mount --bind "$1/fuse.conf" /etc/fuse.conf
mkdir -p /etc/xsfs && mount --bind "$1/xsfs" /etc/xsfs
mount -o remount,bind,ro /
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"""
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "container": "test",
    "SYSTEMD_UNIT_PATH": "/run/systemd/system:/run/systemd/generator",
    "SYSTEMD_GENERATOR_PATH": "/run/generators",
    "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/run/none",
}

_UNITS = {
    "xenstored.service": """
[Service]
Type=oneshot
RemainAfterExit=yes
RuntimeDirectory=xenstored
ExecStart=ln -s {socket} /run/xenstored/socket
""",
    "test.target": "[Unit]\nDefaultDependencies=no\n",
    # What default dependencies name.
    **{
        f"{name}.target": "[Unit]\nDefaultDependencies=no\n"
        for name in (
            "basic",
            "local-fs",
            "local-fs-pre",
            "multi-user",
            "network-online",
            "remote-fs",
            "remote-fs-pre",
            "shutdown",
            "sysinit",
            "umount",
        )
    },
}


class Booted(Machine):
    """The machine; the store is `daemon`'s."""

    def __init__(self, daemon: Daemon) -> None:
        self._store = daemon
        super().__init__(BIN / "xsfs")

    def _start(self) -> None:
        (self.folder / "xsfs").mkdir()
        units = self.folder / "units"
        shutil.copytree(ROOT / "systemd", units)
        for name, text in _UNITS.items():
            (units / name).write_text(text.format(socket=self._store.socket))
        self._cgroup = Path(tempfile.mkdtemp(prefix="xsfs-", dir=_unified()))
        self._log = (self.folder / "log").open("wb")
        notify = str(self.folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(notify)
            self._keeper = subprocess.Popen(
                [
                    *("sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', self._cgroup),
                    *("unshare", "-m", "-p", "-n", "-u", "-i", "-C", "--fork", "--kill-child"),
                    *("--mount-proc", "--propagation", "private"),
                    *("sh", "-c", SET_UP + _BOOT, "sh", self.folder, self._store.rundir),
                    *_covered(ROOT, Path(sys.prefix), Path(xsfs.__file__).parents[1]),
                ],
                env={**_ENVIRONMENT, "NOTIFY_SOCKET": notify},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
            while select.select([ready], [], [], DEADLINE_S)[0]:
                if b"READY=1" in ready.recv(4096).splitlines():
                    break
            else:
                raise AssertionError((self.folder / "log").read_text())
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
        self.pid = int(children.read_text())

    def _enter(self) -> list[str]:
        return ["nsenter", "-a", "-t", str(self.pid), "--"]

    def log(self) -> str:
        """What systemd and its services have said."""
        return (self.folder / "log").read_text()

    def wait_until(self, *command: str | Path, timeout_s: float = DEADLINE_S) -> None:
        """Until a program succeeds; tried whenever something is mounted or unmounted.

        Args:
            command: the program.
            timeout_s: how long the mount table may stay as it is.
        """
        with open(f"/proc/{self.pid}/mountinfo", encoding="ascii") as table:
            poll = select.poll()
            poll.register(table, select.POLLERR | select.POLLPRI)
            while self.run(*command).returncode:
                assert poll.poll(timeout_s * 1000), f"{command}: no success"

    def kill(self, unit: str, timeout_s: float = DEADLINE_S) -> None:
        """End a service's processes by SIGKILL; returns when they have ended."""
        (processes,) = self._cgroup.glob(f"**/{unit}.service/cgroup.procs")
        ends = [os.pidfd_open(int(pid)) for pid in processes.read_text().split()]
        self.check("systemctl", "kill", "--signal=KILL", unit)
        for end in ends:
            assert select.select([end], [], [], timeout_s)[0], unit
            os.close(end)

    def properties(self, unit: str, *names: str) -> list[str]:
        """What systemd says of a unit."""
        shown = self.check("systemctl", "show", "--value", "-p", ",".join(names), unit)
        return shown.splitlines()

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._keeper.wait()
        self._log.close()
        for path, _, _ in os.walk(self._cgroup, topdown=False):
            os.rmdir(path)
        self._folder.cleanup()


def _covered(*folders: Path) -> list[Path]:
    """Those of the folders that the machine's own /tmp and /mnt would cover."""
    covered = {path for path in folders if path.parts[1] in ("tmp", "mnt")}
    return sorted(path for path in covered if covered.isdisjoint(path.parents))


def _unified() -> Path:
    """Where the unified cgroup hierarchy is mounted."""
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "TARGET", "-t", "cgroup2"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(shown.stdout.split()[0])
