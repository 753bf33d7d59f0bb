# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The interface of `xen.lowlevel.xs`, importable as `from xsfs.compat import xs`."""

from xsfs.client.compat import Error, xs

__all__ = ["Error", "xs"]
