# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""`xsfs doctor`: checks everything that a mount needs, and says what to do if something is wrong.

Changes nothing. Each check yields findings; a fault makes the exit status 1.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import socket
import struct
import subprocess
from collections import Counter
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from xsfs.client.client import Client
from xsfs.errors import XenStoreError
from xsfs.mount import fuse, inherited, source, table
from xsfs.mount.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where mount(8) looks for what it runs for fuse.xsfs (util-linux, lib/env.c), and for xsfs.
MOUNT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HELPERS_PATH = "/sbin:/usr/sbin"

# open_tree(2), by which events are raised without keeping the mount busy.
_KERNEL_MIN = (5, 2)

# Linux's own defaults, from which only small machines differ (fs/notify/inotify).
_INOTIFY_MIN = {"max_user_watches": 8192, "max_user_instances": 128}

# How long a store or a mount may take to answer, in seconds.
_ANSWER_S = 3.0


class Finding(NamedTuple):
    """What was found, and its grade: "ok", "warning" or "FAULT"."""

    grade: str
    text: str


def ok(text: str) -> Finding:
    """A finding that needs no action."""
    return Finding("ok", text)


def warning(text: str) -> Finding:
    """A finding that affects some mounts or uses."""
    return Finding("warning", text)


def fault(text: str) -> Finding:
    """A finding that keeps a mount from working."""
    return Finding("FAULT", text)


def main() -> int:
    """Print all findings; 0, or 1 when there is a fault."""
    checks = (_store, _fuse, _software, _commands, _mounts, _units, check_updatedb, _limits)
    findings = [finding for check in checks for finding in check()]
    for finding in findings:
        print(f"{finding.grade:<8} {finding.text}")
    return int(any(finding.grade == "FAULT" for finding in findings))


def _store() -> Iterator[Finding]:
    try:
        path = source.find(None)
    except MountError as error:
        yield fault(str(error))
        return
    try:
        with Client(path, timeout_s=_ANSWER_S) as client:
            count = len(client.list(b"/"))
    except OSError as error:
        yield fault(str(source.unreachable(path, error)))
    except XenStoreError as error:
        yield fault(f"what listens at {path} does not answer as a store: {error}")
    else:
        yield ok(f"the store at {path} answers, {count} nodes at its root{_daemon(path)}")


def _daemon(path: str) -> str:
    """The process that listens on a socket, as far as we may know."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as unix:
        unix.connect(path)
        credentials = unix.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = struct.unpack("3i", credentials)[0]
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = os.fsdecode(file.read().split(b"\0")[0])
        program = os.readlink(f"/proc/{pid}/exe")
        version = re.search(r"xen-(\d[\d.]*)", program)
        of_xen = f" of Xen {version[1]}" if version else ""
        return f"; it is {os.path.basename(command)}{of_xen}, process {pid}"
    return ""


def _fuse() -> Iterator[Finding]:
    try:
        fuse.check(())
    except MountError as error:
        yield fault(str(error))
    else:
        yield ok("/dev/fuse can be opened")
    if shutil.which("fusermount3") is None:
        yield warning("fusermount3 is missing: only root can mount; install fuse3")


def _software() -> Iterator[Finding]:
    versions = {}
    for name in ("xsfs", "pyfuse3", "trio"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    release = platform.release()
    yield ok(f"{installed}, Python {platform.python_version()}, Linux {release}")
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if numbers < _KERNEL_MIN:
        yield warning(
            f'Linux {release}: `umount` may fail with "busy" while events are raised: '
            "use Linux 5.2 or later, or try again"
        )


def _commands() -> Iterator[Finding]:
    if found := shutil.which("xsfs", path=MOUNT_PATH):
        yield ok(f"mount(8) finds {found}")
    else:
        yield fault("mount(8) and fstab find no xsfs: link the command to /usr/local/bin/xsfs")
    if shutil.which("mount.xsfs", path=_HELPERS_PATH) is None:
        yield warning(
            "`mount -t xsfs` does not work, `-t fuse.xsfs` does: link mount.xsfs to /usr/sbin"
        )


def _mounts() -> Iterator[Finding]:
    ours = [mount for mount in table.mounted() if mount.fstype == table.FSTYPE]
    for mountpoint, count in Counter(mount.mountpoint for mount in ours).items():
        if count > 1:
            yield fault(
                f"{mountpoint} is mounted {count} times, one over the other: `umount {mountpoint}`"
            )
        # In a process of its own, which can be killed: a stopped daemon does not answer.
        command = ("stat", "-f", "--", mountpoint)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_ANSWER_S, check=False
            )
        except subprocess.TimeoutExpired:
            # umount(8) takes -f from root alone.
            force = "umount -f -l" if os.geteuid() == 0 else "fusermount3 -u -z"
            yield fault(
                f"{mountpoint} does not answer: its daemon is stopped or hangs; "
                f"`{force} {mountpoint}`, and mount again"
            )
            continue
        if not done.returncode:
            yield ok(f"{mountpoint} is mounted and answers")
        elif "not connected" in done.stderr:
            yield fault(f"{mountpoint} is dead, its daemon was killed: mount again there")
        else:
            yield warning(
                f"{mountpoint} cannot be checked by this user, root may: {done.stderr.strip()}"
            )


def _units() -> Iterator[Finding]:
    if not os.path.isdir("/run/systemd/system"):
        return
    command = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "xsfs*", "mnt-xen*")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    for unit in failed:
        yield fault(f"{unit} has failed: `journalctl -u {unit}` says why")


def check_updatedb(path: str = "/etc/updatedb.conf") -> Iterator[Finding]:
    """Whether updatedb(8) is configured to skip mounts."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        pruned = re.search(r'^\s*PRUNEFS\s*=\s*"?([^"\n]*)', file.read(), re.MULTILINE)
        if pruned is None or table.FSTYPE not in pruned[1].split():
            yield warning(f"updatedb walks the mount: add {table.FSTYPE} to PRUNEFS in {path}")


def _limits() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        inherited.check()
    except MountError as error:
        yield fault(str(error))
    else:
        yield ok(f"{hard} files may be open at once")
    for name, least in _INOTIFY_MIN.items():
        with suppress(OSError, ValueError), open(f"/proc/sys/fs/inotify/{name}") as file:
            now = int(file.read())
            if now < least:
                yield warning(
                    f"inotify: {name} is {now}, watchers may be refused: "
                    f"`sysctl fs.inotify.{name}={least}`"
                )
