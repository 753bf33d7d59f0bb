# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""How a call ends, and whether something becomes so in time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.deadline import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable


def error_of(do: Callable[[], object]) -> int:
    """The errno with which something fails; 0 if it does not."""
    try:
        do()
    except OSError as error:
        return error.errno or -1
    return 0


def until(is_so: Callable[[], object], timeout_s: float = DEADLINE_S) -> None:
    """Ask until it is so: for what there is no event to wait for.

    Raises:
        TimeoutError: it is not so in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"it is not so after {timeout_s} s")
        os.sched_yield()
