# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Carries notices out: invalidates kernel caches, then raises inotify events.

First the kernel drops what is out of date (kernel_cache.py), so that the new state is read. Then
the helper process (helper.py) raises the event, by operations that come back as requests, which
helper_requests.py answers. Used from the trio thread alone.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

import trio

from xsfs.fs.inotify import helper, mount_table
from xsfs.fs.inotify.injections import Injection
from xsfs.fs.inotify.kernel_cache import KernelCache
from xsfs.fs.model.notices import Kind
from xsfs.fs.model.states import InodeKind
from xsfs.fs.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.notices import Notice
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.options import EventMode

log = logging.getLogger(__name__)

# How many injections the helper gets ahead; with more an unmount would only take longer.
_WINDOW = 32

# How many injections may wait; the watcher fetches no further changes while there are more.
_WAITING_MAX = 4096

# How long a request waits until the kernel has dropped an entry, in seconds: another request about
# the same directory may be under way.
_DROP_S = 1.0

# How long a helper may take to end when the mount is gone, in seconds.
_DETACHING_S = 0.5

# How long to wait before a helper that died is replaced, in seconds.
_RESTART_S = 0.2


class NotificationQueue:
    """Takes notices, and carries them out in order."""

    def __init__(self, table: NodeTable, events: EventMode) -> None:
        self.counts: Counter[str] = Counter(injections=0, merged=0, failed=0, helpers=0)
        self.stale = KernelCache(self._push)
        self._table = table
        self._wanted = {"full": frozenset(Kind), "modify": {Kind.MODIFIED}, "off": frozenset()}[
            events
        ]
        # The helper's process id. None, not 0, without a helper: for processes of other pid
        # namespaces the kernel gives 0 (fuse_get_req in fs/fuse/dev.c: pid_nr_ns).
        self.helper_pid: int | None = None
        self._orders: socket.socket | None = None
        self._waiting: deque[Injection] = deque()
        self._sent: deque[Injection] = deque()
        self._mergeable: set[tuple[Kind, Node | bytes]] = set()
        # Each entry's creations and removals that the helper is yet to perform, in order.
        self._unsettled: dict[tuple[Node, bytes], deque[Injection]] = {}
        self._room = trio.Event()
        # Set when the first helper is ready.
        self.attached = trio.Event()

    # -- taking ---------------------------------------------------------------------------------

    def post(self, notice: Notice) -> None:
        """Carry a notice out; raise its event only if a program can be watching for it."""
        node, parent = notice.node, notice.parent.inode(InodeKind.DIRECTORY)
        if node is not None:
            self.invalidate(node)
            for poller in node.pollers or ():
                poller.wake(certain=notice.kind is Kind.REMOVED)
        if notice.kind in (Kind.CREATED, Kind.REMOVED) and notice.parent.alive:
            notice.parent.set_mtime(time.time_ns())
            self.invalidate(notice.parent)
        if notice.kind is Kind.REMOVED and node is not None and not node.alive:
            # It is gone, and has not only become a directory.
            self.drop_own_entries(node)
        if notice.kind not in self._wanted or not _is_watchable(notice):
            if notice.kind is Kind.REMOVED and parent is not None:
                self._drop_entry(notice)
            self._forget(notice)
            return
        if notice.kind in (Kind.CREATED, Kind.REMOVED):
            if node is not None:
                self._mergeable -= {(Kind.MODIFIED, node), (Kind.ATTRIB, node)}
        elif (key := _key(notice)) in self._mergeable:
            self.counts["merged"] += 1
            return
        else:
            self._mergeable.add(key)
        if node is not None:
            node.pins += 1
        injection = Injection(notice)
        if notice.kind in (Kind.CREATED, Kind.REMOVED):
            self._unsettled.setdefault((notice.parent, notice.name), deque()).append(injection)
            later = notice.parent.children.get(notice.name) if notice.parent.children else None
            is_taken = later is not None and any(inode.lookups for inode in later.inodes)
            if parent is not None and is_taken:
                # The kernel must look the name up again: not to take a later node for the one
                # that is removed.
                self.stale.entry(parent.ino, notice.name)
        self._waiting.append(injection)
        self._push()

    def close_entry(self, node: Node) -> None:
        """Let nobody into a directory that seems to be gone by the entry that the kernel holds.

        Not when no event is raised: the kernel is to drop it as a removed one then, which it can
        only when it is empty.
        """
        if node.directory and node.parent is not None and Kind.REMOVED in self._wanted:
            parent = node.parent.inode(InodeKind.DIRECTORY)
            if parent is not None and parent.lookups:
                self.stale.entry(parent.ino, node.name)

    async def dropped(self) -> None:
        """Wait until the kernel has dropped all entries that it was to drop; at most a second."""
        with trio.move_on_after(_DROP_S):
            await self.stale.settle()

    def is_unsettled(self, node: Node) -> bool:
        """Whether a creation or removal of that name is yet to be performed by the helper."""
        entry = node.parent, node.name
        return (
            entry in self._unsettled or entry in self._table.leaving or self._table.is_leaving(node)
        )

    def invalidate(self, node: Node) -> None:
        """Make the kernel fetch a node's attributes again."""
        for inode in node.inodes:
            if inode.lookups:
                self.stale.inode(inode.ino)

    async def became_directory(self, node: Node, wait: bool) -> None:
        """Make the kernel drop the entry of a file that has become a directory.

        Args:
            wait: return when it is done; not for a request about that entry's directory, which
                the kernel keeps locked until the answer.
        """
        parent = node.parent.inode(InodeKind.DIRECTORY) if node.parent is not None else None
        if parent is None or not parent.lookups or node.inode(InodeKind.FILE) is None:
            return
        self.stale.entry(parent.ino, node.name)
        if wait:
            await self.dropped()

    def drop_own_entries(self, node: Node) -> None:
        """Drop what a removed directory shows beside nodes.

        While the kernel has such an entry it keeps the directory: nobody would hear DELETE_SELF.
        """
        if (top := node.inode(InodeKind.DIRECTORY)) is not None:
            for inode in node.inodes:
                if inode.lookups and inode.own_entry is not None:
                    self.stale.entry(top.ino, inode.own_entry, inode.ino)

    async def invalidate_all(self) -> None:
        """Make the kernel fetch all attributes again; others may run in between."""
        turns = Turns()
        for inode in list(self._table):
            if inode.lookups:
                self.stale.inode(inode.ino)
            await turns.over()

    async def has_room(self) -> None:
        """Wait until there is room for more notices."""
        while len(self._waiting) >= _WAITING_MAX and self._wanted:
            self._room = trio.Event()
            await self._room.wait()

    def _drop_entry(self, notice: Notice) -> None:
        parent = notice.parent.inode(InodeKind.DIRECTORY)
        if parent is None or not parent.lookups:
            return
        deleted_ino = 0
        if notice.kind is Kind.REMOVED and notice.node is not None:
            gone = notice.node.inode(InodeKind.DIRECTORY if notice.directory else InodeKind.FILE)
            # As deleted it would be refused while the helper has something open below, and that
            # it was deleted matters to nobody else.
            if gone is not None and gone.user_visible:
                deleted_ino = gone.ino
        self.stale.entry(parent.ino, notice.name, deleted_ino)

    def _done(self, injection: Injection) -> None:
        """Forget an injection that was performed or dropped."""
        if injection.done is not None:
            injection.done.set()
        notice = injection.notice
        if notice.kind in (Kind.CREATED, Kind.REMOVED):
            key = notice.parent, notice.name
            self._unsettled[key].remove(injection)
            if not self._unsettled[key]:
                del self._unsettled[key]
        if notice.node is not None:
            notice.node.pins -= 1
        self._forget(notice)

    def _forget(self, notice: Notice) -> None:
        if notice.node is not None:
            self._table.prune(notice.node)

    async def settle(self) -> None:
        """Wait until all notices so far have been carried out."""
        await self.stale.settle()
        for injections in (self._waiting, self._sent):
            if injections:
                last = injections[-1]
                if last.done is None:
                    last.done = trio.Event()
                await last.done.wait()
                return

    # -- for the requests of the helper -------------------------------------------------------

    def expected(self, parent: Node, name: bytes) -> Injection | None:
        """The next creation or removal of this entry that the helper performs, if there is one.

        Until then the helper sees the entry as it was before.
        """
        injections = self._unsettled.get((parent, name), ())
        return next((each for each in injections if not each.fulfilled), None)

    # -- the helper ---------------------------------------------------------------------------

    async def run(self, device: int, is_mounted: Callable[[], bool]) -> None:
        """The task: run a helper for the mount of that device number, and send it injections.

        Returns when the mount is gone from this mount namespace.
        """
        while True:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with ours:
                with theirs:
                    process = _start(theirs, device)
                self.helper_pid = process.pid
                self.counts["helpers"] += 1
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_end_after_mount, process, is_mounted)
                        await self._serve(ours)
                        nursery.cancel_scope.cancel()
                finally:
                    self._orders = None
                    self.helper_pid = None
            # The helper hung up, as it has ended or is about to.
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            # It ends by itself, with status 0, only when it has seen that the mount is gone.
            if not process.returncode or not is_mounted():
                self._wanted = frozenset()
                for injection in (*self._sent, *self._waiting):
                    self._done(injection)
                self._sent.clear()
                self._waiting.clear()
                self._room.set()
                return
            log.warning("the event helper ended (status %s), starting another", process.returncode)
            while self._sent:
                injection = self._sent.pop()
                if injection.fulfilled:
                    self._done(injection)
                else:
                    self._waiting.appendleft(injection)
            await trio.sleep(_RESTART_S)

    async def _serve(self, orders: socket.socket) -> None:
        """Serve one helper until it ends."""
        if not await _receive(orders):
            return
        self._orders = orders
        self.attached.set()
        self._push()
        while answer := await _receive(orders):
            self._answered(self._sent.popleft(), struct.unpack("=i", answer)[0])
            self._push()

    def _push(self) -> None:
        """Send the helper what it can take, unless the kernel has something to drop first."""
        while self._waiting and len(self._sent) < _WINDOW and self._orders is not None:
            if self.stale.busy:
                return
            injection = self._waiting[0]
            is_there = injection.follow()
            notice = injection.notice
            if is_there and _is_watchable(notice):
                try:
                    self._orders.send(injection.letter + injection.path)
                except BlockingIOError:
                    # Its socket is full: its next answer brings us back here.
                    return
                except OSError:
                    # The helper has ended; `run` starts another.
                    self._orders = None
                    return
                self._sent.append(injection)
            else:
                self._done(injection)
            self._waiting.popleft()
            self._mergeable.discard(_key(notice))
            if len(self._waiting) == _WAITING_MAX // 2:
                self._room.set()

    def _answered(self, injection: Injection, number: int) -> None:
        self.counts["injections"] += 1
        notice = injection.notice
        is_late = injection.is_moved and notice.kind is not Kind.REMOVED
        if number and (is_late or number in (errno.EEXIST, errno.EAGAIN)) and injection.may_fail:
            injection.attempts += 1
            injection.fulfilled = injection.shown = False
            self._drop_entry(notice)
            self._waiting.appendleft(injection)
            return
        if number:
            self.counts["failed"] += 1
            log.debug("%s %r: %s", injection.letter, injection.path, os.strerror(number))
            if notice.kind is Kind.REMOVED:
                self._drop_entry(notice)
        self._done(injection)


