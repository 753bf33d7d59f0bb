# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store for programs that do not run trio: in a thread of its own.

For other people's test suites: `with xsfs.server.running() as path:` and the store is at the
socket `path`. The thread owns the store; nothing of it may be touched from outside.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from typing import TYPE_CHECKING

from xsfs.server.listener import Listener
from xsfs.server.rules import C_XENSTORED, Rules
from xsfs.server.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Running(str):
    """The path of the socket, and those of the sockets that speak as other domains."""

    __slots__ = ("domains",)

    domains: dict[int, str]


@contextlib.contextmanager
def running(
    values: Mapping[bytes, bytes] | None = None,
    *,
    domains: Iterable[int] = (),
    rules: Rules = C_XENSTORED,
) -> Iterator[Running]:
    """A store of its own, empty but for `values`, for as long as the block lasts.

    Args:
        values: what is in the store, by absolute path.
        domains: unprivileged domains that get a socket each: `path.domains[5]`.
        rules: which real daemon it follows where they differ.

    Raises:
        OSError: no socket can be made.
        InvalidPath: one of the paths is malformed.
    """
    store = Store(rules)
    store.load(values or {})
    with tempfile.TemporaryDirectory(prefix="xenstore-") as folder:
        path = Running(os.path.join(folder, "socket"))
        path.domains = {domid: os.path.join(folder, f"domain-{domid}") for domid in domains}
        with Listener(store, {0: path, **path.domains}) as listener:
            thread = threading.Thread(target=listener.run, name="xenstore", daemon=True)
            thread.start()
            try:
                yield path
            finally:
                listener.stop()
                thread.join()
