# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The log of a daemon: a bounded queue, and a thread that writes what is in it.

A log that is not read stalls only that thread: no request waits for it, nor does the daemon's end.
Lines that find the queue full are dropped and counted. What libfuse and Python write to standard
error goes through the same queue.
"""

from __future__ import annotations

import errno
import logging
import logging.handlers
import os
import queue
import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.mount.options import MountOptions

log = logging.getLogger(__name__)

# How many lines may wait to be written. With -d one has at most some 10 KiB.
_WAITING_MAX = 1024

# How long the end of the daemon waits for what is still to be written, in seconds.
_FINISHING_S = 1.0

_STDERR = 2


class Log(logging.handlers.QueueHandler):
    """Takes records from any thread, and writes them from a thread of its own.

    Args:
        sink: writes a record, and may block; called by that thread alone.
    """

    queue: queue.Queue[logging.LogRecord | None]

    def __init__(self, sink: logging.Handler) -> None:
        super().__init__(queue.Queue(_WAITING_MAX))
        self._sink = sink
        self._refused = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many records were dropped."""
        return self._refused + self._failed

    def enqueue(self, record: logging.LogRecord) -> None:
        """Add to the queue, or drop; never waits."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._refused += 1

    def _write(self) -> None:
        reported = 0
        while record := self.queue.get():
            self._emit(record)
            dropped = self.dropped
            if dropped > reported and self.queue.qsize() < _WAITING_MAX // 2:
                text = (
                    f"{dropped - reported} lines of the log were dropped: it was not read in time"
                )
                if self._emit(self.prepare(_warning(text))):
                    reported = dropped

    def _emit(self, record: logging.LogRecord) -> bool:
        # Not `handle`: its lock would be held while the log stalls, and the end of the process
        # waits for that lock.
        try:
            self._sink.emit(record)
        except Exception:
            self._failed += 1
            return False
        return True

    def finish(self, timeout_s: float = _FINISHING_S) -> None:
        """Write what is queued, for a limited time."""
        try:
            self.queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)


def _warning(text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)


@contextmanager
def to_stderr(options: MountOptions) -> Iterator[Log]:
    """Log to what is standard error now, in the journal's form when it leads there."""
    form = _JournalFormatter() if _is_journal(_STDERR) else logging.Formatter(_FORM)
    # Never closed: the thread may write to it until the end of the process.
    with _logging(_Descriptor(os.dup(_STDERR)), form, options) as handler:
        yield handler


@contextmanager
def to_syslog(options: MountOptions) -> Iterator[Log]:
    """Log to the system's log, if there is one, and no longer to standard error."""
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), _STDERR)
    sink: logging.Handler = logging.NullHandler()
    if os.path.exists("/dev/log"):
        sink = _Syslog("/dev/log", _Syslog.LOG_DAEMON)
    with _logging(sink, logging.Formatter("xsfs[%(process)d]: %(message)s"), options) as handler:
        yield handler


@contextmanager
def _logging(
    sink: logging.Handler, form: logging.Formatter, options: MountOptions
) -> Iterator[Log]:
    handler = Log(sink)
    handler.setFormatter(form)
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("pyfuse3").addFilter(_is_no_late_reply)
    logging.getLogger("xsfs").setLevel(logging.DEBUG if options.debug else logging.INFO)
    try:
        with _stderr_logged():
            yield handler
    finally:
        handler.finish()


def _is_no_late_reply(record: logging.LogRecord) -> bool:
    """Leave out that a reply came after its request had ended, as at an umount.

    Then write(2) to /dev/fuse is ENOENT, of which libfuse says nothing, but pyfuse3 does.
    """
    message = record.getMessage()
    return "fuse_reply_" not in message or os.strerror(errno.ENOENT) not in message


@contextmanager
def _stderr_logged() -> Iterator[None]:
    """Log what is written to descriptor 2, in a thread, each line as a warning."""
    lines, written = os.pipe2(os.O_CLOEXEC)
    # What the pipe cannot take is lost, so that no writer waits.
    os.set_blocking(written, False)
    kept = os.dup(_STDERR)
    os.dup2(written, _STDERR)
    os.close(written)
    thread = threading.Thread(target=_log_lines, args=(lines,), name="stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # The last descriptor of the pipe: closing it makes the thread read to the end.
        os.dup2(kept, _STDERR)
        os.close(kept)
        thread.join(_FINISHING_S)


def _log_lines(lines: int) -> None:
    with open(lines, "rb") as file:
        for line in file:
            # Escaped: part of it may come from a guest.
            log.warning("%s", line.rstrip().decode("latin-1").encode("unicode_escape").decode())


class _Descriptor(logging.Handler):
    """Writes lines to a descriptor, without the locks of a file object."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        """Raises: OSError."""
        left = f"{record.getMessage()}\n".encode(errors="backslashreplace")
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                # Another process that shares it has made it non-blocking.
                select.select([], [self._fd], [])


class _Syslog(logging.handlers.SysLogHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the error of `emit`, so that Log counts the record as dropped."""
        raise


# -- forms ------------------------------------------------------------------------------------

_FORM = "xsfs: %(levelname)s: %(message)s"


class _JournalFormatter(logging.Formatter):
    """Lines whose level the journal understands (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Each line of the record after its level."""
        level = next((number for least, number in _SYSLOG if record.levelno >= least), 7)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())


# Python's levels and syslog(3)'s; what is below is for debugging, 7.
_SYSLOG = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def _is_journal(fd: int) -> bool:
    """Whether a descriptor leads to systemd's journal (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    found = os.fstat(fd)
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
