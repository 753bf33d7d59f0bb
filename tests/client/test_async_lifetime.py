# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The start and the end of the asynchronous client, under trio and asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import xsfs
from tests.client.conftest import TOP
from xsfs import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from tests.xen.daemons import Daemon
    from xsfs.aio import Client

# Both, with each daemon.
pytestmark = pytest.mark.parametrize("loop", ["trio", "asyncio"])


def test_no_store(rundir: Path, loop: str) -> None:
    async def main() -> None:
        with pytest.raises(xsfs.ConnectionError, match="No such file"):
            await xsfs.aio.Client(f"{rundir}/nothing").__aenter__()

    anyio.run(main, backend=loop)


def test_what_does_not_run_says_so_at_once(daemon: Daemon, loop: str) -> None:
    async def main() -> None:
        client = xsfs.aio.Client(str(daemon.socket))
        watch = client.watch(TOP)
        for _ in range(2):
            with anyio.fail_after(1):
                for ask in (client.read(TOP), client.read_tree(TOP), watch.open()):
                    with pytest.raises(xsfs.ConnectionError, match="not running"):
                        await ask
                with pytest.raises(xsfs.ConnectionError, match="not running"):
                    await client.begin().__aenter__()
            async with client:
                assert await client.exists(b"/tool")
                with pytest.raises(xsfs.ConnectionError, match="running already"):
                    await client.__aenter__()
                assert await client.exists(b"/tool")

    anyio.run(main, backend=loop)


def test_who_waits_when_it_ends_is_told(xenstored: Daemon, loop: str) -> None:
    async def main() -> None:
        told = []

        async def wait(client: Client) -> None:
            with pytest.raises(xsfs.ConnectionError) as caught:
                await client.read(b"/tool")
            told.append(caught.value)

        client = xsfs.aio.Client(str(xenstored.socket))
        async with anyio.create_task_group() as tasks, client:
            xenstored.freeze()
            tasks.start_soon(wait, client)
            await anyio.wait_all_tasks_blocked()
        assert len(told) == 1
        xenstored.thaw()

    anyio.run(main, backend=loop)


def test_an_exception_comes_out_as_it_is(daemon: Daemon, loop: str) -> None:
    async def main() -> None:
        async with xsfs.aio.Client(str(daemon.socket)) as client:
            await client.read(b"/no/such/node")

    with pytest.raises(NotFound):
        anyio.run(main, backend=loop)
