# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What a request costs the store, counted: calls and memory."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from tests.xen.wire import Op
from xsfs.server import C_XENSTORED, OXENSTORED, Rules, Store
from xsfs.server.dispatch import handle


def work(store: Store, op: int, payload: bytes, tx_id: int = 0) -> tuple[int, int]:
    """What a request takes: how many calls, and bytes of memory at the most."""
    peer = store.connect(0, lambda: None)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    tracemalloc.start()
    sys.setprofile(count)
    try:
        handle(store, peer, op, 1, tx_id, payload)
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return calls, peak


@pytest.mark.parametrize("rules", [C_XENSTORED, OXENSTORED], ids=lambda rules: rules.name)
def test_a_transaction_starts_alike_on_any_number_of_nodes(rules: Rules) -> None:
    found = []
    for nodes in (10, 10_000):
        store = Store(rules)
        store.load({b"/%d/%d" % (number % 100, number): b"" for number in range(nodes)})
        # What is made once is made.
        work(store, Op.TRANSACTION_START, b"\0")
        found.append(work(store, Op.TRANSACTION_START, b"\0"))
    (few_calls, few_bytes), (many_calls, many_bytes) = found
    assert few_calls == many_calls
    # Greater numbers take a few bytes more, and so may other threads of the test run.
    assert many_bytes - few_bytes < 2000
