# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Carries notices out: kernel caches are invalidated, inotify events raised.

Invalidation can block until a request on the same node is answered, so it has a thread of its
own; inotify events are raised by the helper process (poker.py), whose operations come back as
requests that `Courier` recognises. The rest runs on the trio thread.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

from xsfs import mounts
from xsfs.fs import names, poker
from xsfs.fs.events import Kind
from xsfs.fs.nodes import Face

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.fs.events import Notice
    from xsfs.fs.nodes import Node, NodeTable
    from xsfs.options import Options

log = logging.getLogger(__name__)

# How many pokes the helper is given ahead; more would only make an end take longer.
_WINDOW = 32

# A poke that meets a name the kernel still holds is tried again, after an invalidation.
_ATTEMPTS = 3

# How long a request waits for the kernel to drop an entry, in seconds: another request about
# the same directory may be under way.
_PATIENCE_S = 1.0

# How long to wait before a helper that died is replaced, in seconds.
_RESTART_S = 0.2


class Poke:
    """What the helper is told to do, and what its requests look like when they arrive."""

    __slots__ = ("attempts", "done", "fulfilled", "letter", "notice", "path")

    def __init__(self, notice: Notice, letter: bytes, path: bytes) -> None:
        self.notice = notice
        self.letter = letter
        self.path = path
        # The request that it is all about has been answered.
        self.fulfilled = False
        self.attempts = 0
        self.done = trio.Event()


