# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The helper process: performs operations on the mount, each of which raises one inotify event.

Linux raises inotify events only for operations that pass through the kernel, so a process must
perform them. It must be a separate one, without the /dev/fuse descriptor: a thread of the daemon,
killed in the middle of such an operation, would leave a mount on which every process hangs. The
daemon knows this process by its id, and answers its requests without touching the store.

Run as a script, by its path: it imports nothing of xsfs, so that it starts quickly. It reads
orders from a socket (standard input), one packet each: the letter of an injection, and a path
relative to the mountpoint. It answers each with its errno, in order.

It also watches for the daemon's death, to free processes that would hang: see `guard`.

It never touches what is under the mountpoint after an unmount, nor a later mount, to which the
kernel may give the same device number: with CAP_SYS_ADMIN it works through a detached clone of the
mount; else it opens the mountpoint anew for each injection, and checks the device number, which
stays the mount's own as long as an inotify watch on its root does not end.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import select
import signal
import socket
import stat
import struct
import sys
import threading
import time

_libc = ctypes.CDLL(None, use_errno=True)

# Numbers of the generic system call table (include/uapi/asm-generic/unistd.h), equal on all
# architectures but alpha.
_SYS_OPEN_TREE = 428
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_MOUNT_SETATTR = 442
# linux/mount.h
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOUNT_ATTR_RDONLY = 1
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
# linux/fcntl.h
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
# linux/inotify.h
_IN_DELETE_SELF = 0x400
# linux/stat.h
_UTIME_NOW = (1 << 30) - 1
_UTIME_OMIT = (1 << 30) - 2


def clone_mount(mountpoint: bytes) -> int:
    """A descriptor of a writable, detached clone of the mount; OSError without the privilege."""
    fd: int = _libc.syscall(
        _SYS_OPEN_TREE, _AT_FDCWD, mountpoint, _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    )
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_tree")
    writable = struct.pack("=QQQQ", 0, _MOUNT_ATTR_RDONLY, 0, 0)
    _libc.syscall(_SYS_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, writable, len(writable))
    return fd


def set_times(directory: int, path: bytes, *, access: bool) -> None:
    """utimensat(2): both times, or only the modification time."""
    times = struct.pack("@llll", 0, _UTIME_NOW if access else _UTIME_OMIT, 0, _UTIME_NOW)
    if _libc.utimensat(directory, path, times, 0):
        raise OSError(ctypes.get_errno(), "utimensat")


def modify(directory: int, path: bytes) -> None:
    """Raise OPEN, MODIFY, CLOSE_WRITE; only MODIFY if the file may not be opened for writing."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except PermissionError:
        set_times(directory, path, access=False)
        return
    try:
        # Not ftruncate(2), which raises no fanotify event (fsnotify_change names no path).
        os.pwrite(fd, b"\n", 0)
    finally:
        os.close(fd)


def perform(directory: int, injection: bytes, path: bytes) -> None:
    """Perform one injection; OSError if it fails."""
    match injection:
        case b"M":
            modify(directory, path)
        case b"T":
            set_times(directory, path, access=False)
        case b"A":
            set_times(directory, path, access=True)
        case b"F":
            os.mknod(path, stat.S_IFREG | 0o644, dir_fd=directory)
        case b"D":
            os.mkdir(path, 0o755, dir_fd=directory)
        case b"U":
            os.unlink(path, dir_fd=directory)
        case b"R":
            os.rmdir(path, dir_fd=directory)


def mountpoints(device: int) -> list[bytes]:
    """Where the root of the file system of that device number is mounted, uppermost first."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    found = []
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            # proc(5): id, parent, major:minor, root, mountpoint. A root that is not / is a
            # bind mount of a part.
            fields = line.split(b" ", 5)
            if fields[2] == number and fields[3] == b"/":
                found.append(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), fields[4]))
    return found[::-1]


def watch_root(directory: int) -> int:
    """An inotify instance that can be read when the file system of that root is no more.

    The kernel ends the watch before it frees the device number (kill_anon_super in fs/super.c),
    and no unmount fails for it. Its one event never happens to a root.
    """
    inotify: int = _libc.inotify_init1(os.O_CLOEXEC)
    if inotify < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if _libc.inotify_add_watch(inotify, b"/proc/self/fd/%d" % directory, _IN_DELETE_SELF) < 0:
        number = ctypes.get_errno()
        os.close(inotify)
        raise OSError(number, "inotify_add_watch")
    return inotify


