# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""XenStore as a file system, and a XenStore client for Python programs.

The names here are those of pyxs, and what it lacks; each is loaded when it is first used.
The trio client is in xsfs.aio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs.client.client import Client, monitor
    from xsfs.client.compat import Error, xs
    from xsfs.client.endpoint import UnixSocketConnection, XenBusConnection
    from xsfs.client.monitors import Monitor
    from xsfs.client.router import Router
    from xsfs.errors import (
        AccessDenied,
        Conflict,
        ConnectionError,  # noqa: A004 - pyxs's name
        EventsLost,
        Exists,
        InvalidOperation,
        InvalidPath,
        InvalidPayload,
        InvalidPermission,
        NotFound,
        NotSupported,
        PyXSError,
        StoreError,
        Timeout,
        TooBig,
        UnexpectedPacket,
        XenStoreError,
    )
    from xsfs.protocol.conversation import Event

__all__ = [
    "AccessDenied",
    "Client",
    "Conflict",
    "ConnectionError",
    "Error",
    "Event",
    "EventsLost",
    "Exists",
    "InvalidOperation",
    "InvalidPath",
    "InvalidPayload",
    "InvalidPermission",
    "Monitor",
    "NotFound",
    "NotSupported",
    "PyXSError",
    "Router",
    "StoreError",
    "Timeout",
    "TooBig",
    "UnexpectedPacket",
    "UnixSocketConnection",
    "XenBusConnection",
    "XenStoreError",
    "monitor",
    "xs",
]

# Where the names that are not errors live.
_HOMES = {
    "Client": "xsfs.client.client",
    "Error": "xsfs.client.compat",
    "Event": "xsfs.protocol.conversation",
    "Monitor": "xsfs.client.monitors",
    "Router": "xsfs.client.router",
    "UnixSocketConnection": "xsfs.client.endpoint",
    "XenBusConnection": "xsfs.client.endpoint",
    "monitor": "xsfs.client.client",
    "xs": "xsfs.client.compat",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "xsfs.errors")), name)
    globals()[name] = value
    return value
