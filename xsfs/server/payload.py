# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The strings and numbers in a request's payload; what is malformed is EINVAL. Pure."""

from __future__ import annotations

import re

from xsfs.errors import StoreError

# The reply of operations that have nothing else to say.
OK = b"OK\0"


def one(payload: bytes) -> bytes:
    """The only string: exactly one NUL, at the end."""
    if payload.find(b"\0") != len(payload) - 1 or not payload:
        raise StoreError(b"EINVAL")
    return payload[:-1]


def some(payload: bytes, least: int, most: int | None = None) -> list[bytes]:
    """From `least` to `most` strings, each with a NUL; bytes after the last NUL do not count."""
    found = payload.split(b"\0")[:-1]
    if len(found) < least or (most is not None and len(found) > most):
        raise StoreError(b"EINVAL")
    return found


def strings(payload: bytes, count: int) -> list[bytes]:
    """Exactly `count` strings."""
    return some(payload, count, count)


def number(text: bytes) -> int:
    """A number in decimal, of 32 bits at most."""
    if not (text.isdigit() and len(text) <= 10):
        raise StoreError(b"EINVAL")
    return int(text)


def leading_number(text: bytes) -> int:
    """As atoi(3): what does not start with a number is 0."""
    match = re.match(rb"\s*([+-]?[0-9]+)", text)
    return int(match[1]) if match else 0
