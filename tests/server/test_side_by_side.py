# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Random conversations with the embedded store and xenstored: every reply and event is equal.

Left out is only where xenstored is not worth following: where it answers with a stale errno
or aborts (malformed payloads, SET_PERMS of unknown special nodes), and where it asks the
hypervisor which domains exist.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.server.conversation import CLIENTS, GUEST, Step
from tests.server.requests import (
    SPECIAL,
    node_requests,
    other_requests,
    transaction_requests,
    watch_requests,
)
from tests.xen.wire import Op

if TYPE_CHECKING:
    from tests.server.conftest import Stores

transactions = st.none() | st.integers(0, 3)

requests = node_requests | node_requests | watch_requests | transaction_requests | other_requests


def is_worth_following(step: Step) -> bool:
    """Whether xenstored's answer is one to follow."""
    path, _, rest = step.payload.partition(b"\0")
    if step.op == Op.SET_PERMS and path == b"/":
        # Whoever owns the root takes the whole store along when it is released.
        return rest.startswith((b"b0", b"n0", b"w0", b"r0"))
    return True


steps = st.builds(
    lambda client, request, transaction: Step(client, request[0], request[1], transaction),
    st.sampled_from((*CLIENTS, GUEST)),
    requests,
    transactions,
).filter(is_worth_following)


@pytest.mark.parametrize("stores", ["xenstored"], indirect=True)
@settings(max_examples=75)
@given(st.lists(steps, min_size=20, max_size=60))
def test_every_reply_and_event_is_xenstoreds(stores: Stores, conversation: list[Step]) -> None:
    stores.renew()
    for step in conversation:
        stores.say(*step)


def is_in_oxenstoreds_profile(step: Step) -> bool:
    """Whether the embedded store means to do what oxenstored does."""
    path, _, rest = step.payload.partition(b"\0")
    if path in (b"/", *SPECIAL, b"@x") and step.op not in (Op.READ, Op.WATCH):
        return False
    if path.startswith(b"@") and step.op == Op.READ:
        return False
    outside = (Op.RM, Op.WATCH, Op.UNWATCH, Op.DIRECTORY_PART)
    if step.op in outside and step.transaction is not None:
        return False
    if step.op == Op.TRANSACTION_END and rest:
        return False
    if step.op == Op.SET_PERMS and not re.fullmatch(rb"(?:[nrwb][0-7]\0)+", rest):
        return False
    return len(path) < 1000


like_steps = st.builds(
    lambda client, request, transaction: Step(client, request[0], request[1], transaction),
    st.sampled_from(CLIENTS[:GUEST]),
    node_requests | node_requests | watch_requests | transaction_requests,
    transactions,
).filter(is_in_oxenstoreds_profile)


@pytest.mark.parametrize("stores", ["oxenstored"], indirect=True)
@settings(max_examples=75)
@given(st.lists(like_steps, min_size=20, max_size=60))
@example(
    # Replayed, as what it makes was made meanwhile.
    [
        Step(1, Op.TRANSACTION_START, b"\0"),
        Step(0, Op.WRITE, b"/t\0" + b"1"),
        Step(0, Op.WATCH, b"/t\0token\0"),
        Step(1, Op.MKDIR, b"/t\0", 0),
        Step(1, Op.TRANSACTION_END, b"T\0", 0),
    ]
)
def test_every_reply_and_event_is_oxenstoreds(stores: Stores, conversation: list[Step]) -> None:
    stores.renew()
    for step in conversation:
        stores.say(*step)
