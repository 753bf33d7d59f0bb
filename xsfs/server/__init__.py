# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store: a XenStore daemon without Xen, for demos and test suites.

`serve` runs in trio; `running` runs it in a thread for as long as a `with` block lasts.
"""

from xsfs.server.listener import serve
from xsfs.server.rules import C_XENSTORED, OXENSTORED, Rules
from xsfs.server.store import Store
from xsfs.server.thread import Running, running

__all__ = ["C_XENSTORED", "OXENSTORED", "Rules", "Running", "Store", "running", "serve"]
