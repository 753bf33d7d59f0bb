# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Exceptions become errno values, in one place, for every request of the kernel."""

from __future__ import annotations

import errno
import functools
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

import pyfuse3

from xsfs.aio.pipeline import StoreUnavailable
from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission, StoreError
from xsfs.fs.fuse import trace
from xsfs.fs.store.reads import FSError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Served")

log = logging.getLogger(__name__)

# What the store's errors mean to a program that uses files; others keep their number.
_ERRNO = {errno.E2BIG: errno.EFBIG, errno.EINVAL: errno.ENAMETOOLONG}


def errno_of(error: Exception) -> int | None:
    """The errno to answer with; None for what should not have happened."""
    match error:
        case FSError():
            return error.errno
        case StoreError():
            return _ERRNO.get(error.errno or errno.EIO, error.errno)
        case StoreConnectionError():
            return errno.EIO
        case InvalidPayload():
            return errno.EFBIG
        case InvalidPath():
            return errno.ENAMETOOLONG
        case InvalidPermission():
            return errno.EINVAL
        case _:
            return None


Method: TypeAlias = "Callable[Concatenate[S, P], Coroutine[Any, Any, T]]"


class Served(Protocol):
    """Whose handlers these are."""

    def count_together(self, together: bool) -> None:
        """Whether what this task asks of the store from now on has one timeout together."""


def answering(handler: Method[S, P, T]) -> Method[S, P, T]:
    """A handler whose every exception is an answer, in time; the mount lives on."""
    return _translating(handler, in_time=True)


def waiting(handler: Method[S, P, T]) -> Method[S, P, T]:
    """As `answering`, but it may wait for as long as its caller does."""
    return _translating(handler, in_time=False)


def _translating(handler: Method[S, P, T], *, in_time: bool) -> Method[S, P, T]:
    async def translated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.count_together(in_time)
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            number = errno_of(error)
            if number is None:
                log.exception("%s%r failed", handler.__name__, args)
                number = errno.EIO
            elif isinstance(error, StoreConnectionError) and not isinstance(
                error, StoreUnavailable
            ):
                log.warning("%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(number) from error

    async def traced(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        said = "given up"
        started_s = monotonic()
        try:
            result = await translated(self, *args, **kwargs)
            said = trace.answer(result)
        except pyfuse3.FUSEError as error:
            said = trace.answer(error)
            raise
        finally:
            took_ms = (monotonic() - started_s) * 1000
            log.debug("%s = %s (%.1f ms)", trace.request(handler.__name__, args), said, took_ms)
        return result

    @functools.wraps(handler)
    def answer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return (traced if log.isEnabledFor(logging.DEBUG) else translated)(self, *args, **kwargs)

    return answer
