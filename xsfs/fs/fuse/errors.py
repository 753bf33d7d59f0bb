# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The errno that each exception is answered with: the one table."""

from __future__ import annotations

import errno

from xsfs.errors import ConnectionError as StoreConnectionError
from xsfs.errors import InvalidPath, InvalidPayload, InvalidPermission, StoreError
from xsfs.fs.store.reads import FSError

# The store's errors keep their number, but for these. EINVAL means a path longer than the daemon
# takes, as names that are not allowed are never sent; ENOSPC, any quota of C xenstored.
_OF_STORE = {
    errno.E2BIG: errno.EFBIG,
    errno.EINVAL: errno.ENAMETOOLONG,
    errno.ENOSPC: errno.EDQUOT,
}


def errno_of(error: Exception) -> int | None:
    """The errno to answer with; None for an error of xsfs itself."""
    match error:
        case FSError():
            return error.errno
        case StoreError():
            return _OF_STORE.get(error.errno or errno.EIO, error.errno)
        case StoreConnectionError():
            return errno.EIO
        case InvalidPayload():
            return errno.EFBIG
        case InvalidPath():
            return errno.ENAMETOOLONG
        case InvalidPermission():
            return errno.EINVAL
        case _:
            return None
