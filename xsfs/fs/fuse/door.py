# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Where each request of the kernel comes in, and each exception goes out as an errno.

Three things are done here for all requests: those of the event helper are answered by
`HelperRequests`, and by nothing else; all that one request asks of the store shares one deadline;
and no exception but pyfuse3's reaches pyfuse3, as any other would end the mount.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import pyfuse3

from xsfs.aio import deadline
from xsfs.aio.deadline import StoreUnavailable
from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.fs.fuse import trace
from xsfs.fs.fuse.errors import errno_of
from xsfs.fs.fuse.helper_requests import HELPER_HANDLE, HelperRequests
from xsfs.fs.fuse.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from xsfs.fs.inotify.queue import NotificationQueue

    Handler: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]

log = logging.getLogger(__name__)

# Requests of the helper that do not name their caller, in their last argument, but an open file.
_BY_HANDLE = ("write", "flush", "release")

# Requests by which the store is never asked.
_LOCAL = ("poll", "statfs", "access", "releasedir", "fsyncdir", "link", "symlink")


class Door(pyfuse3.Operations):
    """What pyfuse3 calls: the handlers of `Operations`, each wrapped as described above."""

    def __init__(
        self, operations: Operations, helper: HelperRequests, queue: NotificationQueue
    ) -> None:
        super().__init__()
        for name in vars(Operations):
            if name.startswith("_"):
                continue
            handler = getattr(operations, name)
            # No answer is sent to `forget`, so there is no error to translate.
            entry = handler if name == "forget" else _entry(name, handler, helper, queue)
            setattr(self, name, trace.traced(entry, name) if trace.is_on() else entry)


def _entry(
    name: str, handler: Handler, helper: HelperRequests, queue: NotificationQueue
) -> Handler:
    asks_store, by_handle = name not in _LOCAL, name in _BY_HANDLE
    helper_handler = getattr(helper, name, None)

    async def entry(*args: Any) -> object:
        try:
            if helper_handler is not None and (
                args[0] == HELPER_HANDLE if by_handle else args[-1].pid == queue.helper_pid
            ):
                return helper_handler(*args)
            if asks_store:
                deadline.begin()
            return await handler(*args)
        except Exception as error:
            raise _answer(name, args, error) from error

    return entry


def _answer(name: str, args: tuple[object, ...], error: Exception) -> pyfuse3.FUSEError:
    """The answer to a request that failed; an error of xsfs itself is logged."""
    number = errno_of(error)
    if number is None:
        log.error("%s%r failed: please report this", name, args, exc_info=error)
        number = errno.EIO
    elif isinstance(error, StoreConnectionError) and not isinstance(error, StoreUnavailable):
        log.warning("%s: %s", name, error)
    return pyfuse3.FUSEError(number)
