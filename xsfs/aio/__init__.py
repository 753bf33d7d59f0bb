# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client, for trio and asyncio: many requests in flight; see `Client`."""

from xsfs.aio.client import Client, Transaction
from xsfs.aio.watch import Watch

__all__ = ["Client", "Transaction", "Watch"]
