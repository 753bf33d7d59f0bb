# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""SOURCE on the command line: the store that it means, and why that cannot be reached."""

from __future__ import annotations

import difflib
import errno
import os
import stat

from xsfs.client import endpoint
from xsfs.mount.errors import MountError

# The source that means a store of our own.
EMBEDDED = "embedded"

_IS_IT_RUNNING = "is xenstored running?"
_HINTS = {
    errno.ENOENT: _IS_IT_RUNNING,
    errno.ECONNREFUSED: f"no process listens there; {_IS_IT_RUNNING}",
    errno.EACCES: "are you root?",
    errno.EPERM: "are you root?",
}


def find(source: str | None) -> str:
    """The absolute path of the socket or device that a source means.

    Raises:
        MountError: no store is found.
    """
    try:
        return os.path.abspath(endpoint.find(source).path)
    except endpoint.NoStore as error:
        raise MountError(
            f"{error.strerror}; to try without Xen: xsfs embedded MOUNTPOINT"
        ) from None


def unreachable(path: str, error: OSError) -> MountError:
    """Why there is no connection to the store at a path, and what to do."""
    said = error.strerror or str(error)
    hint = _what_it_is(path) or _HINTS.get(error.errno or 0, "")
    return MountError(f"cannot connect to {path}: {said}{hint and '; '}{hint}")


def unusable(path: str, error: OSError) -> MountError:
    """Why the embedded store cannot listen at a path, and what to do."""
    said = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        said += "; another store listens there: name another socket="
    return MountError(f"{path}: {said}")


def _what_it_is(path: str) -> str:
    """Why a path is neither a socket nor a device, as a hint for the user."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        folder, name = os.path.split(path)
        words = (EMBEDDED, *endpoint.PLACEHOLDERS)
        if folder == os.getcwd() and (meant := difflib.get_close_matches(name, words, 1)):
            return f"did you mean `{meant[0]}`?"
        return ""
    except OSError:
        return ""
    if stat.S_ISDIR(mode):
        inside = os.path.join(path, "socket")
        meant_path = inside if os.path.exists(inside) else "its socket"
        return f"it is a directory, name {meant_path}"
    if stat.S_ISREG(mode):
        return "it is a file, not a socket or a device"
    return ""
