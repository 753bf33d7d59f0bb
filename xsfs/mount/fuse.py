# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Whether this user can mount by FUSE: pyfuse3, /dev/fuse, fusermount3 and /etc/fuse.conf."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from xsfs.mount.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Collection

FUSE_CONF = "/etc/fuse.conf"


def require_pyfuse3() -> None:
    """Check that pyfuse3 is installed, which the clients do not need.

    Raises:
        MountError: it is missing.
    """
    if importlib.util.find_spec("pyfuse3") is None:
        raise MountError(
            "pyfuse3 is missing, without which nothing can be mounted: `pip install pyfuse3` "
            "(it takes gcc, pkg-config and Debian's libfuse3-dev and python3-dev)"
        )


def check(options: Collection[str]) -> None:
    """Check that this user can mount by FUSE.

    Args:
        options: those that are passed on to libfuse.

    Raises:
        MountError: something is missing; says what to do.
    """
    require_pyfuse3()
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise MountError(
            "/dev/fuse is missing: `modprobe fuse`, or hand the device to this container"
        ) from None
    except OSError as error:
        raise MountError(
            f"/dev/fuse cannot be opened: {error.strerror}; root can, or `chmod 666 /dev/fuse`"
        ) from None
    if not os.geteuid():
        return
    if shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is missing: only root can mount without it; install fuse3")
    if not {"allow_other", "allow_root"}.isdisjoint(options) and not _may_allow_other():
        raise MountError(
            "allow_other and allow_root are for root alone, "
            f"unless {FUSE_CONF} has a line `user_allow_other`"
        )


def _may_allow_other() -> bool:
    with suppress(OSError), open(FUSE_CONF, encoding="utf-8", errors="replace") as lines:
        return any(line.strip() == "user_allow_other" for line in lines)
    return False
