# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The errors that a mount can fail with, and their texts for the user. Pure."""

from __future__ import annotations

from xsfs.errors import XenStoreError


class MountError(RuntimeError):
    """The mount could not be made; the text says in one line why, and what to do."""


# Errors whose text is enough for the user; others need a traceback.
EXPECTED = (MountError, OSError, XenStoreError)


def explain(error: BaseException) -> str:
    """An error as one line for the user."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'cannot mount'}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
