# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The process that serves a mount, in the foreground or in the background.

Here it starts, reports that the mount is ready, and ends; session.py serves the mount, log.py
writes the log. In the background the calling process waits until the mount answers. The fork
happens while there is one thread, and only the child imports what takes long to load.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from xsfs.errors import first_of
from xsfs.mount import log as logs
from xsfs.mount.errors import EXPECTED, MountError, explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.mount.options import MountOptions

log = logging.getLogger(__name__)

# How long the caller waits for the mount to answer, on top of `timeout=`, in seconds.
_START_S = 20

# After how many collections of the middle generation there is a full one.
_FULL_COLLECTIONS = 50


def foreground(source: str | None, mountpoint: str, options: MountOptions) -> None:
    """Mount and serve, log to standard error; notify systemd when the mount is ready.

    Raises:
        MountError, OSError: it could not be mounted.
    """
    with logs.to_stderr(options) as handler:
        _serve(source, mountpoint, options, handler, _notify_systemd)


def background(source: str | None, mountpoint: str, options: MountOptions) -> None:
    """Start a daemon that mounts and serves; return when the mount answers.

    Raises:
        MountError: what the daemon could not do.
    """
    result, report = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(result)
        _run_daemon(source, mountpoint, options, report)
    os.close(report)
    wait_s = _START_S + options.timeout_s
    try:
        reported = _read_report(result, wait_s)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        raise
    if reported is None:
        os.kill(pid, signal.SIGTERM)
        raise MountError(f"{mountpoint}: not ready within {wait_s:g} s; see the system's log")
    if not reported.endswith(b"\n"):
        os.waitpid(pid, 0)
        raise MountError(
            os.fsdecode(reported)
            or f"{mountpoint}: the daemon died while mounting; see the system's log"
        )
    if warning := os.fsdecode(reported).strip():
        print(f"xsfs: {warning}", file=sys.stderr)
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        raise MountError(
            f"{mountpoint}: mounted, but {explain(error)}; see the system's log"
        ) from error


def _read_report(result: int, timeout_s: float) -> bytes | None:
    """All that the daemon writes until it closes the pipe; None after `timeout_s` without any.

    It ends with a newline, perhaps after a warning, when the mount is ready; else it is an error.
    """
    reported = b""
    while select.select([result], [], [], timeout_s)[0]:
        piece = os.read(result, 4096)
        if not piece:
            return reported
        reported += piece
    return None


def _run_daemon(
    source: str | None, mountpoint: str, options: MountOptions, report: int
) -> NoReturn:
    status = 1
    caller = open(report, "wb", buffering=0)  # noqa: SIM115 - closed when the mount is ready

    def ready(warning: str) -> None:
        # Not earlier: only the process group of mount(8) may touch an automount point before it
        # is mounted; any other waits for the mount (autofs, `pgrp=`).
        os.setsid()
        os.chdir("/")
        with open(os.devnull, "r+b", buffering=0) as null:
            for fd in (0, 1):
                os.dup2(null.fileno(), fd)
        with caller:
            caller.write(f"{warning}\n".encode())

    try:
        with logs.to_syslog(options) as handler:
            try:
                _serve(source, mountpoint, options, handler, ready)
                status = 0
            except BaseException as error:
                if isinstance(error, EXPECTED):
                    log.error("%s", explain(error))
                else:
                    log.exception("the daemon ends by an error of its own: please report this")
                if not caller.closed:
                    caller.write(os.fsencode(explain(error)))
    finally:
        os._exit(status)


def _serve(
    source: str | None,
    mountpoint: str,
    options: MountOptions,
    handler: logs.Log,
    ready: Callable[[str], None],
) -> None:
    import trio

    from xsfs.mount.session import Session

    session = Session.of(source, mountpoint, options, handler)
    # Full collections hold everybody up, by some 70 ms for 100,000 known nodes, which are freed
    # without: they are to be rare, and not to look at what was there from the start.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTIONS)
    try:
        # Elsewhere an interrupt would leave an event with a task that waits for it no more.
        trio.run(session.serve, ready, restrict_keyboard_interrupt_to_checkpoints=True)
    except BaseExceptionGroup as group:
        raise first_of(group) from group


def _notify_systemd(_: str) -> None:
    """Tell systemd READY=1, when it started us as Type=notify (sd_notify(3))."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(b"READY=1", address.replace("@", "\0", 1))
