# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One life of a connection, shared by many threads without a thread of its own.

Whoever waits reads: one of the waiting threads, the leader, polls the stream and hands
replies and events to those they are for; when it has what it waited for, another leads.
Thread-safe, but not to be used from signal handlers. Not here: the verbs (client.py), which
events a monitor wants to see (monitors.py), connecting anew (router.py).
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from xsfs import errors
from xsfs.errors import InvalidPayload, Timeout
from xsfs.protocol.connection import Conversation, Event, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsfs.connection import Stream
    from xsfs.protocol.requests import Request

# How much is read at a time, in bytes: enough for any reply that the protocol allows; for
# calls of many requests, for many of them.
_READ_SIZE = 8192
_BULK_READ_SIZE = 1 << 18
_BULK = 16


class Mailbox:
    """Where the events of some watches arrive, in the order of the stream."""

    __slots__ = ("events", "signal_fd", "waiters")

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.waiters: set[_EventWaiter] = set()
        # An eventfd, readable while there are events; -1 while nobody wants to poll.
        self.signal_fd = -1


class _Waiter:
    """A thread that waits until it is done, or for its turn to lead."""

    __slots__ = ("_alarm", "_ringing")

    def __init__(self) -> None:
        self._ringing = False
        self._alarm = threading.Lock()
        self._alarm.acquire()

    def done(self) -> bool:
        raise NotImplementedError

    def progress(self) -> int:
        """A number that changes when something came, though not yet all."""
        return 0

    def wake(self) -> None:
        """Let `sleep` return. Under the link's lock."""
        if not self._ringing:
            self._ringing = True
            self._alarm.release()

    def sleep(self, timeout_s: float | None) -> None:
        """Until woken, or for `timeout_s` seconds; may return for no reason."""
        if self._alarm.acquire(timeout=-1 if timeout_s is None else timeout_s):
            self._ringing = False


class _Call(_Waiter):
    """Requests sent together, waiting for all their results."""

    __slots__ = ("left", "results")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.results: list[object] = [None] * size
        self.left = size

    def done(self) -> bool:
        return not self.left

    def progress(self) -> int:
        return self.left

    def settle(self, index: int, result: object) -> None:
        self.results[index] = result
        self.left -= 1
        if not self.left:
            self.wake()


class _EventWaiter(_Waiter):
    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox

    def done(self) -> bool:
        return bool(self._mailbox.events)


