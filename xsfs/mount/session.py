# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Life of a mount: connect, mount, tell that it is ready, serve, unmount.

An exit stack, each undo pushed where the thing is done. `serve` is the one trio task that the
daemon runs.
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

# How long the mount's readiness waits for that of its events, in seconds.
_ATTACHING_S = 2.0

# More requests than this at once wait in the kernel. A blocked reader holds one each.
_MAX_TASKS = 10_000

# How long requests may take that are under way at the end, in seconds.
_FINISHING_S = 1.0

# How long to wait before a task that failed is run again, in seconds.
_AGAIN_S = 0.5


class Session:
    """One mount of one store.

    Args:
        path: the store's socket or device.
        source: what the mount table shall name as its source.
        mountpoint: an absolute path.
        handler: the log, for its count.
        store: the embedded store, which listens at `path`.
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
        # By somebody else: the device number may be another mount's by now.
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
        """The session for a command line's source.

        Raises:
            MountError: no store is found, or the options do not go with the source.
        """
        name = options.fsname or source or "xsfs"
        if source == sources.EMBEDDED:
            # Loaded only where it is needed: that takes time.
            from xsfs.mount.embedded import Embedded

            store = Embedded(options)
            return cls(store.path, name, mountpoint, options, handler, store)
        if options.socket or options.load:
            raise MountError("socket= and load= go with the source `embedded`")
        return cls(sources.find(source), name, mountpoint, options, handler)

    async def serve(self, ready: Callable[[str], None]) -> None:
        """Mount, call `ready`, and serve until unmounted or told to end by a signal.

        Args:
            ready: takes a warning for the user, or nothing.

        Raises:
            MountError: the store cannot be reached, or the mount was refused.
        """
        async with AsyncExitStack() as stack:
            if self._store is not None:
                beneath = await stack.enter_async_context(trio.open_nursery())
                stack.callback(beneath.cancel_scope.cancel)
                try:
                    await beneath.start(self._store.serve)
                except OSError as error:
                    raise sources.unusable(self._path, error) from None
            try:
                await stack.enter_async_context(self._fs.client)
            except OSError as error:
                raise sources.unreachable(self._path, error) from None
            # Ends before the client, whom its tasks ask.
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            try:
                await self._fs.start()
                warning = await self._missing_root()
            except XenStoreError as error:
                raise MountError(f"cannot read the store at {self._path}: {error}") from None
            ending = [signal.SIGTERM, signal.SIGINT]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                # Not started by nohup(1): the terminal closed.
                ending.append(signal.SIGHUP)
            signals = stack.enter_context(trio.open_signal_receiver(*ending))
            stack.enter_context(loop.installed())
            device = self._mount()
            stack.push(partial(self._close, device))
            self._fs.queue.stale.active = True
            stack.callback(setattr, self._fs.queue.stale, "active", False)
            nursery.start_soon(self._keep, self._fs.queue.stale.run)
            is_mounted = partial(mounts.is_mounted, device)
            nursery.start_soon(self._keep, self._fs.queue.run, device, is_mounted)
            nursery.start_soon(self._keep, self._fs.readers.run, device)
            nursery.start_soon(self._keep, self._fs.domains.run)
            nursery.start_soon(self._keep, self._fs.watcher.run)
            nursery.start_soon(self._keep, self._fs.watcher.renew_after_bursts)
            nursery.start_soon(self._fs.transactions.abort_idle)
            nursery.start_soon(self._announce, ready, warning)
            with trio.CancelScope() as serving:
                nursery.start_soon(self._end_on_signal, signals, serving)
                await pyfuse3.main(max_tasks=_MAX_TASKS)
                self._unmounted = not self._signalled

    async def _keep(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task; one that fails is logged and run again, the mount lives on."""
        while True:
            try:
                await task(*args)
            except Exception:
                log.exception("%s failed", task.__qualname__)
                # What it was about to tell is lost: look at everything again.
                self._fs.events_lost()
                await trio.sleep(_AGAIN_S)
            else:
                return

    async def _missing_root(self) -> str:
        """A warning when `root=` is not there: it may be mistyped, or come later."""
        root = self._options.root
        try:
            if root == b"/" or await self._fs.client.exists(root):
                return ""
        except StoreError:
            # It may be there; a guest is not told.
            return ""
        warning = (
            f"root={root.decode()}: there is no such node yet; "
            "the mount is empty until somebody makes it"
        )
        log.warning("%s", warning)
        return warning

    async def _announce(self, ready: Callable[[str], None], warning: str) -> None:
        """Say that the mount is ready, when its events are."""
        if self._options.events != "off":
            with trio.move_on_after(_ATTACHING_S):
                await self._fs.queue.attached.wait()
        ready(warning)
        self._ready = True

    def _close(
        self,
        device: int,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unmount; but after a crash stay mounted, answering to nobody.

        Whoever mirrors the tree, as rsync --delete does, would take an empty mountpoint for
        an empty store.
        """
        unmount = (error is None or not self._ready) and not self._unmounted
        if unmount:
            # Not by libfuse, which does not know where it was moved or bound to; and before
            # the connection is closed: from then on another mount may get the device number.
            mounts.detach_all(device)
        pyfuse3.close(unmount=False)

    def _mount(self) -> int:
        """Mount; the device number of what was mounted."""
        fuse = {"default_permissions", *map(_escape, self._options.fuse)}
        fuse |= {f"fsname={_escape(self._source)}", f"subtype={_escape(self._options.subtype)}"}
        with _stderr_caught() as said:
            try:
                pyfuse3.init(self._fs.operations, self._mountpoint, fuse)
            except RuntimeError as error:
                raise MountError(f"cannot mount at {self._mountpoint}: {said() or error}") from None
        mount = mounts.at(self._mountpoint)
        if mount is None or not mount.fstype.startswith("fuse"):
            pyfuse3.close(unmount=True)
            raise MountError(f"{self._mountpoint} is not in the mount table after mounting")
        if self._options.read_only and not mounts.make_read_only(self._mountpoint):
            log.info("not privileged: read-only is enforced by the daemon alone")
        return mount.device

    async def _end_on_signal(self, signals: AsyncIterator[int], serving: trio.CancelScope) -> None:
        number = await anext(signals)
        log.info("ending on %s", signal.Signals(number).name)
        self._signalled = True
        await self._fs.queue.stale.close()
        pyfuse3.terminate()
        # Requests under way may wait for the store for long.
        serving.deadline = trio.current_time() + _FINISHING_S


def _escape(value: str) -> str:
    """As libfuse wants it in an option string."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


@contextmanager
def _stderr_caught() -> Iterator[Callable[[], str]]:
    """What libfuse and fusermount3 write to descriptor 2 meanwhile, as one line."""
    caught, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with open(caught, "rb") as file:
        kept = os.dup(2)
        os.dup2(written, 2)
        os.close(written)

        def said() -> str:
            lines = (file.read() or b"").decode(errors="replace").split("\n")
            return "; ".join(line.strip() for line in lines if line.strip())

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
