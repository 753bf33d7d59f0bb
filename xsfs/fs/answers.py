# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Exceptions become errno values, in one place, for every request of the kernel."""

from __future__ import annotations

import errno
import functools
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyfuse3

from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission, StoreError
from xsfs.fs import trace
from xsfs.fs.tree import FSError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

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


def answering(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A handler whose every exception is an answer; the mount lives on."""

    async def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            number = errno_of(error)
            if number is None:
                log.exception("%s%r failed", handler.__name__, args[1:])
                number = errno.EIO
            elif isinstance(error, StoreConnectionError):
                log.warning("%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(number) from error

    async def traced(*args: P.args, **kwargs: P.kwargs) -> T:
        said = "given up"
        started_s = monotonic()
        try:
            result = await translated(*args, **kwargs)
            said = trace.answer(result)
        except pyfuse3.FUSEError as error:
            said = trace.answer(error)
            raise
        finally:
            took_ms = (monotonic() - started_s) * 1000
            log.debug("%s = %s (%.1f ms)", trace.request(handler.__name__, args[1:]), said, took_ms)
        return result

    @functools.wraps(handler)
    def answer(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return (traced if log.isEnabledFor(logging.DEBUG) else translated)(*args, **kwargs)

    return answer
