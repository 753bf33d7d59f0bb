# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""XenStore as a file system, and a XenStore client for Python programs.

    with xsfs.Client() as client:
        client[b"/local/domain/0/name"] = b"Domain-0"

The names here are those of pyxs, and what it lacks. The asynchronous client is `xsfs.aio`, the
store for demos and tests `xsfs.server`, the interface of xen.lowlevel.xs `xsfs.xs`. Each name
is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs import aio as aio
    from xsfs import compat as compat
    from xsfs import errors as errors
    from xsfs import exceptions as exceptions
    from xsfs import server as server
    from xsfs.client.client import Client, Transaction, monitor
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

    __version__: str

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
    "Transaction",
    "UnexpectedPacket",
    "UnixSocketConnection",
    "XenBusConnection",
    "XenStoreError",
    "monitor",
    "xs",
]

# The module of each name that is not an error.
_HOMES = {
    "Client": "xsfs.client.client",
    "Error": "xsfs.client.compat",
    "Event": "xsfs.protocol.conversation",
    "Monitor": "xsfs.client.monitors",
    "Router": "xsfs.client.router",
    "Transaction": "xsfs.client.client",
    "UnixSocketConnection": "xsfs.client.endpoint",
    "XenBusConnection": "xsfs.client.endpoint",
    "monitor": "xsfs.client.client",
    "xs": "xsfs.client.compat",
}


# Subpackages that can be used after `import xsfs` alone; not in __all__, as what they need (trio)
# may not be installed.
_ROOMS = ("aio", "compat", "errors", "exceptions", "server")


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version(__name__)
    elif name in _ROOMS:
        try:
            value = import_module(f"{__name__}.{name}")
        except ImportError as error:
            raise AttributeError(f"{__name__}.{name} cannot be imported: {error}") from error
    elif name in __all__:
        value = getattr(import_module(_HOMES.get(name, "xsfs.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, "__version__"})
