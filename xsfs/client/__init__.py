# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The synchronous client: for any thread, with the names of pyxs; see `Client`.

Each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs.client.client import Client, monitor
    from xsfs.client.monitors import Monitor
    from xsfs.client.router import Router

__all__ = ["Client", "Monitor", "Router", "monitor"]

_HOMES = {"Client": "client", "Monitor": "monitors", "Router": "router", "monitor": "client"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
