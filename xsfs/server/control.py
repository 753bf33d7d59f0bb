# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""CONTROL: an administrator's commands to the daemon itself. Pure but for log lines.

The replies are worded and laid out as xenstored's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from xsfs.errors import StoreError
from xsfs.server import quota
from xsfs.server.payload import OK, leading_number, some
from xsfs.server.tree import walk_down
from xsfs.server.turns import completed

if TYPE_CHECKING:
    from collections.abc import Callable

    from xsfs.server.peer import Peer
    from xsfs.server.store import Store
    from xsfs.server.tree import View
    from xsfs.server.turns import Turns

    Command: TypeAlias = Callable[[Store, list[bytes]], bytes | Turns[bytes]]

_log = logging.getLogger(__name__)


def control(store: Store, peer: Peer, view: View, payload: bytes) -> bytes | Turns[bytes]:
    """Carry out a command."""
    if store.rules.any_control:
        return OK
    name, *arguments = some(payload, 1)
    if name not in _COMMANDS:
        raise StoreError(b"EINVAL")
    command, _ = _COMMANDS[name]
    return _carry_out(command(store, arguments))


def _carry_out(outcome: bytes | Turns[bytes]) -> Turns[bytes]:
    return (yield from completed(outcome)) + b"\0"


def _help(store: Store, arguments: list[bytes]) -> bytes:
    _none(arguments)
    return b"".join(b"%b\t%b\n" % (name, usage) for name, (_, usage) in _COMMANDS.items())


def _check(store: Store, arguments: list[bytes]) -> Turns[bytes]:
    """Every node has to be reachable."""
    _none(arguments)
    reachable = 0
    for _ in walk_down(store.tree, b"/"):
        reachable += 1
        yield 1
    if reachable != len(store.tree):
        _log.error("check: %d nodes, but %d reachable from the root", len(store.tree), reachable)
        raise StoreError(b"EIO")
    return b"OK"


def _print(store: Store, arguments: list[bytes]) -> bytes:
    if len(arguments) != 1:
        raise StoreError(b"EINVAL")
    _log.info("control: %r", arguments[0])
    return b"OK"


def _quota(store: Store, arguments: list[bytes]) -> bytes:
    if not arguments:
        return b"Quota settings:\n" + b"".join(
            b"%-17b: %8d %b\n" % (name, store.quotas.get(name), quota.DESCRIPTIONS[name])
            for name in store.quotas.names
        )
    if arguments[0] == b"set":
        return _set_quota(store, arguments[1:])
    if len(arguments) != 1:
        raise StoreError(b"EINVAL")
    return _domain_quota(store, leading_number(arguments[0]))


def _set_quota(store: Store, arguments: list[bytes]) -> bytes:
    if len(arguments) != 2 or arguments[0] not in store.quotas.names:
        raise StoreError(b"EINVAL")
    value = leading_number(arguments[1])
    if value < 1:
        raise StoreError(b"EINVAL")
    store.quotas.set(arguments[0], value)
    return b"OK"


def _domain_quota(store: Store, domid: int) -> bytes:
    if not store.domains.is_introduced(domid):
        raise StoreError(b"ENOENT")
    peers = store.of_domain(store.domains[domid])
    used = {
        quota.NODES: store.tree.owned(domid),
        quota.WATCHES: sum(store.watches.count(peer) for peer in peers),
        quota.TRANSACTIONS: sum(len(peer.transactions) for peer in peers),
    }
    lines = (b"%-16b: %8d\n" % item for item in used.items())
    return b"Domain %d:\n" % domid + b"".join(lines)


def _none(arguments: list[bytes]) -> None:
    if arguments:
        raise StoreError(b"EINVAL")


_COMMANDS: dict[bytes, tuple[Command, bytes]] = {
    b"check": (_check, b""),
    b"print": (_print, b"<string>"),
    b"quota": (_quota, b"[set <name> <val>|<domid>]"),
    b"help": (_help, b""),
}
