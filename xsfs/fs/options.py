# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The options of the file system itself; the mount's options include them. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

CacheMode = Literal["strict", "watch", "off"]
EventMode = Literal["full", "modify", "off"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the store is shown. Masks and ids are as in chmod and chown.

    Args:
        root: the store path that is shown.
        raw: values as they are, with no newline added or dropped.
        quiet: changes of mode and owner, which no node has, are passed over and do not fail.
        timeout_s: how long a request waits for the store, in seconds.
    """

    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    fmask: int = 0
    dmask: int = 0
    root: bytes = b"/"
    raw: bool = False
    read_only: bool = False
    quiet: bool = False
    cache: CacheMode = "strict"
    events: EventMode = "full"
    timeout_s: float = 10.0
