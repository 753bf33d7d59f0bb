# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Life of a mount: connect to the store, mount, report readiness, serve requests, unmount.

`Session.serve` is the trio task that the daemon runs. Each step registers its undo on an exit
stack when it is done, so that an end at any point undoes just what was done.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pyfuse3
import trio

from xsfs.errors import StoreError, XenStoreError
from xsfs.fs.filesystem import FileSystem
from xsfs.fs.fuse import loop
from xsfs.mount import source as sources
from xsfs.mount import table as mounts
from xsfs.mount.errors import MountError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import TracebackType

    from xsfs.mount.embedded import Embedded
    from xsfs.mount.log import Log
    from xsfs.mount.options import MountOptions

log = logging.getLogger(__name__)

# How long readiness is delayed, at most, until inotify events can be raised, in seconds.
_EVENTS_READY_S = 10.0

# How many requests are served at once; more wait in the kernel. A read that waits for something
# (.events) is one of them for as long as it waits.
_MAX_TASKS = 10_000

# How long requests under way may still take after a signal, in seconds: the store may be slow.
_FINISHING_S = 1.0

# How long to wait before a task that failed is restarted, in seconds.
_RESTART_S = 0.5


class Session:
    """One mount of one store.

    Args:
        path: the store's socket or device.
        source: shown as the source in the mount table.
        mountpoint: an absolute path.
        handler: the log, which counts the lines that it drops.
        store: the embedded store to serve at `path`, if that is what is mounted.
    """

    def __init__(
        self,
        path: str,
        source: str,
        mountpoint: str,
        options: MountOptions,
        handler: Log,
        store: Embedded | None = None,
    ) -> None:
        self._path = path
        self._store = store
        self._mountpoint = mountpoint
        self._ready = False
        # Unmounted from outside: the device number may belong to another mount by now.
        self._unmounted = False
        self._signalled = False
        self._options = options
        self._source = source
        self._fs = FileSystem(
            path, options, more_counts=lambda: {"log_lines_dropped": handler.dropped}
        )

    @classmethod
    def of(
        cls, source: str | None, mountpoint: str, options: MountOptions, handler: Log
    ) -> Session:
        """The session for the SOURCE and options of a command line.

        Raises:
            MountError: no store is found, or an option needs another source.
        """
        name = options.fsname or source or "xsfs"
        if source == sources.EMBEDDED:
            # Imported only here: loading the server delays the start of every other mount.
            from xsfs.mount.embedded import Embedded

            store = Embedded(options)
            return cls(store.path, name, mountpoint, options, handler, store)
        if options.socket or options.load:
            raise MountError("socket= and load= need the source `embedded`: name it, or drop them")
        return cls(sources.find(source), name, mountpoint, options, handler)

    async def serve(self, ready: Callable[[str], None]) -> None:
        """Mount, call `ready`, and serve requests until unmounted or ended by a signal.

        Args:
            ready: called once when the mount can be used, with a warning for the user or "".

        Raises:
            MountError: the store cannot be reached, or the mount was refused.
        """
        async with AsyncExitStack() as stack:
            if self._store is not None:
                store_nursery = await stack.enter_async_context(trio.open_nursery())
                stack.callback(store_nursery.cancel_scope.cancel)
                try:
                    await store_nursery.start(self._store.serve)
                except OSError as error:
                    raise sources.unusable(self._path, error) from None
            try:
                await stack.enter_async_context(self._fs.client)
            except OSError as error:
                raise sources.unreachable(self._path, error) from None
            # Entered after the client, so that it ends before: its tasks use the client.
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            try:
                await self._fs.start()
                warning = await self._missing_root()
            except XenStoreError as error:
                raise MountError(f"cannot read the store at {self._path}: {error}") from None
            end_signals = [signal.SIGTERM, signal.SIGINT]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                # Ignored when started by nohup(1): then the mount outlives the terminal.
                end_signals.append(signal.SIGHUP)
            signals = stack.enter_context(trio.open_signal_receiver(*end_signals))
            stack.enter_context(loop.installed(self._fs.client.has_input))
            device = self._mount()
            stack.push(partial(self._close, device))
            self._fs.queue.stale.active = True
            stack.callback(setattr, self._fs.queue.stale, "active", False)
            nursery.start_soon(self._keep_running, self._fs.queue.stale.run)
            is_mounted = mounts.Presence(device)
            nursery.start_soon(self._keep_running, self._fs.queue.run, device, is_mounted)
            nursery.start_soon(self._keep_running, self._fs.readers.run, device)
            nursery.start_soon(self._keep_running, self._fs.domains.run)
            nursery.start_soon(self._keep_running, self._fs.watcher.run)
            nursery.start_soon(self._keep_running, self._fs.watcher.renew_after_bursts)
            nursery.start_soon(self._fs.transactions.abort_idle)
            nursery.start_soon(self._report_ready, ready, warning)
            with trio.CancelScope() as serving:
                nursery.start_soon(self._end_on_signal, signals, serving)
                await pyfuse3.main(max_tasks=_MAX_TASKS)
                self._unmounted = not self._signalled

    async def _keep_running(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task; if it fails, log that and restart it, so that the mount goes on."""
        while True:
            try:
                await task(*args)
            except Exception:
                log.exception("%s failed and is restarted: please report this", task.__qualname__)
                # Changes that it had not announced yet are lost: compare everything again.
                self._fs.events_lost()
                await trio.sleep(_RESTART_S)
            else:
                return

    async def _missing_root(self) -> str:
        """A warning when the node of `root=` does not exist: a typing error, or created later."""
        root = self._options.root
        try:
            if root == b"/" or await self._fs.client.exists(root):
                return ""
        except StoreError:
            # A guest may not learn whether it exists.
            return ""
        warning = (
            f"root={root.decode()}: there is no such node yet; "
            "the mount is empty until it is created (is the path right?)"
        )
        log.warning("%s", warning)
        return warning

    async def _report_ready(self, ready: Callable[[str], None], warning: str) -> None:
        """Report that the mount is ready, once inotify events can be raised on it."""
        if self._options.events != "off":
            with trio.move_on_after(_EVENTS_READY_S) as waiting:
                await self._fs.queue.attached.wait()
            if waiting.cancelled_caught:
                log.warning("no inotify events yet: the event helper has not started")
        ready(warning)
        self._ready = True

    def _close(
        self,
        device: int,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unmount, unless it was done from outside, or the daemon failed while it served.

        After a failure the dead mount stays: programs that mirror the tree, as rsync --delete,
        would take an empty mountpoint for an empty store.
        """
        unmount = (error is None or not self._ready) and not self._unmounted
        if unmount:
            # Not by libfuse, which does not know where the mount was moved or bound to. Before
            # /dev/fuse is closed: from then on another mount may get the device number.
            mounts.detach_all(device)
        pyfuse3.close(unmount=False)

    def _mount(self) -> int:
        """Mount; returns the mount's device number."""
        fuse = {"default_permissions", *map(_escape, self._options.fuse)}
        fuse |= {f"fsname={_escape(self._source)}", f"subtype={_escape(self._options.subtype)}"}
        with _captured_stderr() as printed:
            try:
                pyfuse3.init(self._fs.operations, self._mountpoint, fuse)
            except RuntimeError as error:
                reason = printed() or error
                raise MountError(f"cannot mount at {self._mountpoint}: {reason}") from None
        mount = mounts.at(self._mountpoint)
        if mount is None or not mount.fstype.startswith("fuse"):
            pyfuse3.close(unmount=True)
            raise MountError(
                f"{self._mountpoint} is not in the mount table after mounting: "
                "was it unmounted or mounted over at the same moment? mount again"
            )
        if self._options.read_only and not mounts.make_read_only(self._mountpoint):
            log.info("no privilege to mount read-only: the daemon refuses changes itself")
        return mount.device

    async def _end_on_signal(self, signals: AsyncIterator[int], serving: trio.CancelScope) -> None:
        number = await anext(signals)
        log.info("ending on %s", signal.Signals(number).name)
        self._signalled = True
        stale = self._fs.queue.stale
        if not await stale.close(_FINISHING_S):
            # Requests that wait for the store fail now.
            await self._fs.client.stop()
            await stale.close(_FINISHING_S)
        pyfuse3.terminate()
        serving.deadline = trio.current_time() + _FINISHING_S


def _escape(value: str) -> str:
    """Escape a value for libfuse's option string."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Capture descriptor 2, where libfuse and fusermount3 explain a failure; read as one line."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with open(read_end, "rb") as file:
        saved = os.dup(2)
        os.dup2(write_end, 2)
        os.close(write_end)

        def printed() -> str:
            lines = (file.read() or b"").decode(errors="replace").split("\n")
            return "; ".join(line.strip() for line in lines if line.strip())

        try:
            yield printed
        finally:
            os.dup2(saved, 2)
            os.close(saved)
