# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The log of a daemon: a bounded queue, and a thread that writes what is in it.

A log that nobody reads stalls that thread alone: no request waits for it, and neither does the
daemon's end. What finds the queue full is dropped and counted. What libfuse and Python write to
standard error takes the same way.
"""

from __future__ import annotations

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
    """Takes records from any thread, and writes them from one of its own.

    Args:
        sink: writes a record, however long it takes; called by the one thread alone.
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
        """How many records have not been written, and never will be."""
        return self._refused + self._failed

    def enqueue(self, record: logging.LogRecord) -> None:
        """Add to the queue, or drop; never waits."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._refused += 1

    def _write(self) -> None:
        told = 0
        while record := self.queue.get():
            self._emit(record)
            dropped = self.dropped
            if dropped > told and self.queue.qsize() < _WAITING_MAX // 2:
                text = f"{dropped - told} lines of the log were dropped: it took no more for a time"
                if self._emit(self.prepare(_warning(text))):
                    told = dropped

    def _emit(self, record: logging.LogRecord) -> bool:
        # Not `handle`: its lock would be held for as long as the log stalls, and the end of the
        # process waits for that.
        try:
            self._sink.emit(record)
        except Exception:
            self._failed += 1
            return False
        return True

    def finish(self, timeout_s: float = _FINISHING_S) -> None:
        """Write what waits, for at most so long."""
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
    # Never closed: the thread may write there to the end of the process.
    with _logging(_Descriptor(os.dup(_STDERR)), form, options) as handler:
        yield handler


@contextmanager
def to_syslog(options: MountOptions) -> Iterator[Log]:
    """Log to the system's log, where there is one; standard error is given up."""
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
    logging.getLogger("xsfs").setLevel(logging.DEBUG if options.debug else logging.INFO)
    try:
        with _stderr_logged():
            yield handler
    finally:
        handler.finish()


@contextmanager
def _stderr_logged() -> Iterator[None]:
    """Have a thread log what is written to descriptor 2, each line a warning."""
    lines, written = os.pipe2(os.O_CLOEXEC)
    # Who writes more than the pipe takes loses it, rather than wait.
    os.set_blocking(written, False)
    kept = os.dup(_STDERR)
    os.dup2(written, _STDERR)
    os.close(written)
    thread = threading.Thread(target=_log_lines, args=(lines,), name="stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # The last that holds the pipe, so the thread reads to its end.
        os.dup2(kept, _STDERR)
        os.close(kept)
        thread.join(_FINISHING_S)


def _log_lines(lines: int) -> None:
    with open(lines, "rb") as file:
        for line in file:
            # Escaped: what a guest wrote may be part of it.
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
                # Somebody who has it too set it to be non-blocking.
                select.select([], [self._fd], [])


class _Syslog(logging.handlers.SysLogHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Raises: what `emit` met, for Log to count."""
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
    """Whether what is written there goes to systemd's journal (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    found = os.fstat(fd)
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
