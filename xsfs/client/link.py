# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One life of a connection, shared by many threads without a thread of its own.

One of the waiting threads, the leader, reads the stream and hands replies and events to the
threads that wait for them; when it has its own, another becomes the leader.
Thread-safe, but not to be used from signal handlers. Not here: the verbs (client.py), which
events a monitor wants to see (monitors.py), connecting anew (router.py).
"""

from __future__ import annotations

import errno
import os
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING
from weakref import WeakSet

from xsfs import errors
from xsfs.client.channel import Channel
from xsfs.client.polling import READABLE, WRITABLE, poller
from xsfs.client.waiters import Mailbox, Waiter
from xsfs.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsfs.client.endpoint import Stream
    from xsfs.protocol.conversation import Event
    from xsfs.protocol.requests import Request

# How much is read at a time, in bytes: more than any reply that the protocol allows.
_READ_SIZE = 8192

# How long to spin for the reply to a single request before going to sleep for it, in
# seconds, and for how long not to spin again if it did not come. xenstored answers within
# microseconds, in two writes, which would wake a sleeping thread twice.
_SPIN_S = 3e-4
_DO_NOT_SPIN_S = 0.1

# From this many replies on, let them gather for a while (in seconds) instead of being woken
# for each, and read more at a time. No longer: a socket holds some 50 replies.
_BULK = 64
_GATHER_S = 1e-4
_BULK_READ_SIZE = 1 << 16


class Link:
    """A stream, the requests in flight on it, and the threads that wait.

    Args:
        stream: just opened; owned by the link from now on.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        # Why the link cannot be used any more.
        self._error: errors.ConnectionError | None = None
        self._channel: Channel[Waiter] = Channel(stream)
        self._polls_output = False
        self._subscribers: dict[bytes, set[Mailbox]] = {}
        self._is_led = False
        # The threads that do not lead, in the order in which they will.
        self._waiters: dict[Waiter, None] = {}
        self._spin_again_at = 0.0
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = poller()
        self._poll.register(stream.fileno(), READABLE)
        self._poll.register(self._wake_fd, READABLE)
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

    # -- requests and events --------------------------------------------------------------------

    def call(
        self, requests: Sequence[Request[object]], tx_id: int, timeout_s: float
    ) -> list[object]:
        """Send the requests together; their results in order, errors as values.

        Raises:
            ConnectionError: closed or lost.
            Timeout: no reply to any of them came for `timeout_s` seconds.
        """
        waiter = Waiter(len(requests))
        with self._lock:
            self._check()
            self._send(requests, tx_id, waiter)
            leads = self._take_lead()
        self._wait(waiter, timeout_s, leads)
        return waiter.results

    def subscribe(self, token: bytes, mailbox: Mailbox) -> None:
        """Have events of watches with that token put into `mailbox`."""
        with self._lock:
            self._subscribers.setdefault(token, set()).add(mailbox)

    def unsubscribe(self, token: bytes, mailbox: Mailbox) -> None:
        """Undo `subscribe`."""
        with self._lock:
            mailboxes = self._subscribers.get(token, set())
            mailboxes.discard(mailbox)
            if not mailboxes:
                self._subscribers.pop(token, None)

    def take(self, mailbox: Mailbox, timeout_s: float | None) -> Event:
        """The next event in `mailbox`, waited for.

        Raises:
            ConnectionError: closed or lost, and all events taken.
            Timeout: none came within `timeout_s` seconds.
        """
        while True:
            with self._lock:
                if mailbox.events:
                    event = mailbox.events.popleft()
                    if mailbox.signal_fd >= 0 and not mailbox.events:
                        os.eventfd_read(mailbox.signal_fd)
                    return event
                leads = self._take_lead()
                waiter = Waiter(1)
                mailbox.waiters.add(waiter)
            try:
                self._wait(waiter, timeout_s, leads, is_brief=False)
            finally:
                with self._lock:
                    mailbox.waiters.discard(waiter)

    def poll_fd(self, mailbox: Mailbox) -> int:
        """A descriptor that is readable when `take` may have an event; to poll, not to read."""
        with self._lock:
            self._check()
            return mailbox.open_poll(self._stream.fileno())

    def close_poll(self, mailbox: Mailbox) -> None:
        """Close the descriptor that `poll_fd` gave, if it did."""
        with self._lock:
            mailbox.close_poll()

    # -- waiting ------------------------------------------------------------------------------

    def _wait(
        self, waiter: Waiter, timeout_s: float | None, leads: bool, is_brief: bool = True
    ) -> None:
        """Until nothing is left to come.

        Args:
            leads: whether the lead was taken for this waiter.
            is_brief: whether the wait should be short, so that spinning is worth it.
        """
        try:
            if leads and is_brief and waiter.left == 1:
                self._spin(waiter)
            left, left_s = waiter.left, timeout_s
            deadline = monotonic() + (timeout_s or 0.0)
            while waiter.left:
                if not leads:
                    with self._lock:
                        if not waiter.left:
                            return
                        leads = self._take_lead()
                        self._waiters[waiter] = None
                        waiter.set_alarm()
                if leads:
                    self._lead(left_s, waiter.left >= _BULK)
                else:
                    waiter.sleep(left_s)
                if waiter.left and self._error is not None:
                    self._check()
                if waiter.left and timeout_s is not None:
                    left_s = deadline - monotonic()
                    if left_s <= 0:
                        if waiter.left == left:
                            raise Timeout(errno.ETIMEDOUT, f"nothing came within {timeout_s:g} s")
                        left, left_s = waiter.left, timeout_s
                        deadline = monotonic() + timeout_s
        finally:
            with self._lock:
                self._leave(waiter, leads)

    def _spin(self, waiter: Waiter) -> None:
        """Wait for what is there at once, without sleeping."""
        start = now = monotonic()
        while self._spin_again_at < now:
            os.sched_yield()
            with self._lock:
                if self._error is not None:
                    return
                self._receive(_READ_SIZE)
            if not waiter.left:
                return
            now = monotonic()
            if now > start + _SPIN_S:
                # The store is slow, or other threads need this processor.
                self._spin_again_at = now + _DO_NOT_SPIN_S

    def _lead(self, timeout_s: float | None, is_bulk: bool) -> None:
        """Wait until the stream has something, and take it."""
        ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        if is_bulk and ready:
            sleep(_GATHER_S)
        with self._lock:
            if self._error is not None:
                return
            for fd, _ in ready:
                if fd == self._wake_fd:
                    os.eventfd_read(fd)
                else:
                    self._receive(_BULK_READ_SIZE if is_bulk else _READ_SIZE)
            if self._channel.has_unsent:
                self._flush()

    # -- under the lock -----------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            # One of its own for each thread: raising writes the traceback into it.
            raise type(self._error)(*self._error.args)

    def _take_lead(self) -> bool:
        """Whether a thread that is about to wait becomes the leader."""
        self._check()
        leads = not self._is_led
        self._is_led = True
        return leads

    def _leave(self, waiter: Waiter, leads: bool) -> None:
        """A thread stops waiting; if it was the leader, another becomes it."""
        if leads:
            self._is_led = False
            if self._error is not None:
                self._release()
        if self._waiters:
            self._waiters.pop(waiter, None)
            if not self._is_led and self._waiters:
                next(iter(self._waiters)).wake()

    def _fail(self, error: errors.ConnectionError) -> None:
        """Wake all that wait, with an error; only the first reason is kept."""
        if self._error is not None:
            return
        self._error = error
        for waiter in self._waiters:
            waiter.wake()
        if self._is_led:
            # A descriptor that is being polled is closed by the thread that polls it.
            os.eventfd_write(self._wake_fd, 1)
        else:
            self._release()

    def _release(self) -> None:
        _links.discard(self)
        self._stream.close()
        os.close(self._wake_fd)

    def _send(self, requests: Sequence[Request[object]], tx_id: int, waiter: Waiter) -> None:
        """Send all that the stream takes now, in order; the leader sends the rest."""
        try:
            self._channel.send(requests, tx_id, waiter)
        except ValueError:
            # Such a request is not sent at all.
            raise
        except BaseException as error:
            self._broken(error)
        self._poll_output()

    def _flush(self) -> None:
        """Send what was left."""
        try:
            self._channel.flush()
        except BaseException as error:
            self._broken(error)
        self._poll_output()

    def _poll_output(self) -> None:
        """Wake the leader when more can be sent, as long as there is more."""
        if self._polls_output != self._channel.has_unsent and self._error is None:
            self._polls_output = not self._polls_output
            events = READABLE | WRITABLE if self._polls_output else READABLE
            self._poll.modify(self._stream.fileno(), events)
            if self._is_led:
                os.eventfd_write(self._wake_fd, 1)

    def _receive(self, size: int) -> None:
        try:
            self._channel.receive(size, self._deliver)
        except BaseException as error:
            self._broken(error)

    def _deliver(self, event: Event) -> None:
        for mailbox in self._subscribers.get(event.token, ()):
            if mailbox.signal_fd >= 0 and not mailbox.events:
                os.eventfd_write(mailbox.signal_fd, 1)
            mailbox.events.append(event)
            for waiter in mailbox.waiters:
                if waiter.left:
                    waiter.settle(0, event)

    def _broken(self, error: BaseException) -> None:
        """The stream is not usable any more: lost, not understood, or left in mid-packet."""
        if isinstance(error, errors.ConnectionError):
            self._fail(error)
        else:
            self._fail(errors.ConnectionError(errno.EPROTO, f"interrupted: {error!r}"))
            raise error

    def disown(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        self._lock = threading.Lock()
        self._error = errors.ConnectionError(
            errno.ENOTCONN, "a connection is not shared with a forked child; connect anew"
        )
        self._is_led = False
        self._release()


_links: WeakSet[Link] = WeakSet()


def _disown_all() -> None:
    for link in list(_links):
        link.disown()


os.register_at_fork(after_in_child=_disown_all)
