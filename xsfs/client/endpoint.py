# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Where the store is, and the stream of bytes to it: a unix socket or the XenBus device.

Not here: packets and their meaning, waiting. A stream never blocks and is not thread-safe; its
owner serialises and polls. Descriptors are close-on-exec.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Protocol

from xsfs import errors
from xsfs.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

# Where xenstored listens, and where a guest's kernel offers its store (Xen's default paths;
# Linux, drivers/xen/xenbus). Looked for in this order.
SOCKETS = ("/run/xenstored/socket", "/var/run/xenstored/socket")
DEVICES = ("/dev/xen/xenbus", "/proc/xen/xenbus")

# The placeholders for the source in fstab lines that name none.
PLACEHOLDERS = frozenset({"none", "xsfs", "xenstore"})


class Stream(Protocol):
    """An open connection: bytes both ways, never blocking."""

    # Whether a write must hold one packet and nothing of the next.
    one_packet_a_write: bool
    # Whether an event may come after the reply to a later request.
    delays_events: bool

    def fileno(self) -> int:
        """The descriptor, to poll."""

    def receive(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end of the stream.

        Raises:
            BlockingIOError: nothing is there yet.
            OSError: the connection is lost.
        """

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes of `data` were taken.

        Raises:
            BlockingIOError: none, for now.
            OSError: the connection is lost.
        """

    def close(self) -> None:
        """Close the descriptor; copies in other processes stay open."""


class _SocketStream:
    one_packet_a_write = False
    delays_events = False

    def __init__(self, path: str, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A daemon that does not accept lets connect() block; this bounds it.
            self._socket.setblocking(timeout_s > 0)
            timeval = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000) or 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
            self._socket.connect(path)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, size: int) -> bytes:
        return self._socket.recv(size)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes | memoryview) -> int:
        # A lost store must not kill a program that has SIGPIPE at its default.
        return self._socket.send(data, socket.MSG_NOSIGNAL)


class _DeviceStream:
    # Linux's driver drops what follows the first packet of a write (xenbus_dev_frontend.c).
    one_packet_a_write = True
    # Linux passes replies on at once, but events by the thread that also runs the watch callbacks
    # of all drivers, one after the other (xenwatch_thread in xenbus_xs.c).
    delays_events = True

    def __init__(self, path: str) -> None:
        # Read-write also to read (xen 27be7560a5); a terminal must not become our controlling one.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def receive(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def send(self, data: bytes | memoryview) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


class Endpoint:
    """Where a store is; `open` connects to it.

    Args:
        path: of the socket or device; found as `find` does when None.
    """

    path: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def open(self, timeout_s: float) -> Stream:
        """A new stream to the store.

        Args:
            timeout_s: how long to wait for a store that does not accept, in seconds; 0 not
                at all.

        Raises:
            ConnectionError: there is none, or access is denied.
            Timeout: it did not accept.
        """
        try:
            return self._stream(timeout_s)
        except BlockingIOError as error:
            text = f"not accepted within {timeout_s:g} s"
            raise Timeout(errno.ETIMEDOUT, text, self.path) from error
        except OSError as error:
            raise errors.of_connection(error, self.path) from error

    def _stream(self, timeout_s: float) -> Stream:
        raise NotImplementedError


class UnixSocketConnection(Endpoint):
    """The socket on which xenstored listens."""

    def __init__(self, path: str | bytes | os.PathLike[str] | None = None) -> None:
        self.path = _default_socket() if path is None else os.fsdecode(path)

    def _stream(self, timeout_s: float) -> Stream:
        return _SocketStream(self.path, timeout_s)


class XenBusConnection(Endpoint):
    """The kernel's device, or any other character device that speaks the wire protocol."""

    def __init__(self, path: str | bytes | os.PathLike[str] | None = None) -> None:
        self.path = _first(DEVICES) or DEVICES[0] if path is None else os.fsdecode(path)

    def _stream(self, timeout_s: float) -> Stream:
        if _is_a(stat.S_ISSOCK, self.path):
            return _SocketStream(self.path, timeout_s)
        return _DeviceStream(self.path)


class NoStore(errors.ConnectionError):
    """No store was named, and there is none at the usual places."""


def find(source: str | None = None) -> UnixSocketConnection | XenBusConnection:
    """The endpoint of the store.

    Args:
        source: a socket or a device; a placeholder or None means to look for it:
            $XENSTORED_PATH, else $XENSTORED_RUNDIR/socket, else SOCKETS, else DEVICES.
            What is named, by `source` or the environment, is not checked for existence.

    Raises:
        NoStore: none is named and none exists; the text lists what was tried.
    """
    named = source if source not in PLACEHOLDERS else None
    named = named or _named_by_environment()
    if named is not None:
        # The one in /proc looks like a regular file.
        is_device = named in DEVICES or _is_a(stat.S_ISCHR, named)
        return XenBusConnection(named) if is_device else UnixSocketConnection(named)
    if path := _first(SOCKETS):
        return UnixSocketConnection(path)
    if path := _first(DEVICES):
        return XenBusConnection(path)
    raise NoStore(
        errno.ENOENT,
        "no XenStore found; tried $XENSTORED_PATH, $XENSTORED_RUNDIR, "
        + ", ".join(SOCKETS + DEVICES),
    )


def _named_by_environment() -> str | None:
    if path := os.environ.get("XENSTORED_PATH"):
        return path
    if folder := os.environ.get("XENSTORED_RUNDIR"):
        return os.path.join(folder, "socket")
    return None


def _default_socket() -> str:
    return _named_by_environment() or _first(SOCKETS) or SOCKETS[-1]


def _first(paths: tuple[str, ...]) -> str | None:
    return next((path for path in paths if os.path.exists(path)), None)


def _is_a(kind: Callable[[int], bool], path: str) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except OSError:
        return False
