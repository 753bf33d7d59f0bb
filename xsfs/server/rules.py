# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Where the two real daemons differ, as one value each: what `--like` chooses. Pure data.

The default is C xenstored, with the additions of the newest protocol text. Everything that
a client can distinguish and that is not listed here is as in C xenstored in both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """How the store behaves where the daemons do not agree."""

    name: str
    # Listings by byte value instead of in the order of creation.
    sorted_listings: bool
    # A transaction sees the store as it was at its start, and is replayed on a conflict;
    # else it sees a node as it was at the first look, and any change of it is a conflict.
    snapshots: bool
    # A change's reply goes before its events to the connection that made it.
    reply_first: bool
    # Watches are fired, and removals announced, from the root down; else watches in the order
    # of registration, removals from the deepest node up.
    root_first: bool
    # An event equal to one that is still queued is dropped.
    merge_events: bool
    # DIRECTORY_PART, features, quotas, and the depth of a watch.
    extensions: bool
    # CONTROL says OK to everything.
    any_control: bool
    # Listings beyond 4096 bytes go out in one packet, but not to domains.
    long_listings: bool
    # A node belongs to the domain that creates it, else to its parent's owner.
    creator_owns: bool
    # Nodes that go with their domain raise events.
    release_events: bool
    # Permission entries for a domain that is gone are still listed, without effect.
    stale_entries: bool
    # Bytes in a value; None: what the packet leaves.
    value_max: int | None
    # Bytes in a path, what follows /local/domain/N/ in it.
    path_max: int
    # What an id that is no transaction of the connection is answered with.
    unknown_transaction: bytes
    # What a request beyond a quota is answered with.
    over_quota: bytes
    over_watches: bytes


C_XENSTORED = Rules(
    name="xenstored",
    sorted_listings=False,
    snapshots=False,
    reply_first=False,
    root_first=False,
    merge_events=True,
    extensions=True,
    any_control=False,
    long_listings=False,
    creator_owns=True,
    release_events=True,
    stale_entries=True,
    value_max=None,
    path_max=2048,
    unknown_transaction=b"ENOENT",
    over_quota=b"ENOSPC",
    over_watches=b"E2BIG",
)

# With the limits of Debian's oxenstored.conf.
OXENSTORED = Rules(
    name="oxenstored",
    sorted_listings=True,
    snapshots=True,
    reply_first=True,
    root_first=True,
    merge_events=False,
    extensions=False,
    any_control=True,
    long_listings=True,
    creator_owns=False,
    release_events=False,
    stale_entries=False,
    value_max=2048,
    path_max=1024,
    unknown_transaction=b"EIO",
    over_quota=b"EQUOTA",
    over_watches=b"EQUOTA",
)

BY_NAME = {rules.name: rules for rules in (C_XENSTORED, OXENSTORED)}
