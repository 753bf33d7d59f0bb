# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A pytest plugin: the fixture `xenstore` is a store of the test's own.

    @pytest.mark.xenstore({b"/local/domain/5/name": b"web"}, domains=[5])
    def test_rename(xenstore):
        with xsfs.Client(xenstore) as client: ...
        xenstore.refuse("EAGAIN", Op.TRANSACTION_END, times=3)

Loaded into every pytest run where xsfs is installed, so it imports nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.server.thread import Running


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "xenstore(values, load=, perms=, domains=, rules=): what the store of the fixture"
        " `xenstore` begins with, see xsfs.server.running",
    )


@pytest.fixture
def xenstore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A store of the test's own: the path of its socket, to which XENSTORED_PATH points as well.

    `xenstore.domains[5]` is the socket of domain 5; `restart`, `refuse`, `stalled` and others are
    methods, see xsfs.server.Running. It serves in a thread, so a test may be async.
    """
    from xsfs.server.thread import running

    marker = request.node.get_closest_marker("xenstore")
    args, kwargs = (marker.args, marker.kwargs) if marker is not None else ((), {})
    with running(*args, **kwargs) as store:
        monkeypatch.setenv("XENSTORED_PATH", store)
        yield store
