# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""A pytest plugin: the fixture `xenstore` is a store of the test's own.

Loaded into every pytest run where xsfs is installed, so it imports nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsfs.server.thread import Running


@pytest.fixture
def xenstore(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The path of the socket of an empty store, to which XENSTORED_PATH points as well."""
    from xsfs.server.thread import running

    with running() as path:
        monkeypatch.setenv("XENSTORED_PATH", path)
        yield path
