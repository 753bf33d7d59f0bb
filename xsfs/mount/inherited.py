# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What the process inherits from its parent: descriptors, limits, and a view of /proc.

What would break the mount later is corrected here, or refused with what to do about it.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress

from xsfs.mount.errors import MountError

# A mount has some 20 open, and two for each client of the embedded store (measured).
_DESCRIPTORS_MIN = 64

# The event helper writes a byte, to raise the event of a written value.
_FILE_SIZE_MIN = 4096


def reserve_standard_descriptors() -> None:
    """Open /dev/null as those of the descriptors 0 to 2 that are closed.

    To be called before any other file is opened: that would get such a number, and be used as
    standard input, output or error from then on.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has set these to None, for which print() uses standard output.
    if sys.stdout is None:
        sys.stdout = open(1, "w")  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w")  # noqa: SIM115 - the same


def check() -> None:
    """Raise the limits as far as allowed, and check that a mount has what it needs.

    Raises:
        MountError: something is missing; says what to do.
    """
    # The /proc of another pid namespace shows other processes by our numbers.
    pid = ""
    with suppress(OSError):
        pid = os.readlink("/proc/self")
    if pid != str(os.getpid()):
        raise MountError(
            "/proc is not mounted, or is another pid namespace's: `mount -t proc proc /proc` first"
        )
    _raise_limit(
        resource.RLIMIT_NOFILE,
        _DESCRIPTORS_MIN,
        "files may be open at once, {least} are needed: raise `ulimit -n`, or LimitNOFILE= "
        "of a systemd unit",
    )
    _raise_limit(
        resource.RLIMIT_FSIZE,
        _FILE_SIZE_MIN,
        "bytes may be written to a file, {least} are needed to raise events: raise `ulimit -f`, "
        "or LimitFSIZE= of a systemd unit",
    )


def _raise_limit(limit: int, least: int, text: str) -> None:
    soft, hard = resource.getrlimit(limit)
    if soft != hard:
        resource.setrlimit(limit, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < least:
        raise MountError(f"only {hard} {text.format(least=least)}")
