# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What is mounted where, as the kernel tells it; stale mounts of ours are cleaned up here.

Never touches a file below a mountpoint: a daemon that did so with its own mount would wait
for itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
from typing import NamedTuple

FSTYPE = "fuse.xsfs"

_libc = ctypes.CDLL(None, use_errno=True)

# linux/mount.h
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096
_MNT_DETACH = 2


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo (proc(5)), as far as it matters here."""

    device: int
    mountpoint: str
    options: str
    fstype: str
    source: str


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def mounted() -> list[Mount]:
    """All mounts of this namespace, the uppermost of a mountpoint last."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            first, _, second = line.rstrip("\n").partition(" - ")
            fields, (fstype, source, *_) = first.split(" "), second.split(" ")
            major, minor = map(int, fields[2].split(":"))
            found.append(
                Mount(
                    os.makedev(major, minor),
                    _unescape(fields[4]),
                    fields[5],
                    fstype,
                    _unescape(source),
                )
            )
    return found


def at(mountpoint: str) -> Mount | None:
    """The mount that is seen at this absolute path; None when nothing is mounted just there."""
    for mount in reversed(mounted()):
        if mount.mountpoint == mountpoint:
            return mount
    return None


def is_mounted(device: int) -> bool:
    """Whether the file system of that device number is mounted anywhere in this namespace."""
    return any(mount.device == device for mount in mounted())


def detach(mountpoint: str) -> None:
    """Unmount at once, whoever still uses it.

    Raises:
        OSError: it was refused.
    """
    if not _libc.umount2(os.fsencode(mountpoint), _MNT_DETACH):
        return
    number = ctypes.get_errno()
    if number != errno.EPERM:
        raise OSError(number, os.strerror(number), mountpoint)
    command = ["fusermount3", "-u", "-z", "--", mountpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(errno.EPERM, done.stderr.strip() or "fusermount3 failed", mountpoint)


def make_read_only(mountpoint: str) -> bool:
    """Make this one mount read-only, its superblock staying writable; False without privilege."""
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _kept_flags(mountpoint)
    return not _libc.mount(None, os.fsencode(mountpoint), None, flags, None)


def _kept_flags(mountpoint: str) -> int:
    """A remount sets all flags of the mount: those it has are named again."""
    numbers = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048}
    numbers["relatime"] = 1 << 21
    mount = at(mountpoint)
    return sum(numbers.get(option, 0) for option in (mount.options if mount else "").split(","))
