# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The trio client: XenStore's operations as coroutines, watches as async iterators.

For one trio loop; not thread-safe. The verbs are those of the synchronous client, each with
the transaction it is part of as its last argument. Not here: how requests are sent and
awaited (pipeline.py).
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import trio

from xsfs import errors
from xsfs.aio.pipeline import Pipeline
from xsfs.errors import Conflict, EventsLost, NotFound, StoreError
from xsfs.protocol import procedures, requests

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from types import TracebackType

    from xsfs.client.endpoint import Endpoint
    from xsfs.protocol.conversation import Event

T = TypeVar("T")

# How many events a watch holds for a reader who does not keep up.
WATCH_BUFFER = 16384

# How often `run_in_transaction` starts over.
TRANSACTION_ATTEMPTS = 32


class Client(Pipeline):
    """A connection to a XenStore, for trio.

    Use `async with trio.open_nursery() as nursery: await nursery.start(client.run)`.
    Every method that asks the store may raise `StoreError` (what the store said), `Timeout`
    (the request may yet be carried out), `ConnectionError` (the connection was lost before
    the reply came, and the request is not one to repeat), `InvalidPath`,
    `InvalidPermission`, `InvalidPayload`.
    """

    def __init__(
        self,
        path: str | Endpoint | None = None,
        *,
        timeout_s: float = 10.0,
        on_loss: Callable[[], None] = lambda: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, timeout_s=timeout_s, on_loss=on_loss, on_reconnect=on_reconnect)
        self._next_token = 0

    # -- nodes --------------------------------------------------------------------------------

    async def read(self, path: bytes, tx_id: int = 0, *, default: bytes | None = None) -> bytes:
        """The value of a node, to the byte; `default`, if given, when there is no such node."""
        try:
            return await self.call(requests.read(path), tx_id)
        except NotFound:
            if default is None:
                raise
            return default

    async def write(self, path: bytes, value: bytes, tx_id: int = 0) -> None:
        """Set the value of a node; creates it, and its parents with empty values."""
        await self.call(requests.write(path, value), tx_id)

    async def mkdir(self, path: bytes, tx_id: int = 0) -> None:
        """Create a node, and its parents; one that exists keeps its value."""
        await self.call(requests.mkdir(path), tx_id)

    async def delete(self, path: bytes, tx_id: int = 0) -> None:
        """Remove a node and all below it; it may be missing, but not its parent."""
        await self.call(requests.rm(path), tx_id)

    async def list(self, path: bytes, tx_id: int = 0) -> builtins.list[bytes]:
        """The names of all children, however many, in the daemon's order."""
        return await self.perform(procedures.listing(path), tx_id)

    async def exists(self, path: bytes, tx_id: int = 0) -> bool:
        """Whether there is such a node."""
        try:
            await self.call(requests.read(path), tx_id)
        except NotFound:
            return False
        return True

    async def get_perms(self, path: bytes, tx_id: int = 0) -> builtins.list[bytes]:
        """The permission entries, owner first: `[b"n0", b"r5"]`."""
        return await self.call(requests.get_perms(path), tx_id)

    async def set_perms(self, path: bytes, perms: Iterable[bytes], tx_id: int = 0) -> None:
        """Replace the permission entries, owner first."""
        await self.call(requests.set_perms(path, perms), tx_id)

    async def walk(
        self, top: bytes, topdown: bool = True, tx_id: int = 0
    ) -> AsyncIterator[tuple[bytes, bytes, builtins.list[bytes]]]:
        """`(path, value, children)` of `top` and of every node below it.

        Nodes that vanish meanwhile are left out; a value that may not be read is empty.

        Args:
            topdown: parents before their children, and whoever removes names from `children`
                is spared those; else children before their parents.
        """
        walk = procedures.walk(top, topdown)
        with suppress(StopIteration):
            item = next(walk)
            while True:
                if isinstance(item, tuple):
                    yield item
                    item = next(walk)
                else:
                    item = walk.send(await self.batch(item, tx_id))

    async def read_tree(self, path: bytes, tx_id: int = 0) -> dict[bytes, bytes]:
        """The values of a node and of all nodes below it, by path; parents come first.

        Level by level, each in one go. Nodes that vanish meanwhile or may not be read are
        left out; in a transaction it is a snapshot.
        """
        return await self.perform(procedures.tree(path), tx_id)

    # -- transactions and watches -------------------------------------------------------------

    async def transaction(self) -> int:
        """Start a transaction; its id, valid on this connection alone."""
        return await self.call(requests.transaction_start())

    async def commit(self, tx_id: int) -> bool:
        """End a transaction; False when others were in the way: start over."""
        try:
            await self.call(requests.transaction_end(True), tx_id)
        except Conflict:
            return False
        return True

    async def rollback(self, tx_id: int) -> None:
        """Drop a transaction."""
        await self.call(requests.transaction_end(False), tx_id)

    async def run_in_transaction(
        self, body: Callable[[int], Awaitable[T]], attempts: int = TRANSACTION_ATTEMPTS
    ) -> T:
        """Run `body(tx_id)` in a transaction and commit; start over when others interfere.

        Nothing of an attempt that does not commit, or whose body raises, stays in the store.

        Raises:
            Conflict: others interfered `attempts` times.
        """
        with self.in_time():
            for _ in range(attempts):
                tx_id = await self.transaction()
                try:
                    result = await body(tx_id)
                except BaseException as error:
                    self._tell(requests.transaction_end(False), tx_id)
                    if isinstance(error, errors.ConnectionError) and self.is_lost(tx_id):
                        # Nothing of it was done, and it may yet be.
                        continue
                    raise
                try:
                    if await self.commit(tx_id):
                        return result
                except BaseException:
                    # Whether it was cancelled or failed, and perhaps ended already.
                    self._tell(requests.transaction_end(False), tx_id)
                    raise
        raise StoreError.of(b"EAGAIN")

    async def watch(
        self,
        path: bytes,
        deliver: Callable[[Event, bool], None] | None = None,
        *,
        depth: int | None = None,
    ) -> Watch:
        """Have events for `path` and what is below it, until the watch is closed.

        The first event is the store's confirmation. The watch is set again, and fires again,
        when the connection was lost.

        Args:
            path: a path, `@introduceDomain` or `@releaseDomain`.
            deliver: called with each event as it is read, in the order of the stream, and
                whether it is the store's confirmation; when absent, iterate over the watch.
            depth: how many levels below `path` count; only the newest daemons know it.
        """
        self._next_token += 1
        watch = Watch(self, path, b"xsfs-%d" % self._next_token, depth, deliver)
        request = requests.watch(path, watch.token, depth)
        self._subscriptions[watch.token] = watch
        try:
            await self.call(request)
        except BaseException:
            del self._subscriptions[watch.token]
            raise
        return watch

    async def unwatch(self, watch: Watch) -> None:
        """Take a watch back; no event of it is delivered any more."""
        if self._subscriptions.pop(watch.token, None) is None:
            return
        watch.end()
        if self._link is not None:
            # Sent also when we are cancelled; and a lost connection takes the watch along.
            sent = self._send([requests.unwatch(watch.path, watch.token)], 0)
            with trio.move_on_after(self.timeout_s), suppress(errors.ConnectionError):
                await sent.wait()

    async def renew(self, watch: Watch) -> None:
        """Set a watch anew; what the store held back for it is lost.

        Raises:
            Timeout, ConnectionError: it will be set with the next connection.
        """
        watch.fired = False
        _, result = await self.batch(
            [
                requests.unwatch(watch.path, watch.token),
                requests.watch(watch.path, watch.token, watch.depth),
            ]
        )
        if isinstance(result, StoreError):
            raise result

    async def reset_watches(self) -> None:
        """Drop all watches and transactions of the connection."""
        await self.call(requests.reset_watches())

    # -- domains ------------------------------------------------------------------------------

    async def get_domain_path(self, domid: int) -> bytes:
        """The domain's home, `b"/local/domain/<domid>"`, whether or not it exists."""
        return await self.call(requests.get_domain_path(domid))

    async def is_domain_introduced(self, domid: int) -> bool:
        """Whether the store is in communication with the domain."""
        return await self.call(requests.is_domain_introduced(domid))

    async def introduce_domain(self, domid: int, mfn: int, eventchn: int) -> None:
        """Let the store communicate with a domain.

        Args:
            domid: not 0.
            mfn: the machine frame of the domain's ring page.
            eventchn: an unbound event channel in the domain.
        """
        await self.call(requests.introduce_domain(domid, mfn, eventchn))

    async def release_domain(self, domid: int) -> None:
        """Let the store end its communication with a domain."""
        await self.call(requests.release_domain(domid))

    async def resume_domain(self, domid: int) -> None:
        """Let the store report the domain's next shutdown again."""
        await self.call(requests.resume_domain(domid))

    async def set_target(self, domid: int, target: int) -> None:
        """Give a domain the rights of the domain `target`."""
        await self.call(requests.set_target(domid, target))

    # -- the daemon itself --------------------------------------------------------------------

    async def control(self, command: bytes, *arguments: bytes) -> bytes:
        """Say something to the daemon; its answer. What it knows is the daemon's own."""
        return await self.call(requests.control(command, *arguments))

    async def get_feature(self, domid: int | None = None) -> int:
        """The feature bits of the daemon, or those that a domain is offered."""
        return await self.call(requests.get_feature(domid))

    async def set_feature(self, domid: int, features: int) -> None:
        """What features a domain, not yet introduced, shall be offered."""
        await self.call(requests.set_feature(domid, features))

    async def quota_names(self) -> builtins.list[bytes]:
        """The names of the quotas that the daemon knows."""
        return await self.call(requests.quota_names())

    async def get_quota(self, name: bytes, domid: int | None = None) -> int:
        """A quota's value, for new domains or for one domain."""
        return await self.call(requests.get_quota(name, domid))

    async def set_quota(self, name: bytes, value: int, domid: int | None = None) -> None:
        """Set a quota, for new domains or for one domain."""
        await self.call(requests.set_quota(name, value, domid))