class Link:
    """A stream, the requests in flight on it, and the threads that wait.

    Args:
        stream: just opened; owned by the link from now on.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        # Why the link is not usable any more.
        self._error: errors.ConnectionError | None = None
        self._conversation: Conversation[tuple[_Call, int]] = Conversation()
        self._outgoing: deque[memoryview] = deque()
        self._subscribers: dict[bytes, set[Mailbox]] = {}
        # In the order in which they will lead.
        self._waiters: dict[_Waiter, None] = {}
        self._led = False
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._polled = select.POLLIN
        self._poll = select.poll()
        self._poll.register(stream.fileno(), self._polled)
        self._poll.register(self._wake_fd, select.POLLIN)
        _links.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether it has been neither closed nor lost, as far as is known."""
        return self._error is None

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    def close(self) -> None:
        """End it; all who wait get an error."""
        with self._lock:
            self._fail(errors.ConnectionError(errno.ECONNABORTED, "the connection was closed"))

    def __del__(self) -> None:
        if hasattr(self, "_poll"):
            self.close()

    def call(
        self, requests: Sequence[Request[object]], tx_id: int, timeout_s: float
    ) -> list[object]:
        """Send the requests together; their results in order, errors as values.

        Raises:
            ConnectionError: closed or lost.
            Timeout: no reply to any of them came for `timeout_s` seconds.
        """
        call = _Call(len(requests))
        with self._lock:
            self._check()
            packets = []
            for index, request in enumerate(requests):
                try:
                    packets.append(self._conversation.send(request, tx_id, (call, index)))
                except InvalidPayload as error:
                    call.settle(index, error)
            self._queue(packets)
        self._wait(call, timeout_s, _READ_SIZE if len(requests) < _BULK else _BULK_READ_SIZE)
        return call.results

    def subscribe(self, token: bytes, mailbox: Mailbox) -> None:
        """Have events of watches with that token put into `mailbox`."""
        with self._lock:
            self._subscribers.setdefault(token, set()).add(mailbox)

    def unsubscribe(self, token: bytes, mailbox: Mailbox) -> None:
        """Take back what `subscribe` did."""
        with self._lock:
            mailboxes = self._subscribers[token]
            mailboxes.remove(mailbox)
            if not mailboxes:
                del self._subscribers[token]

    def take(self, mailbox: Mailbox, timeout_s: float | None) -> Event:
        """The next event in `mailbox`, waited for.

        Raises:
            ConnectionError: closed or lost, and all events taken.
            Timeout: none came within `timeout_s` seconds.
        """
        waiter = _EventWaiter(mailbox)
        while True:
            with self._lock:
                if mailbox.events:
                    event = mailbox.events.popleft()
                    if mailbox.signal_fd >= 0 and not mailbox.events:
                        os.eventfd_read(mailbox.signal_fd)
                    return event
                mailbox.waiters.add(waiter)
            try:
                self._wait(waiter, timeout_s, _READ_SIZE)
            finally:
                with self._lock:
                    mailbox.waiters.discard(waiter)

    def add_signal(self, mailbox: Mailbox) -> int:
        """A descriptor that is readable while there are events in `mailbox`."""
        with self._lock:
            flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
            mailbox.signal_fd = os.eventfd(bool(mailbox.events), flags)
            return mailbox.signal_fd

    def close_signal(self, mailbox: Mailbox) -> None:
        """Close the descriptor that `add_signal` gave."""
        with self._lock:
            os.close(mailbox.signal_fd)
            mailbox.signal_fd = -1

    # -- waiting ------------------------------------------------------------------------------

    def _wait(self, waiter: _Waiter, timeout_s: float | None, read_size: int) -> None:
        leads = False
        left_s = timeout_s
        deadline = monotonic() + (timeout_s or 0.0)
        progress = waiter.progress()
        try:
            while True:
                with self._lock:
                    if waiter.done():
                        return
                    self._check()
                    self._waiters[waiter] = None
                    if not self._led:
                        self._led = leads = True
                if leads:
                    self._lead(left_s, read_size)
                else:
                    waiter.sleep(left_s)
                if timeout_s is None or waiter.done():
                    continue
                left_s = deadline - monotonic()
                if left_s <= 0:
                    if progress == waiter.progress():
                        raise Timeout(errno.ETIMEDOUT, f"nothing came within {timeout_s:g} s")
                    progress = waiter.progress()
                    left_s = timeout_s
                    deadline = monotonic() + timeout_s
        finally:
            with self._lock:
                self._waiters.pop(waiter, None)
                if leads:
                    self._led = False
                    if self._error is not None:
                        self._release()
                if self._waiters and not self._led:
                    next(iter(self._waiters)).wake()

    def _lead(self, timeout_s: float | None, read_size: int) -> None:
        """Wait until the stream has something, and take it."""
        ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        with self._lock:
            if self._error is not None:
                return
            for fd, _ in ready:
                if fd == self._wake_fd:
                    os.eventfd_read(fd)
                else:
                    self._receive(read_size)
            if self._outgoing and self._error is None:
                self._flush()

    # -- under the lock -----------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            # One of its own for each thread: raising writes the traceback into it.
            raise type(self._error)(*self._error.args)

    def _fail(self, error: errors.ConnectionError) -> None:
        """Let nobody wait any more; the first reason is the one that counts."""
        if self._error is not None:
            return
        self._error = error
        for waiter in self._waiters:
            waiter.wake()
        if self._led:
            # A descriptor that is being polled is closed by the one who polls it.
            os.eventfd_write(self._wake_fd, 1)
        else:
            self._release()

    def _release(self) -> None:
        _links.discard(self)
        self._stream.close()
        os.close(self._wake_fd)

    def _queue(self, packets: list[bytes]) -> None:
        """Send, or leave to the leader to send, in order."""
        pieces = packets if self._stream.one_packet_a_write else [b"".join(packets)]
        self._outgoing.extend(memoryview(piece) for piece in pieces if piece)
        self._flush()
        if self._outgoing and self._led and self._error is None:
            os.eventfd_write(self._wake_fd, 1)

    def _flush(self) -> None:
        try:
            while self._outgoing:
                piece = self._outgoing[0]
                sent = self._stream.send(piece)
                if sent == len(piece):
                    self._outgoing.popleft()
                else:
                    self._outgoing[0] = piece[sent:]
        except BlockingIOError:
            pass
        except BaseException as error:
            self._broken(error)
        polled = select.POLLIN | select.POLLOUT if self._outgoing else select.POLLIN
        if polled != self._polled and self._error is None:
            self._polled = polled
            self._poll.modify(self._stream.fileno(), polled)

    def _receive(self, size: int) -> None:
        try:
            data = self._stream.receive(size)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the store closed the connection")
            for item in self._conversation.receive(data):
                if isinstance(item, Reply):
                    call, index = item.tag
                    call.settle(index, item.result)
                else:
                    self._deliver(item)
        except BlockingIOError:
            pass
        except BaseException as error:
            self._broken(error)

    def _deliver(self, event: Event) -> None:
        for mailbox in self._subscribers.get(event.token, ()):
            if mailbox.signal_fd >= 0 and not mailbox.events:
                os.eventfd_write(mailbox.signal_fd, 1)
            mailbox.events.append(event)
            for waiter in mailbox.waiters:
                waiter.wake()

    def _broken(self, error: BaseException) -> None:
        """The stream cannot be gone on with: lost, not understood, or left in the middle."""
        if isinstance(error, errors.ConnectionError):
            self._fail(error)
        elif isinstance(error, OSError):
            self._fail(errors.ConnectionError(error.errno, f"connection lost: {error.strerror}"))
        else:
            self._fail(errors.ConnectionError(errno.EPROTO, f"interrupted: {error!r}"))
            raise error

    def disown(self) -> None:
        """In a forked child: let go of what belongs to the parent."""
        self._lock = threading.Lock()
        if self._error is None:
            self._error = errors.ConnectionError(
                errno.ENOTCONN, "a connection is not shared with a forked child; connect anew"
            )
        self._led = False
        self._release()


_links: WeakSet[Link] = WeakSet()


def _disown_all() -> None:
    for link in list(_links):
        link.disown()


os.register_at_fork(after_in_child=_disown_all)
