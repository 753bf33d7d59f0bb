# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The part of the mount that all processes change at once. Single-threaded, in each of them.

Nobody can say how an operation must end, but for three things: it fails only as the names that
others make and remove explain; of those who make the same lock one succeeds; no increment of a
counter is lost.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.outcome import error_of
from tests.soak.subtree import get, put

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b", "c", "d")

EXPECTED = frozenset(
    {
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
        errno.EINVAL,  # a directory into itself
        errno.EAGAIN,  # a transaction that met a change
        errno.ESTALE,  # a file that became a directory
        errno.ENODATA,  # the permissions of a file that another process has not written yet
    }
)


class Shared:
    """What one process does there.

    Args:
        mount: the mountpoint.
        number: of this process.
        seed: of what it does, with the number.
    """

    def __init__(self, mount: Path, number: int, seed: int) -> None:
        self._mount = mount
        self._number = number
        self._random = random.Random(seed + number)
        self._view = f"{mount}/.transactions/shared-{number}"
        self.increments = 0
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    @staticmethod
    def prepare(mount: Path) -> None:
        """Make what is there from the start."""
        for name in ("free", "locked", "counted"):
            os.makedirs(mount / "load" / name)
        put(f"{mount}/load/locked/owner", b"nobody", os.O_WRONLY | os.O_CREAT)
        put(f"{mount}/load/counted/counter", b"0", os.O_WRONLY | os.O_CREAT)

    def step(self) -> None:
        """One operation, chosen at random, and what became of it."""
        match self._random.randrange(8):
            case 0:
                self.lock()
            case 1:
                self.increment()
            case _:
                self.meddle()

    def _ended(self, what: str, code: int) -> None:
        self.counts[errno.errorcode[code] if code else "done"] += 1
        if code and code not in EXPECTED:
            self.wrong.append(f"shared: {what}: {errno.errorcode.get(code, code)}")

    def meddle(self) -> None:
        """Anything, with a name that anybody may change meanwhile."""
        top = f"{self._mount}/load/free"
        path = f"{top}/{self._random.choice(NAMES)}"
        if not self._random.randrange(3):
            path += f"/{self._random.choice(NAMES)}"
        other = f"{top}/{self._random.choice(NAMES)}"
        create = os.O_WRONLY | os.O_CREAT
        actions = {
            "write": lambda: put(path, b"%d\n" % self._number, create | os.O_TRUNC),
            "create": lambda: put(path, b"new", create | os.O_EXCL),
            "append": lambda: put(path, b"1", os.O_WRONLY | os.O_APPEND),
            "read": lambda: get(path),
            "truncate": lambda: os.truncate(path, 1),
            "mkdir": lambda: os.mkdir(path),
            "rmdir": lambda: os.rmdir(path),
            "unlink": lambda: os.unlink(path),
            "rename": lambda: os.rename(path, other),
            "list": lambda: os.listdir(top),
            "stat": lambda: os.stat(path),
            "getxattr": lambda: os.getxattr(path, "user.xenstore.perms"),
            "json": lambda: get(f"{top}/.json"),
            "patch": lambda: put(f"{top}/.json", b'{"a": null, "b": {"c": "1"}}', os.O_WRONLY),
        }
        what = self._random.choice(list(actions))
        self._ended(what, error_of(actions[what]))

    def lock(self) -> None:
        """mkdir as a lock: whoever made it is alone until he removes it."""
        place = f"{self._mount}/load/locked"
        code = error_of(lambda: os.mkdir(f"{place}/lock"))
        self._ended("lock", code)
        if code:
            return
        mine = b"%d\n" % self._number
        put(f"{place}/owner", mine, os.O_WRONLY | os.O_TRUNC)
        if (found := get(f"{place}/owner")) != mine:
            self.wrong.append(f"shared: locked by {mine!r} and by {found!r}")
        if code := error_of(lambda: os.rmdir(f"{place}/lock")):
            self.wrong.append(f"shared: unlock: {errno.errorcode[code]}")

    def increment(self) -> None:
        """Read and write in a transaction: lost when somebody else was faster."""
        os.mkdir(self._view)
        counter = f"{self._view}/load/counted/counter"
        put(counter, b"%d\n" % (int(get(counter)) + 1), os.O_WRONLY | os.O_TRUNC)
        code = error_of(lambda: put(f"{self._view}/.commit", b"1", os.O_WRONLY))
        self._ended("increment", code)
        self.increments += not code
