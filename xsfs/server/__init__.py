# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store: a XenStore daemon without Xen, for demos and test suites.

`serve` runs in trio; `running` runs it in a thread for as long as a `with` block lasts. Each
name is loaded when it is first used: the pytest plugin below here is part of every test run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xsfs.protocol.packet import Op
    from xsfs.server.listener import serve
    from xsfs.server.rules import C_XENSTORED, OXENSTORED, Rules
    from xsfs.server.store import Store
    from xsfs.server.thread import Running, running

__all__ = ["C_XENSTORED", "OXENSTORED", "Op", "Rules", "Running", "Store", "running", "serve"]

_HOMES = {
    "C_XENSTORED": "rules",
    "OXENSTORED": "rules",
    "Op": "dispatch",
    "Rules": "rules",
    "Running": "thread",
    "Store": "store",
    "running": "thread",
    "serve": "listener",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
