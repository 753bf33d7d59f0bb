# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""One tree of exceptions for everything that can go wrong with a XenStore.

An error that the store answers is a `StoreError`, found by its name on the wire; a failure of the
connection is a `ConnectionError`; a mistake in the caller's arguments is a `ValueError` too.
Pure: no input or output, safe from any thread.
"""

from __future__ import annotations

import builtins
import errno
import os
from typing import ClassVar, TypeVar

_E = TypeVar("_E", bound=BaseException)


class XenStoreError(RuntimeError):
    """Root of everything that xsfs raises on purpose.

    A RuntimeError, because that is what programs written for xen.lowlevel.xs catch.
    """


PyXSError = XenStoreError


class InvalidOperation(XenStoreError, ValueError):
    """The operation makes no sense in this state, or is not one of the protocol's."""


class InvalidPayload(XenStoreError, ValueError):
    """A request does not fit into one packet, or a string in it holds a NUL."""


class InvalidPath(XenStoreError, ValueError):
    """A path holds a character that XenStore does not allow, or is too long."""


class InvalidPermission(XenStoreError, ValueError):
    """A permission entry is not a letter of `nrwb` followed by a domain id."""


class ConnectionError(builtins.ConnectionError, XenStoreError):  # noqa: A001 - the tutorial's name
    """The store cannot be reached, or the connection to it is lost."""


class UnexpectedPacket(ConnectionError):
    """The peer broke the protocol; the connection is not usable any more."""


class Timeout(ConnectionError, TimeoutError):
    """No answer came within the time given."""


def of_connection(error: OSError, path: str | None = None) -> ConnectionError:
    """An error of the operating system, as an error of the connection.

    Args:
        path: of the socket or device that was to be opened; None for an open connection.
    """
    number, text = error.errno or errno.EINVAL, error.strerror or str(error)
    if path is None:
        return ConnectionError(number, f"connection lost: {text}")
    return ConnectionError(number, text, path)


def first_of(group: BaseExceptionGroup[_E]) -> _E:
    """The first error of a group, which caused the others: the one to report."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error


class EventsLost(XenStoreError):
    """Events came faster than they were read, and some were dropped; more may come."""


class StoreError(OSError, XenStoreError):
    """The store refused a request: `errno` as in errno.h, `name` as on the wire.

    A name that errno.h does not have (a newer daemon's) gives EIO and keeps its name.
    Source: xs_wire.h, `xsd_errors`; oxenstored adds EQUOTA.
    """

    _registry: ClassVar[dict[bytes, type[StoreError]]] = {}

    def __init_subclass__(cls, name: bytes) -> None:
        StoreError._registry[name] = cls

    def __init__(self, name: bytes) -> None:
        number = _NUMBERS.get(name, errno.EIO)
        text = os.strerror(number)
        if errno.errorcode[number] != name.decode("ascii", "replace"):
            # Escaped: it comes from the peer, and may be shown in a log or on a terminal.
            text += f" ({repr(name)[2:-1]})"
        super().__init__(number, text)
        self.name = name

    def __reduce__(self) -> tuple[type[StoreError], tuple[bytes]]:
        return type(self), (self.name,)

    @classmethod
    def of(cls, name: bytes) -> StoreError:
        """The exception for the error that the wire calls `name`."""
        kind = cls._registry.get(name)
        return StoreError(name) if kind is None else kind(name)


# EQUOTA is the one name on the wire that errno.h does not have.
_NUMBERS = {text.encode(): number for number, text in errno.errorcode.items()}
_NUMBERS[b"EQUOTA"] = errno.EDQUOT


class NotFound(StoreError, name=b"ENOENT"):
    """No such node."""


class Conflict(StoreError, name=b"EAGAIN"):
    """The transaction met another client's change: start it over."""


class Exists(StoreError, name=b"EEXIST"):
    """Such a node or watch is there already."""


class AccessDenied(StoreError, name=b"EACCES"):
    """The node's permissions, or the domain's privilege, do not allow it."""


class TooBig(StoreError, name=b"E2BIG"):
    """The value, the reply or the number of watches is over the daemon's limit."""


class NotSupported(StoreError, name=b"ENOSYS"):
    """The daemon does not know the operation."""
