# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What the fixture `xenstore`, and `running`, offer to the tests of toolstacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import xsfs
from xsfs import errors
from xsfs.errors import (
    AccessDenied,
    InvalidOperation,
    InvalidPath,
    InvalidPermission,
    NotFound,
    StoreError,
    Timeout,
)
from xsfs.server import Op, running

if TYPE_CHECKING:
    from pathlib import Path

    from xsfs.server import Running

pytest_plugins = ["pytester"]

NAME = b"/local/domain/5/name"


def test_values_permissions_and_domains() -> None:
    with (
        running({NAME: b"web"}, perms={NAME: [b"n0", b"r5"]}, domains=[5]) as store,
        xsfs.Client(store) as dom0,
        xsfs.Client(store.domains[5]) as guest,
    ):
        assert guest.read(b"name") == b"web"
        assert dom0.get_perms(NAME) == [b"n0", b"r5"]
        with pytest.raises(AccessDenied):
            guest.write(b"name", b"db")
        assert dom0.is_domain_introduced(5)


def test_a_file_of_json_is_loaded_and_values_go_over_it(tmp_path: Path) -> None:
    file = tmp_path / "tree.json"
    file.write_text('{"tool": {"a": "1", "b": "2"}}')
    with running({b"/tool/b": b"3"}, load=file) as store, xsfs.Client(store) as client:
        assert client.read(b"/tool/a") == b"1"
        assert client.read(b"/tool/b") == b"3"


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), running(load=tmp_path / "missing"):
        pass
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ValueError, match="the text ends where"), running(load=tmp_path / "bad"):
        pass
    with pytest.raises(InvalidPermission, match="x5"), running(perms={b"/": [b"x5"]}):
        pass
    with pytest.raises(InvalidPath), running({b"a b": b""}):
        pass


@pytest.mark.xenstore({b"/a": b"1"}, domains=[5])
def test_a_restart_loses_what_was_written_and_every_connection(xenstore: Running) -> None:
    with xsfs.Client(xenstore) as client:
        client.write(b"/a", b"2")
        xenstore.restart()
        with pytest.raises(errors.ConnectionError):
            client.read(b"/a")
    with xsfs.Client(xenstore) as client, xsfs.Client(xenstore.domains[5]) as guest:
        assert client.read(b"/a") == b"1"
        assert guest.get_domain_path(5) == b"/local/domain/5"


def test_while_it_is_stopped_nobody_listens(xenstore: Running) -> None:
    xenstore.stop()
    xenstore.stop()
    with pytest.raises(errors.ConnectionError):
        xsfs.Client(xenstore).connect()
    with pytest.raises(InvalidOperation, match="not running"):
        xenstore.refuse_nothing()
    xenstore.start()
    with pytest.raises(InvalidOperation, match="stop it first"):
        xenstore.start()
    with xsfs.Client(xenstore) as client:
        assert client.read(b"/") == b""


def test_a_domain_comes_later(xenstore: Running) -> None:
    with xsfs.Client(xenstore) as client, client.monitor() as monitor:
        monitor.watch(b"@introduceDomain", b"in")
        events = monitor.wait()
        assert next(events).path == b"@introduceDomain"
        path = xenstore.add_domain(6)
        assert next(events).path == b"@introduceDomain"
    xenstore.restart()
    assert xenstore.domains == {6: path}
    with xsfs.Client(path) as guest:
        assert guest.get_domain_path(6) == b"/local/domain/6"


def test_a_refused_commit_is_tried_again(xenstore: Running) -> None:
    with xsfs.Client(xenstore) as client:
        xenstore.refuse("EAGAIN", Op.TRANSACTION_END, times=3)
        attempts = 0

        def body(inside: xsfs.Transaction) -> None:
            nonlocal attempts
            attempts += 1
            inside.write(b"/a", b"%d" % attempts)

        client.run_in_transaction(body)
        assert client.read(b"/a") == b"4"
        xenstore.refuse("EAGAIN", Op.TRANSACTION_END)
        client.transaction()
        client.write(b"/a", b"5")
        assert not client.commit()
        assert client.read(b"/a") == b"4"


@pytest.mark.xenstore({b"/a/b": b"1", b"/ab": b"1", b"/local/domain/5": b""}, domains=[5])
def test_only_what_is_meant_is_refused(xenstore: Running) -> None:
    with xsfs.Client(xenstore) as client, xsfs.Client(xenstore.domains[5]) as guest:
        xenstore.refuse("ENOSPC", Op.WRITE, path=b"/a", times=None)
        for path in (b"/a", b"/a/b"):
            with pytest.raises(StoreError, match="No space left"):
                client.write(path, b"2")
            assert client.read(path) in (b"", b"1")
        client.write(b"/ab", b"2")
        xenstore.refuse("EIO", domid=5, path=b"/local/domain/5/x")
        with pytest.raises(NotFound):
            client.read(b"/local/domain/5/x")
        with pytest.raises(StoreError, match="Input/output error"):
            guest.read(b"x")
        with pytest.raises(AccessDenied):
            guest.read(b"x")
        xenstore.refuse_nothing()
        client.write(b"/a", b"2")


@pytest.mark.xenstore({b"/local/domain/5": b""}, perms={b"/local/domain/5": [b"n5"]}, domains=[5])
def test_a_quota(xenstore: Running) -> None:
    xenstore.set_quota("nodes", 2, 5)
    with xsfs.Client(xenstore.domains[5]) as guest:
        guest.write(b"a", b"")
        with pytest.raises(StoreError, match="No space left"):
            guest.write(b"b", b"")
        xenstore.set_quota("nodes", 0, 5)
        guest.write(b"b", b"")
    with pytest.raises(InvalidOperation, match="no such quota: cars"):
        xenstore.set_quota("cars", 1)


def test_a_store_that_is_stalled_answers_late(xenstore: Running) -> None:
    with xsfs.Client(xenstore, timeout_s=0.1) as client:
        with xenstore.stalled(), pytest.raises(Timeout):
            client.write(b"/a", b"1")
        assert client.read(b"/a") == b"1"


def test_the_plugin_in_plain_and_in_async_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os

        import anyio
        import pytest

        import xsfs

        READ = (b"\\2" + bytes(3) + b"\\1" + bytes(7) + b"\\3" + bytes(3)) + b"/a\\0"


        @pytest.mark.xenstore({b"/a": b"value"}, domains=[5])
        def test_plain(xenstore):
            assert os.environ["XENSTORED_PATH"] == xenstore
            with xsfs.Client() as client:
                assert client.read(b"/a") == b"value"
            assert set(xenstore.domains) == {5}


        def test_another_store(xenstore):
            with xsfs.Client() as client:
                assert client.list(b"/") == [b"tool"]


        @pytest.mark.anyio
        @pytest.mark.xenstore({b"/a": b"value"})
        async def test_async(xenstore):
            async with await anyio.connect_unix(xenstore) as stream:
                with xenstore.stalled():
                    await stream.send(READ)
                    with anyio.move_on_after(0.05):
                        await stream.receive()
                        pytest.fail("it answered")
                assert (await stream.receive())[16:] == b"value"
                xenstore.restart()
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers", "-W", "error")
    result.assert_outcomes(passed=4)