class Courier:
    """Takes notices, and sees to it that the kernel and its watchers get them, in order."""

    def __init__(self, table: NodeTable, options: Options) -> None:
        self.counts: Counter[str] = Counter()
        self._table = table
        self._options = options
        self._helper_pid = 0
        self._waiting: deque[Poke] = deque()
        self._sent: deque[Poke] = deque()
        self._mergeable: dict[tuple[Kind, Node], None] = {}
        self._expected: dict[tuple[Node, bytes], deque[Poke]] = {}
        self._work = trio.Event()
        self._room = trio.Event()
        self._stale: queue.SimpleQueue[tuple[int, bytes, int] | Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        self._queued_stale: set[int] = set()

    # -- taking ---------------------------------------------------------------------------------

    def post(self, notice: Notice) -> None:
        """Have a notice carried out, when anybody can be waiting for it."""
        self._make_readable(notice)
        parent = notice.parent.face(Face.DIRECTORY)
        wanted = self._options.events == "full" or (
            self._options.events == "modify" and notice.kind is Kind.MODIFIED
        )
        if not wanted or parent is None or not parent.lookups:
            self._forget(notice)
            return
        if notice.node is not None:
            key = (notice.kind, notice.node)
            if notice.kind in (Kind.CREATED, Kind.REMOVED):
                self._mergeable.pop((Kind.MODIFIED, notice.node), None)
                self._mergeable.pop((Kind.ATTRIB, notice.node), None)
            elif key in self._mergeable:
                self.counts["merged"] += 1
                return
            else:
                self._mergeable[key] = None
        if notice.node is not None:
            notice.node.held += 1
        self._waiting.append(Poke(notice, _letter(notice), _target(notice)))
        self._work.set()

    def _make_readable(self, notice: Notice) -> None:
        """First the new state, then the event: drop what the kernel holds of the old one."""
        if notice.node is not None:
            self.invalidate(notice.node)
        if notice.kind in (Kind.CREATED, Kind.REMOVED):
            notice.parent.mtime_ns = time.time_ns()
            self.invalidate(notice.parent)
        if notice.kind is Kind.REMOVED and self._options.events != "full":
            parent = notice.parent.face(Face.DIRECTORY)
            gone = notice.node and notice.node.face(
                Face.DIRECTORY if notice.directory else Face.FILE
            )
            if parent is not None:
                self._stale.put((parent.ino, notice.name, gone.ino if gone else 0))

    def invalidate(self, node: Node) -> None:
        """Have the kernel ask again for a node's attributes and content."""
        for inode in node.faces:
            if inode.lookups and inode.ino not in self._queued_stale:
                self._queued_stale.add(inode.ino)
                self._stale.put((inode.ino, b"", 0))

    async def turned(self, node: Node, wait: bool) -> None:
        """Have the kernel drop the entry of a file that is a directory by now.

        Args:
            wait: return when it is done; not for a request about that entry's directory, which
                the kernel keeps locked until the answer.
        """
        parent = node.parent.face(Face.DIRECTORY) if node.parent is not None else None
        if parent is None or not parent.lookups or node.face(Face.FILE) is None:
            return
        if not wait:
            self._stale.put((parent.ino, node.name, 0))
            return
        with trio.move_on_after(_PATIENCE_S), suppress(OSError):
            await trio.to_thread.run_sync(
                pyfuse3.invalidate_entry, parent.ino, node.name, abandon_on_cancel=True
            )

    def invalidate_all(self) -> None:
        """Have the kernel ask again for everything."""
        for inode in self._table:
            self.invalidate(inode.node)

    async def settle(self) -> None:
        """Wait until all that was given so far has been carried out."""
        done = trio.Event()
        token = trio.lowlevel.current_trio_token()
        self._stale.put(partial(token.run_sync_soon, done.set))
        await done.wait()
        last = self._waiting or self._sent
        if last:
            await last[-1].done.wait()

    # -- for the requests of the helper -------------------------------------------------------

    def is_helper(self, pid: int) -> bool:
        """Whether a request comes from the helper."""
        return pid == self._helper_pid

    def expected(self, parent: Node, name: bytes) -> Poke | None:
        """The creation or removal under way at the helper for this entry."""
        pokes = self._expected.get((parent, name))
        return pokes[0] if pokes else None

    def fulfil(self, poke: Poke) -> None:
        """The helper got the answer that raises the event."""
        poke.fulfilled = True
        self._unexpect(poke)

    def _unexpect(self, poke: Poke) -> None:
        key = (poke.notice.parent, poke.notice.name)
        pokes = self._expected.get(key)
        if pokes and poke in pokes:
            pokes.remove(poke)
            if not pokes:
                del self._expected[key]

    # -- the helper ---------------------------------------------------------------------------

    async def run(self, mountpoint: str, device: int) -> None:
        """Keep a helper, and give it what there is to do, for ever."""
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = await trio.to_thread.run_sync(_start, theirs, mountpoint, device)
            orders = trio.socket.from_stdlib_socket(ours)
            self._helper_pid = process.pid
            try:
                await self._serve(orders)
            finally:
                self._helper_pid = 0
                orders.close()
            # It hangs up by ending.
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            if mounts.at(mountpoint) is None:
                return
            log.warning("the event helper ended (status %s), starting another", process.returncode)
            self._waiting.extendleft(reversed(self._sent))
            self._sent.clear()
            self._expected.clear()
            await trio.sleep(_RESTART_S)

    async def _serve(self, orders: trio.socket.SocketType) -> None:
        """Until the helper ends."""
        if not await _receive(orders):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, orders)
            while (answer := await _receive(orders)) is not None:
                await self._answered(self._sent.popleft(), struct.unpack("=i", answer)[0])
                self._room.set()
            nursery.cancel_scope.cancel()

    async def _send(self, orders: trio.socket.SocketType) -> None:
        while True:
            while not self._waiting:
                self._work = trio.Event()
                await self._work.wait()
            while len(self._sent) >= _WINDOW:
                self._room = trio.Event()
                await self._room.wait()
            poke = self._waiting.popleft()
            notice = poke.notice
            if notice.node is not None:
                self._mergeable.pop((notice.kind, notice.node), None)
            if notice.kind in (Kind.CREATED, Kind.REMOVED):
                key = (notice.parent, notice.name)
                self._expected.setdefault(key, deque()).append(poke)
            self._sent.append(poke)
            with suppress(OSError):
                await orders.send(poke.letter + poke.path)

    async def _answered(self, poke: Poke, number: int) -> None:
        self.counts["pokes"] += 1
        self._unexpect(poke)
        notice = poke.notice
        parent = notice.parent.face(Face.DIRECTORY)
        if number == errno.EEXIST and poke.attempts < _ATTEMPTS and parent is not None:
            poke.attempts += 1
            with suppress(OSError):
                await trio.to_thread.run_sync(
                    pyfuse3.invalidate_entry, parent.ino, notice.name, abandon_on_cancel=True
                )
            self._waiting.appendleft(poke)
            self._work.set()
            return
        if number:
            self.counts["failed"] += 1
            log.debug("%s %r: %s", poke.letter, poke.path, os.strerror(number))
        if notice.node is not None:
            notice.node.held -= 1
        self._forget(notice)
        poke.done.set()

    def _forget(self, notice: Notice) -> None:
        if notice.node is not None:
            self._table.prune(notice.node)

    # -- invalidation -------------------------------------------------------------------------

    def start_invalidating(self) -> None:
        """Start the thread that invalidates."""
        threading.Thread(target=self._invalidate, name="invalidate", daemon=True).start()

    def stop_invalidating(self) -> None:
        """Let the thread end."""
        self._stale.put(None)

    def _invalidate(self) -> None:
        attributes_only = self._options.cache != "watch"
        while (item := self._stale.get()) is not None:
            if callable(item):
                item()
                continue
            ino, name, deleted = item
            # ENOENT: the kernel does not have it, which is as good.
            with suppress(OSError):
                if name:
                    pyfuse3.invalidate_entry(ino, name, deleted)
                else:
                    self._queued_stale.discard(ino)
                    pyfuse3.invalidate_inode(ino, attributes_only)


def _letter(notice: Notice) -> bytes:
    match notice.kind:
        case Kind.CREATED:
            return b"D" if notice.directory else b"F"
        case Kind.REMOVED:
            return b"R" if notice.directory else b"U"
        case Kind.ATTRIB:
            return b"A"
        case Kind.MODIFIED:
            return b"M"


def _target(notice: Notice) -> bytes:
    """Where the helper finds it, relative to the mountpoint."""
    parts: list[bytes] = []
    if notice.kind is Kind.MODIFIED and notice.directory:
        parts.append(names.VALUE)
    if notice.parent is not notice.node:
        parts.append(notice.name)
    node = notice.parent
    while node.parent is not None:
        parts.append(node.name)
        node = node.parent
    return b"/".join(reversed(parts))


def _start(orders: socket.socket, mountpoint: str, device: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", poker.__file__, mountpoint, str(device)]
    return subprocess.Popen(command, stdin=orders.fileno(), start_new_session=True, cwd="/")


async def _receive(orders: trio.socket.SocketType) -> bytes | None:
    with suppress(ConnectionError):
        return await orders.recv(16) or None
    return None
