# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The clients' operations as methods, once for the synchronous client, once for the asynchronous.

Each is built from a function of requests.py or procedures.py, whose arguments and documentation it
takes; a client only says how requests are sent: `batch`. Pure.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from xsfs.errors import StoreError
from xsfs.protocol import procedures, requests

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence

    from xsfs.protocol.procedures import Node, Procedure
    from xsfs.protocol.requests import Request

P = ParamSpec("P")
T = TypeVar("T")

# How long a call waits, in seconds: xenstored answers within a millisecond, and is back after a
# restart or a live update well within this time.
TIMEOUT_S = 10.0

# How often a transaction is tried. If another client interferes every other time, one transaction
# in four billion is given up.
TRANSACTION_ATTEMPTS = 32


async def perform(
    procedure: Procedure[T],
    batch: Callable[[Sequence[Request[object]]], Awaitable[builtins.list[object]]],
) -> T:
    """Run a procedure; `batch` sends its requests and returns their results."""
    try:
        wanted = next(procedure)
        while True:
            wanted = procedure.send(await batch(wanted))
    except StopIteration as stop:
        return cast("T", stop.value)


def _calling(build: Callable[P, Request[T]]) -> Callable[Concatenate[NodeVerbs, P], T]:
    def verb(self: NodeVerbs, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(build(*args, **kwargs))

    return _documented(verb, build)


def _performing(build: Callable[P, Procedure[T]]) -> Callable[Concatenate[NodeVerbs, P], T]:
    def verb(self: NodeVerbs, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.perform(build(*args, **kwargs))

    return _documented(verb, build)


def _awaiting_call(
    build: Callable[P, Request[T]],
) -> Callable[Concatenate[AsyncNodeVerbs, P], Coroutine[Any, Any, T]]:
    async def verb(self: AsyncNodeVerbs, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.call(build(*args, **kwargs))

    return _documented(verb, build)


def _awaiting_performance(
    build: Callable[P, Procedure[T]],
) -> Callable[Concatenate[AsyncNodeVerbs, P], Coroutine[Any, Any, T]]:
    async def verb(self: AsyncNodeVerbs, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.perform(build(*args, **kwargs))

    return _documented(verb, build)


V = TypeVar("V", bound="Callable[..., object]")


def _documented(verb: V, build: Callable[..., object]) -> V:
    """Give the verb the documentation and arguments of `build`, for help() and Sphinx."""
    signature = inspect.signature(build)
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    # `Request[T]` and `Procedure[T]` become T.
    result = str(signature.return_annotation).partition("[")[2][:-1]
    verb.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[self, *signature.parameters.values()], return_annotation=result
    )
    # Sphinx looks here for what is returned.
    verb.__annotations__["return"] = result
    verb.__doc__ = build.__doc__
    return verb


class _Named:
    """Names the verbs of a class after its attributes."""

    def __init_subclass__(cls) -> None:
        for name, verb in vars(cls).items():
            if getattr(verb, "__name__", None) == "verb":
                verb.__name__, verb.__qualname__ = name, f"{cls.__qualname__}.{name}"
                verb.__module__ = cls.__module__


class NodeVerbs(_Named):
    """What can be done with nodes, also within a transaction."""

    def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        raise NotImplementedError

    def call(self, request: Request[T]) -> T:
        """Send one request (see `xsfs.protocol.requests`) and have its result."""
        (result,) = self.batch((request,))
        if isinstance(result, StoreError):
            raise result
        return cast("T", result)

    def perform(self, procedure: Procedure[T]) -> T:
        """Run a procedure of several requests (see `xsfs.protocol.procedures`)."""
        try:
            wanted = next(procedure)
            while True:
                wanted = procedure.send(self.batch(wanted))
        except StopIteration as stop:
            return cast("T", stop.value)

    read = __getitem__ = _calling(requests.read)
    write = __setitem__ = _calling(requests.write)
    mkdir = _calling(requests.mkdir)
    delete = __delitem__ = _calling(requests.rm)
    exists = __contains__ = _calling(requests.exists)
    get_perms = _calling(requests.get_perms)
    set_perms = _calling(requests.set_perms)
    list = _performing(procedures.listing)
    read_tree = _performing(procedures.tree)

    def walk(self, top: bytes, topdown: bool = True) -> Iterator[Node]:
        walk = procedures.Walk(top, topdown)
        while (node := self.perform(walk.next())) is not None:
            yield node

    walk.__doc__ = procedures.Walk.__doc__


class StoreVerbs(NodeVerbs):
    """What can be done with domains and with the daemon itself."""

    get_domain_path = _calling(requests.get_domain_path)
    is_domain_introduced = _calling(requests.is_domain_introduced)
    introduce_domain = _calling(requests.introduce_domain)
    release_domain = _calling(requests.release_domain)
    resume_domain = _calling(requests.resume_domain)
    set_target = _calling(requests.set_target)
    reset_watches = _calling(requests.reset_watches)
    control = _calling(requests.control)
    get_feature = _calling(requests.get_feature)
    set_feature = _calling(requests.set_feature)
    quota_names = _calling(requests.quota_names)
    get_quota = _calling(requests.get_quota)
    set_quota = _calling(requests.set_quota)


class AsyncNodeVerbs(_Named):
    """What can be done with nodes, also within a transaction."""

    async def batch(self, batch: Sequence[Request[object]]) -> builtins.list[object]:
        """Send many requests in one go; their results in order, `StoreError`s as values."""
        raise NotImplementedError

    async def call(self, request: Request[T]) -> T:
        """Send one request (see `xsfs.protocol.requests`) and have its result."""
        (result,) = await self.batch((request,))
        if isinstance(result, StoreError):
            raise result
        return cast("T", result)

    async def perform(self, procedure: Procedure[T]) -> T:
        """Run a procedure of several requests (see `xsfs.protocol.procedures`)."""
        return await perform(procedure, self.batch)

    read = _awaiting_call(requests.read)
    write = _awaiting_call(requests.write)
    mkdir = _awaiting_call(requests.mkdir)
    delete = _awaiting_call(requests.rm)
    exists = _awaiting_call(requests.exists)
    get_perms = _awaiting_call(requests.get_perms)
    set_perms = _awaiting_call(requests.set_perms)
    list = _awaiting_performance(procedures.listing)
    read_tree = _awaiting_performance(procedures.tree)

    async def walk(self, top: bytes, topdown: bool = True) -> AsyncIterator[Node]:
        walk = procedures.Walk(top, topdown)
        while (node := await self.perform(walk.next())) is not None:
            yield node

    walk.__doc__ = procedures.Walk.__doc__


class AsyncStoreVerbs(AsyncNodeVerbs):
    """What can be done with domains and with the daemon itself."""

    get_domain_path = _awaiting_call(requests.get_domain_path)
    is_domain_introduced = _awaiting_call(requests.is_domain_introduced)
    introduce_domain = _awaiting_call(requests.introduce_domain)
    release_domain = _awaiting_call(requests.release_domain)
    resume_domain = _awaiting_call(requests.resume_domain)
    set_target = _awaiting_call(requests.set_target)
    reset_watches = _awaiting_call(requests.reset_watches)
    control = _awaiting_call(requests.control)
    get_feature = _awaiting_call(requests.get_feature)
    set_feature = _awaiting_call(requests.set_feature)
    quota_names = _awaiting_call(requests.quota_names)
    get_quota = _awaiting_call(requests.get_quota)
    set_quota = _awaiting_call(requests.set_quota)
