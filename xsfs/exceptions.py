# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The exceptions by the name that pyxs has for their module; they live in `xsfs.errors`."""

from xsfs.errors import (
    ConnectionError,  # noqa: A004 - pyxs's name
    InvalidOperation,
    InvalidPath,
    InvalidPayload,
    InvalidPermission,
    PyXSError,
    UnexpectedPacket,
)

__all__ = [
    "ConnectionError",
    "InvalidOperation",
    "InvalidPath",
    "InvalidPayload",
    "InvalidPermission",
    "PyXSError",
    "UnexpectedPacket",
]
