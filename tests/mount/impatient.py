# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A mount that does not wait long, for the tests that take its store away."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.mount.mounting import Mounted
from tests.outcome import error_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.xen.daemons import Daemon

TIMEOUT_S = 1.0
# What a busy machine adds; less than would hide that the usual timeout of 10 s was taken.
SLACK_S = 6.0

EXPECTED = (
    "connection lost",
    "connected again",
    "no answer in",
    "the connection to the store was lost",
    "cannot read what changed",
    "cannot set the watch again",
    "was lost with",
    "was not stored",
)


class Impatient(Mounted):
    """A mount whose daemon waits for a second, and may say what a lost store makes it say."""

    expected = EXPECTED

    def __init__(self, source: Path, options: str = "") -> None:
        super().__init__(source, ",".join(filter(None, (f"timeout={TIMEOUT_S:g}", options))))


def store(daemon: Daemon, **values: str) -> None:
    """Write to the store from outside; two underscores stand for a slash."""
    for name, value in values.items():
        path = "/" + name.replace("__", "/")
        assert daemon.tool("xenstore-write", path, value).returncode == 0


def answered(file: Path) -> bytes:
    """What a file holds, when the store answers.

    On a busy machine a connection may take longer than a request waits for one.
    """
    until(lambda: error_of(file.read_bytes) != errno.EIO)
    return file.read_bytes()


@contextmanager
def in_time() -> Iterator[None]:
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < TIMEOUT_S + SLACK_S


def error_in_time(do: Callable[[], object]) -> int:
    """`error_of` something that has to end in time."""
    with in_time():
        return error_of(do)
