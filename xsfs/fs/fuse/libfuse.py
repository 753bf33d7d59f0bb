# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The libfuse that pyfuse3 was built for, for functions that pyfuse3 does not offer."""

from __future__ import annotations

import ctypes

import pyfuse3  # noqa: F401 - has it loaded


def library() -> ctypes.CDLL:
    """The library that is loaded: there may be others on the machine."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        path = next(line.split()[-1] for line in maps if "/libfuse3.so" in line)
    found = ctypes.CDLL(path)
    found.fuse_pkgversion.restype = ctypes.c_char_p
    return found