class Watch:
    """Events for one path; an async iterator that is closed with `async with`.

    It ends when it is closed. Who reads too slowly is told so by `EventsLost`, and may go on.
    """

    def __init__(
        self,
        client: Client,
        path: bytes,
        token: bytes,
        depth: int | None,
        deliver: Callable[[Event, bool], None] | None,
    ) -> None:
        self.path = path
        self.token = token
        self.depth = depth
        # Whether it has fired since it was set.
        self.fired = False
        self._deliver = self._keep if deliver is None else deliver
        self._client = client
        self._events: deque[Event] = deque()
        self._lost = 0
        self._is_closed = False
        self._readers = trio.lowlevel.ParkingLot()

    def take(self, event: Event) -> None:
        """Deliver an event."""
        first, self.fired = not self.fired, True
        self._deliver(event, first)

    def _keep(self, event: Event, first: bool) -> None:
        # In order: after the first that is lost, all are, until the reader knows.
        if len(self._events) < WATCH_BUFFER and not self._lost:
            self._events.append(event)
            self._readers.unpark()
        else:
            self._lost += 1

    def end(self) -> None:
        """Let the iteration end, after what has come."""
        self._is_closed = True
        self._readers.unpark_all()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._lost:
                lost, self._lost = self._lost, 0
                raise EventsLost(f"{lost} events came while {WATCH_BUFFER} were unread")
            if self._is_closed:
                raise StopAsyncIteration
            await self._readers.park()
        return self._events.popleft()

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.unwatch(self)
