# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The asynchronous client: many requests in flight on one connection; see `Client`."""

from xsfs.aio.client import Client, Watch

__all__ = ["Client", "Watch"]
