# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""What each domain has in the store, and its quotas: for `.xsfs/metrics`.

The daemon is asked for its counts (CONTROL); if it does not have them, nodes are counted by their
owners. A task of its own does so, once for each reading of the file, so that no request waits long
for it. Used from the trio thread alone.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, cast

import trio

from xsfs.errors import StoreError, XenStoreError
from xsfs.fs.turns import Turns
from xsfs.protocol import requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from xsfs.aio.pipeline import Pipeline
    from xsfs.protocol.requests import Request

log = logging.getLogger(__name__)

_HOMES = b"/local/domain"
_DOMID = re.compile(rb"0|[1-9][0-9]{0,4}")

# What is counted and has a quota, by xenstored's names.
KINDS = ("nodes", "watches", "transactions")

# xenstored: `nodes            :     1000 Nodes per domain`; oxenstored: `dom5 quota: 2/1000` of
# nodes alone, and for watches a line each, `watch D5: path token`.
_LINE = re.compile(rb"([a-z-]+)\s*:\s*([0-9]+)")
_NODES = re.compile(rb"dom[0-9]+ quota: ([0-9]+)/([0-9]+)")
_WATCH = re.compile(rb"^watch D([0-9]+): ", re.MULTILINE)

# XenbusState (xen/io/xenbus.h), by number.
STATES = (
    *("unknown", "initialising", "init_wait", "initialised", "connected"),
    *("closing", "closed", "reconfiguring", "reconfigured"),
)
# How many device directories of a guest are read: it may create as many as it likes.
_DEVICES_MAX = 256

# How many requests are made in one go.
_STEP = 100

# How long a reader waits for fresh numbers, in seconds; then it gets the last ones.
_FRESH_S = 1.0


class Usage(NamedTuple):
    """A domain's use and quota of each of `KINDS`, as far as known, and its devices by state."""

    domid: int
    used: Mapping[str, int]
    quotas: Mapping[str, int]
    devices: Mapping[str, int]


class Domains:
    """All domains that have a home in the store.

    Args:
        owners: counts all nodes by the domain that owns them.
    """

    def __init__(self, client: Pipeline, owners: Callable[[], Awaitable[Counter[int]]]) -> None:
        self._client = client
        self._owners = owners
        self._usages: Sequence[Usage] = ()
        self._asked = trio.Event()
        self._told = trio.Event()

    async def usages(self) -> Sequence[Usage]:
        """Fresh numbers, or the last ones if those take too long."""
        self._asked.set()
        with trio.move_on_after(_FRESH_S):
            await self._told.wait()
        return self._usages

    async def run(self) -> None:
        """The task: fetch the numbers each time that a reader asks."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                self._usages = await self._ask()
            except XenStoreError as error:
                log.info(".xsfs/metrics: cannot read what each domain has: %s", error)
            self._told.set()
            self._told = trio.Event()

    async def _ask(self) -> list[Usage]:
        (names,) = await self._client.batch([requests.directory(_HOMES)])
        domids = [] if isinstance(names, StoreError) else cast("list[bytes]", names)
        domids = [domid for domid in domids if _DOMID.fullmatch(domid)]
        general, watches, *replies = await self._batch(
            [
                requests.control(b"quota"),
                requests.control(b"watches"),
                *(requests.control(b"quota", domid) for domid in domids),
            ]
        )
        quotas = _parsed(general)[0]
        used = {int(domid): _parsed(reply) for domid, reply in zip(domids, replies, strict=True)}
        # oxenstored, and it answers OK to what it does not know.
        if isinstance(watches, bytes) and not watches.startswith(b"OK"):
            counts = Counter(map(int, _WATCH.findall(watches)))
            for domid, (has, _) in used.items():
                has.setdefault("watches", counts[domid])
        if any("nodes" not in has for has, _ in used.values()) or not used:
            owned = await self._owners()
            for domid in owned.keys() | used.keys():
                used.setdefault(domid, ({}, {}))[0].setdefault("nodes", owned[domid])
        devices = await self._devices(list(used))
        return [
            # No quota applies to domain 0.
            Usage(domid, has, {**quotas, **own} if domid else {}, devices.get(domid, {}))
            for domid, (has, own) in sorted(used.items())
        ]

    async def _batch(self, batch: Sequence[Request[object]]) -> list[object]:
        turns, replies = Turns(), []
        for start in range(0, len(batch), _STEP):
            await turns.over()
            replies += await self._client.batch(batch[start : start + _STEP])
        return replies

    async def _devices(self, domids: Sequence[int]) -> dict[int, Counter[str]]:
        """The states of frontends, by domain: those of `device/TYPE/ID`."""
        level = {b"%b/%d/device" % (_HOMES, domid): domid for domid in domids}
        for _ in range(2):
            replies = await self._batch([requests.directory(path) for path in level])
            below: dict[bytes, int] = {}
            looked_at: Counter[int] = Counter()
            for (path, domid), names in zip(level.items(), replies, strict=True):
                if not isinstance(names, StoreError):
                    for name in cast("list[bytes]", names)[: _DEVICES_MAX - looked_at[domid]]:
                        below[path + b"/" + name] = domid
                        looked_at[domid] += 1
            level = below
        replies = await self._batch([requests.read(path + b"/state") for path in level])
        states: dict[int, Counter[str]] = {}
        for domid, state in zip(level.values(), replies, strict=True):
            if not isinstance(state, StoreError):
                states.setdefault(domid, Counter())[_state(cast("bytes", state))] += 1
        return states


def _state(value: bytes) -> str:
    number = int(value) if value.isdigit() and len(value) == 1 else 0
    return STATES[number] if number < len(STATES) else STATES[0]


def _parsed(reply: object) -> tuple[dict[str, int], dict[str, int]]:
    """A reply to CONTROL quota, parsed: what is used, or the general quotas; and quotas."""
    if not isinstance(reply, bytes):
        return {}, {}
    if (match := _NODES.match(reply)) is not None:
        return {"nodes": int(match[1])}, {"nodes": int(match[2])}
    if reply.startswith(b"dom"):
        # oxenstored, of a domain that has owned nothing: `dom5 quota: not set`.
        return {"nodes": 0}, {}
    found = {name.decode(): int(number) for name, number in _LINE.findall(reply)}
    return {kind: found[kind] for kind in KINDS if kind in found}, {}