def open_abort(device: int) -> int:
    """A descriptor of the connection's `abort` file; OSError without the privilege.

    fs/fuse/control.c: it is named by the minor device number; but a descriptor belongs to the one
    connection, and a write to it does nothing once that is gone.
    """
    name = b"%d/abort" % os.minor(device)
    # In a detached mount of fusectl, as it may not be mounted here, as in containers; and one that
    # is mounted could not be unmounted while this is open.
    context = _libc.syscall(_SYS_FSOPEN, b"fusectl", _FSOPEN_CLOEXEC)
    _libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
    root = _libc.syscall(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    try:
        if root < 0:
            return os.open(b"/sys/fs/fuse/connections/" + name, os.O_WRONLY | os.O_CLOEXEC)
        return os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    finally:
        for fd in (context, root):
            if fd >= 0:
                os.close(fd)


class Mount:
    """The mount, reached only in ways that never touch another."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._clone = self._watch = self._abort = -1

    def attach(self) -> None:
        """Take hold of the mount. Nothing is held if the daemon is ending already."""
        for mountpoint in mountpoints(self._device):
            with contextlib.suppress(OSError):
                if self._attach(mountpoint):
                    return

    def _attach(self, mountpoint: bytes) -> bool:
        """Take hold of the mount at a mountpoint; False if another is mounted over it."""
        clone = -1
        try:
            root = clone = clone_mount(mountpoint)
        except OSError:
            root = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.fstat(root).st_dev != self._device:
                return False
            # While this is open, the device number is given to no other.
            with contextlib.suppress(OSError):
                self._abort = open_abort(self._device)
            if clone >= 0:
                self._clone = os.dup(clone)
            else:
                self._watch = watch_root(root)
            return True
        finally:
            os.close(root)

    def injection(self, injection: bytes, path: bytes) -> int:
        """Perform an injection; its errno, 0 when done."""
        try:
            if self._clone >= 0:
                perform(self._clone, injection, path)
                return 0
            for mountpoint in mountpoints(self._device):
                directory = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    # Another file system may be mounted over it. That the number is still the
                    # mount's is asked while this is open, which keeps it so.
                    if os.fstat(directory).st_dev == self._device and self._is_alive():
                        perform(directory, injection, path)
                        return 0
                finally:
                    os.close(directory)
        except OSError as error:
            return error.errno or errno.EIO
        except ValueError:
            # A NUL in the path, which no node has.
            return errno.EINVAL
        return errno.ESTALE

    def _is_alive(self) -> bool:
        """Whether the device number is known to be still the mount's."""
        return self._watch >= 0 and not select.select([self._watch], [], [], 0)[0]

    def abort(self) -> None:
        """Make every request to the file system fail from now on. It stays mounted."""
        if self._abort >= 0:
            os.write(self._abort, b"1")

    def is_attached(self) -> bool:
        """Whether it is still mounted anywhere."""
        number = b"%d:%d" % (os.major(self._device), os.minor(self._device))
        with open("/proc/self/mountinfo", "rb") as lines:
            return any(line.split(b" ", 3)[2] == number for line in lines)

    def release(self) -> None:
        """Close the clone, so that an umount can complete."""
        if self._clone >= 0:
            os.close(self._clone)
            self._clone = -1


# How long a daemon may take to end, in seconds.
_ENDING_S = 0.3

# The signal that the daemon died, and how often to check in case it is missed, in seconds.
_DEATH = signal.SIGUSR1
_LOOK_S = 60.0


def look_at(pid: int) -> tuple[bytes, bool, bool]:
    """When a process started; whether it was killed; whether a thread of it is still alive.

    For an id that no process has, the start is empty.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # proc(5), from the third field on.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return b"", True, False
    return fields[19], fields[0] == b"Z", int(fields[17]) > 1


def guard(mount: Mount, pid: int, look_s: float) -> None:
    """Watch the daemon until it ends; abort the connection if it was killed and cannot end.

    A thread of the daemon that makes the kernel drop a directory entry waits, uninterruptibly,
    for a lock that the sender of a request to the daemon may hold. If the daemon is killed at
    that moment, it keeps /dev/fuse open, and all processes that use the mount wait for ever,
    unless another process aborts the connection.
    """
    started = look_at(pid)[0]
    while (seen := look_at(pid)) != (started, True, False) and seen[0] == started:
        if seen[1]:
            time.sleep(_ENDING_S)
            if look_at(pid) == (started, True, True):
                with contextlib.suppress(OSError):
                    mount.abort()
        signal.sigtimedwait({_DEATH}, look_s)


def serve(orders: socket.socket, mount: Mount) -> None:
    """Carry out orders until the daemon hangs up or the mount is gone."""
    mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    poll.register(mounts, select.POLLERR | select.POLLPRI)
    orders.send(struct.pack("=i", 0))
    while True:
        ready = dict(poll.poll())
        if mounts in ready and not mount.is_attached():
            return
        if 0 in ready:
            order = orders.recv(1 << 16)
            if not order:
                return
            orders.send(struct.pack("=i", mount.injection(order[:1], order[1:])))


def main(device: int, pid: int) -> None:
    """Serve a daemon; afterwards watch it until it has ended.

    The daemon's id is an argument, as getppid(2) would not give it if it was killed already.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {_DEATH})
    _libc.prctl(_PR_SET_PDEATHSIG, _DEATH)
    mount = Mount(device)
    threading.Thread(target=guard, args=(mount, pid, _LOOK_S), daemon=True).start()
    mount.attach()
    with socket.socket(fileno=0) as orders:
        # The daemon may hang up at any moment.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            serve(orders, mount)
        mount.release()
        # The daemon waits for this process before it ends, and is to be watched until then.
        if os.fork():
            os._exit(0)
    guard(mount, pid, _ENDING_S)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
