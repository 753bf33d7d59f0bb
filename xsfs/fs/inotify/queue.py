# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Carries notices out: kernel caches are invalidated, inotify events raised.

First the new state is made readable (kernel_cache.py), then the event raised: by the helper
process (helper.py), whose operations come back as requests that `NotificationQueue` recognises.
Used from the trio thread alone.
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.fs.model.nodes import Node
    from xsfs.fs.model.notices import Notice
    from xsfs.fs.model.table import NodeTable
    from xsfs.fs.options import EventMode

log = logging.getLogger(__name__)

# How many injections the helper is given ahead; more would only make an end take longer.
_WINDOW = 32

# How many injections may wait; whoever has more is to wait himself.
_WAITING_MAX = 4096

# How long a request waits for the kernel to drop an entry, in seconds: another request about
# the same directory may be under way.
_DROP_S = 1.0

# How long a helper may take to end when the mount is gone, in seconds.
_DETACHING_S = 0.5

# How long to wait before a helper that died is replaced, in seconds.
_RESTART_S = 0.2


class NotificationQueue:
    """Takes notices, and sees to it that the kernel and its watchers get them, in order."""

    def __init__(self, table: NodeTable, events: EventMode) -> None:
        self.counts: Counter[str] = Counter(injections=0, merged=0, failed=0, helpers=0)
        self.stale = KernelCache(self._push)
        self._table = table
        self._wanted = {"full": frozenset(Kind), "modify": {Kind.MODIFIED}, "off": frozenset()}[
            events
        ]
        # The helper's process id. 0 would not do for none: so the kernel shows whoever is of
        # another pid namespace (fuse_get_req in fs/fuse/dev.c: pid_nr_ns).
        self.helper_pid: int | None = None
        self._orders: socket.socket | None = None
        self._waiting: deque[Injection] = deque()
        self._sent: deque[Injection] = deque()
        self._mergeable: set[tuple[Kind, Node | bytes]] = set()
        # Each entry's creations and removals that the kernel has not been shown yet, in order.
        self._unsettled: dict[tuple[Node, bytes], deque[Injection]] = {}
        self._room = trio.Event()
        # The first helper holds the mount.
        self.attached = trio.Event()

    # -- taking ---------------------------------------------------------------------------------

    def post(self, notice: Notice) -> None:
        """Have a notice carried out, when anybody can be waiting for it."""
        node, parent = notice.node, notice.parent.inode(InodeKind.DIRECTORY)
        if node is not None:
            self.invalidate(node)
            for poller in node.pollers or ():
                poller.wake(certain=notice.kind is Kind.REMOVED)
        if notice.kind in (Kind.CREATED, Kind.REMOVED):
            notice.parent.set_mtime(time.time_ns())
            self.invalidate(notice.parent)
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
            is_left = notice.kind is Kind.REMOVED and notice.directory
            if parent is not None and (is_taken or is_left):
                # The kernel is to ask again what the name leads to: not to take a later node for
                # the one that goes, nor to let anybody into a directory that is being removed,
                # where all is ENOENT (S_DEAD in fs/namei.c), also what the store has again.
                self.stale.entry(parent.ino, notice.name)
        self._waiting.append(injection)
        self._push()

    def is_unsettled(self, node: Node) -> bool:
        """Whether a creation or removal of that name is to be played to the kernel yet."""
        return node.parent is not None and (node.parent, node.name) in self._unsettled

    def invalidate(self, node: Node) -> None:
        """Have the kernel ask again for a node's attributes."""
        for inode in node.inodes:
            if inode.lookups:
                self.stale.inode(inode.ino)

    async def became_directory(self, node: Node, wait: bool) -> None:
        """Have the kernel drop the entry of a file that is a directory by now.

        Args:
            wait: return when it is done; not for a request about that entry's directory, which
                the kernel keeps locked until the answer.
        """
        parent = node.parent.inode(InodeKind.DIRECTORY) if node.parent is not None else None
        if parent is None or not parent.lookups or node.inode(InodeKind.FILE) is None:
            return
        self.stale.entry(parent.ino, node.name)
        if wait:
            with trio.move_on_after(_DROP_S):
                await self.stale.settle()

    def invalidate_all(self) -> None:
        """Have the kernel ask again for everything."""
        for inode in self._table:
            if inode.lookups:
                self.stale.inode(inode.ino)

    async def has_room(self) -> None:
        """Wait until not too many notices wait."""
        while len(self._waiting) >= _WAITING_MAX and self._wanted:
            self._room = trio.Event()
            await self._room.wait()

    def _drop_entry(self, notice: Notice) -> None:
        parent = notice.parent.inode(InodeKind.DIRECTORY)
        kind = InodeKind.DIRECTORY if notice.directory else InodeKind.FILE
        gone = notice.node.inode(kind) if notice.node is not None else None
        if parent is not None and parent.lookups:
            self.stale.entry(parent.ino, notice.name, gone.ino if gone is not None else 0)

    def _done(self, injection: Injection) -> None:
        """An injection that waited is under way no more."""
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
        """Wait until all that was given so far has been carried out."""
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
        """The next creation or removal of this entry that the kernel is shown, if there is one.

        Until then the helper sees the entry as it was before.
        """
        injections = self._unsettled.get((parent, name), ())
        return next((each for each in injections if not each.fulfilled), None)

    # -- the helper ---------------------------------------------------------------------------

    async def run(self, device: int, is_mounted: Callable[[], bool]) -> None:
        """Keep a helper for the mount of that device number, and give it what there is to do.

        Returns when the mount is gone from where we could see it.
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
            # It hangs up by ending.
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
            if not is_mounted():
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
        """Until the helper ends."""
        if not await _receive(orders):
            return
        self._orders = orders
        self.attached.set()
        self._push()
        while answer := await _receive(orders):
            self._answered(self._sent.popleft(), struct.unpack("=i", answer)[0])
            self._push()

    def _push(self) -> None:
        """Give the helper what it can take, unless something is to be made readable first."""
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
                    # Its answers to what it has will bring us back.
                    return
                except OSError:
                    # It is gone; `run` will see.
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
    """Whether the kernel holds what somebody can be watching."""
    parent, node = notice.parent.inode(InodeKind.DIRECTORY), notice.node
    if parent is not None and parent.user_visible:
        return True
    return notice.kind is not Kind.CREATED and node is not None and node.user_visible


def _key(notice: Notice) -> tuple[Kind, Node | bytes]:
    """Notices of one key that wait are as good as one."""
    return notice.kind, notice.name if notice.node is None else notice.node


def _start(orders: socket.socket, device: int) -> subprocess.Popen[bytes]:
    # From the main thread: the helper hears when the thread dies that started it.
    command = [sys.executable, "-I", "-S", helper.__file__, str(device), str(os.getpid())]
    return subprocess.Popen(
        command,
        stdin=orders.fileno(),
        # Whoever started the daemon may wait for the end of its output.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Out of reach of the terminal's signals, but no session of its own: that has a scheduling
        # group of its own (sched(7), autogroup), in which it was seen to wait for seconds.
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
