# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The kernel's mount table, and the removal of dead xsfs mounts.

Accesses no file below a mountpoint: a daemon that did so on its own mount would deadlock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from xsfs.mount.errors import MountError

FSTYPE = "fuse.xsfs"
FSTAB = "/etc/fstab"


_libc = ctypes.CDLL(None, use_errno=True)

# linux/mount.h
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096
_MNT_DETACH = 2

# What a FUSE mount answers without a daemon: to new requests, and to one that was under way when
# the daemon ended (fuse_abort_conn in fs/fuse/dev.c).
_DEAD = (errno.ENOTCONN, errno.ECONNABORTED)


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


class Presence:
    """Whether the file system of that device number is mounted anywhere in this namespace.

    Once it is not, it never is again: the number may be another's from then on.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        self._is_gone = False

    def __call__(self) -> bool:
        if not self._is_gone:
            self._is_gone = not any(mount.device == self._device for mount in mounted())
        return not self._is_gone


def named_source(source: str | None, mountpoint: str) -> str | None:
    """The source exactly as mount(8) has it; mount.fuse passes only a part on.

    `xsfs#SOURCE` in fstab's first field, or on mount's own command line, reaches us as
    `SOURCE`. The mount table must show the whole, else `mount -a` mounts it again.

    Args:
        source: as on our own command line.
        mountpoint: an absolute path without symbolic links.
    """
    words = _words_of_mount()
    found = [word for word in words if _names(word, source)]
    fstab = next((after for word, after in pairwise(words) if word in ("-T", "--fstab")), FSTAB)
    with suppress(OSError), open(fstab, encoding="utf-8", errors="surrogateescape") as lines:
        for what, where, *_ in (fields for line in lines if len(fields := line.split()) > 1):
            if _names(_unescape(what), source) and os.path.realpath(_unescape(where)) == mountpoint:
                found.append(_unescape(what))
    return found[0] if found else source


def _names(what: str, source: str | None) -> bool:
    """Whether mount.fuse turns `what` into this program and its source."""
    program, sharp, rest = what.partition("#")
    is_us = os.path.basename(program) == os.path.basename(sys.argv[0])
    return is_us and (rest == source if sharp else source is None)


def _words_of_mount() -> list[str]:
    """The command line of the mount(8) that runs us, if it does: directly, or by a shell."""
    pid = os.getppid()
    for _ in range(2):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
            if os.path.basename(words[0]) == "mount":
                return words
        with (
            suppress(OSError),
            open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file,
        ):
            pid = int(file.read().rpartition(")")[2].split()[1])
    return []


def detach(mountpoint: str) -> None:
    """Unmount at once, even if it is in use (MNT_DETACH).

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


def detach_all(device: int) -> None:
    """Unmount the file system of that device number, except where it is mounted over."""
    for mount in mounted():
        seen = at(mount.mountpoint)
        if mount.device == device and seen is not None and seen.device == device:
            with suppress(OSError):
                detach(mount.mountpoint)


def prepare(mountpoint: str, *, nonempty: bool) -> str:
    """The absolute path of a directory to mount on; a dead xsfs mount there is removed.

    Raises:
        MountError: it cannot be mounted on.
    """
    path = os.path.realpath(mountpoint)
    found = at(path)
    is_ours = found is not None and found.fstype == FSTYPE
    try:
        mode = os.stat(path).st_mode
        if is_ours:
            # The kernel may answer the stat from its cache.
            os.statvfs(path)
    except FileNotFoundError:
        raise MountError(f"{mountpoint}: there is no such directory; make it first") from None
    except OSError as error:
        if not is_ours or error.errno not in _DEAD:
            raise MountError(f"{mountpoint}: {error.strerror}") from None
        try:
            detach(path)
        except OSError as failed:
            raise MountError(
                f"{mountpoint}: there is a dead xsfs mount that cannot be unmounted: "
                f"{failed.strerror}; as root: `umount -l {mountpoint}`"
            ) from None
        return prepare(mountpoint, nonempty=nonempty)
    if not stat.S_ISDIR(mode):
        raise MountError(f"{mountpoint}: not a directory")
    if is_ours:
        raise MountError(f"{mountpoint}: xsfs is mounted there already; unmount it first")
    # Listing an automount point would make systemd mount what is being mounted.
    if not nonempty and not (found and found.fstype == "autofs") and os.listdir(path):
        raise MountError(f"{mountpoint}: not empty; to hide what is in it, mount with -o nonempty")
    return path


def make_read_only(mountpoint: str) -> bool:
    """Make this one mount read-only, its superblock staying writable; False without privilege."""
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _kept_flags(mountpoint)
    return not _libc.mount(None, os.fsencode(mountpoint), None, flags, None)


def _kept_flags(mountpoint: str) -> int:
    """The flags of the mount to repeat, as a remount sets them all."""
    numbers = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048}
    numbers["relatime"] = 1 << 21
    mount = at(mountpoint)
    return sum(numbers.get(option, 0) for option in (mount.options if mount else "").split(","))