def _is_watchable(notice: Notice) -> bool:
    """Whether the kernel holds an inode on which a program can watch for this."""
    parent, node = notice.parent.inode(InodeKind.DIRECTORY), notice.node
    if parent is not None and parent.user_visible:
        return True
    return notice.kind is not Kind.CREATED and node is not None and node.user_visible


def _key(notice: Notice) -> tuple[Kind, Node | bytes]:
    """Waiting notices with the same key are merged into one."""
    return notice.kind, notice.name if notice.node is None else notice.node


def _start(orders: socket.socket, device: int) -> subprocess.Popen[bytes]:
    # From the main thread: the helper gets its signal when the thread that started it dies.
    command = [sys.executable, "-I", "-S", helper.__file__, str(device), str(os.getpid())]
    return subprocess.Popen(
        command,
        stdin=orders.fileno(),
        # A program that started the daemon may wait for the end of its output.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A group of its own, which gets no signals from the terminal; but not a session, which has
        # its own scheduling group (sched(7), autogroup) and was seen to wait for seconds.
        process_group=0,
        cwd="/",
    )


async def _end_after_mount(
    process: subprocess.Popen[bytes], is_mounted: Callable[[], bool]
) -> None:
    """End a helper that does not end by itself when its mount is gone, as when it is stopped."""
    await mount_table.gone(is_mounted)
    await trio.sleep(_DETACHING_S)
    process.kill()


async def _receive(orders: socket.socket) -> bytes:
    """The helper's next answer; nothing when it has hung up."""
    while True:
        try:
            return orders.recv(16)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(orders)
        except ConnectionError:
            return b""
