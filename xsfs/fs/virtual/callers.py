# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Who waits for an answer, and whether a signal waits for him: seen in /proc.

Only reads /proc/PID; blocking, though short: to be called in a thread. Never follows a link
of /proc, as that would lead back into the mount.
"""

from __future__ import annotations

import os
from contextlib import suppress


def holders(name: bytes, ino: int) -> list[int]:
    """The processes that have a file of that name and inode number open."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        # Another user's, or gone.
        with suppress(OSError):
            if any(_leads_to(pid, fd, name, ino) for fd in os.listdir(f"/proc/{pid}/fd")):
                found.append(int(pid))
    return found


def _leads_to(pid: str, fd: str, name: bytes, ino: int) -> bool:
    try:
        link = os.readlink(os.fsencode(f"/proc/{pid}/fd/{fd}"))
        if not link.endswith(b"/" + name):
            return False
        with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as lines:
            fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    except OSError:
        return False
    # Linux tells the inode number since 5.19; before, the name must do.
    return int(fields.get(b"ino", b"%d" % ino)) == ino


def have_signal(pids: list[int]) -> bool:
    """Whether one of the processes is to be let go."""
    return any(map(_has_signal, pids))


def _has_signal(pid: int) -> bool:
    """Whether a thread of the process has a signal to take that it neither blocks nor ignores."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/status", "rb") as lines:
                masks = {
                    word: int(mask, 16)
                    for word, _, mask in (line.partition(b":\t") for line in lines)
                    if word in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn")
                }
                pending = masks[b"SigPnd"] | masks[b"ShdPnd"]
                if pending & ~(masks[b"SigBlk"] | masks[b"SigIgn"]):
                    return True
    return False
