# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The embedded store as the source of a mount: its content, and the socket that it listens on.

A file of its own so that a mount of a real store does not load the server.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from xsfs import jsontree
from xsfs.mount.errors import MountError
from xsfs.server import Store, sample, serve

if TYPE_CHECKING:
    from xsfs.mount.options import MountOptions


class Embedded:
    """A store that this process serves while it is mounted.

    Args:
        options: `load=` names its initial content (else the sample), `socket=` its socket.

    Raises:
        MountError: the file of `load=` cannot be read, or is not JSON of that form.
    """

    def __init__(self, options: MountOptions) -> None:
        self._store = _loaded(options.load)
        self._cleanup = ExitStack()
        if options.socket is None:
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="xsfs-"))
            self.path = os.path.join(folder, "socket")
        else:
            self.path = os.path.abspath(options.socket)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `nursery.start` returns when clients can connect.

        Raises:
            OSError: the socket cannot be made, or another process listens on it.
        """
        with self._cleanup:
            await serve(self.path, self._store, task_status=task_status)


def _loaded(load: str | None) -> Store:
    store = Store()
    if load is None:
        sample.load(store)
        return store
    try:
        with open(load, "rb") as file:
            store.load_nodes(jsontree.loads(file.read()))
    except OSError as error:
        raise MountError(f"load={load}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise MountError(f"load={load}: not the JSON of a store: {error}") from None
    return store
