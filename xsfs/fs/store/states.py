# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Fetches the states of nodes from the store. Knows no FUSE; used from the trio thread alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from xsfs.errors import AccessDenied, StoreError, TooBig
from xsfs.fs.model.states import State
from xsfs.protocol import procedures, requests
from xsfs.protocol.packet import Op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsfs.aio.pipeline import Pipeline
    from xsfs.fs.model.nodes import View
    from xsfs.protocol.requests import Request


class States:
    """Asks for states.

    Args:
        want_perms: fetch permissions with everything else, so that a change of permissions can
            be distinguished from a change of the value.
    """

    def __init__(self, client: Pipeline, *, want_perms: bool) -> None:
        self.want_perms = want_perms
        self._client = client

    async def fetch(self, view: View, wanted: Sequence[bytes]) -> list[State | StoreError]:
        """The states of the nodes at these paths, in one pipelined batch."""
        batch: list[Request[object]] = []
        for path in wanted:
            batch += self.requests_for(path)
        replies = await self._client.batch(batch, view.tx_id)
        return await self.of(view, wanted, replies)

    def requests_for(self, path: bytes) -> list[Request[object]]:
        """What asks for the state of a node; `of` understands the replies."""
        batch: list[Request[object]] = [requests.directory(path), requests.read(path)]
        if self.want_perms:
            batch.append(requests.raw(Op.GET_PERMS, path + b"\0"))
        return batch

    async def of(
        self, view: View, wanted: Sequence[bytes], replies: Sequence[object]
    ) -> list[State | StoreError]:
        """The states that replies show, for those paths one after the other."""
        step = 3 if self.want_perms else 2
        return [
            await self._state(view, path, *replies[at * step : (at + 1) * step])
            for at, path in enumerate(wanted)
        ]

    async def _state(
        self, view: View, path: bytes, listing: object, value: object, perms: object = b""
    ) -> State | StoreError:
        if isinstance(value, AccessDenied):
            # It exists, and we may learn no more.
            return State(b"", [])
        if isinstance(value, StoreError):
            return value
        if isinstance(listing, TooBig):
            try:
                listing = await self._client.perform(procedures.listing(path), view.tx_id)
            except StoreError as error:
                return error
        if isinstance(listing, StoreError):
            return listing
        return State(
            cast("bytes", value),
            cast("list[bytes]", listing),
            b"" if isinstance(perms, StoreError) else cast("bytes", perms),
        )
