# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""The verbs of both clients, as their users see them."""

from __future__ import annotations

import inspect

from xsfs.aio.client import Client as AsyncClient
from xsfs.aio.client import Transaction as AsyncTransaction
from xsfs.client.client import Client, Transaction


def test_the_same_verbs() -> None:
    """With the same arguments, defaults and documentation."""
    for ours, theirs in (
        (AsyncClient, Client),
        (AsyncTransaction, Transaction),
    ):
        for name, verb in inspect.getmembers(theirs, inspect.isfunction):
            # Connecting is entering; monitors are watches; the others are pyxs's.
            if name.startswith("_") or name in (
                *("connect", "close", "monitor"),
                *("transaction", "commit", "rollback"),
            ):
                continue
            other = getattr(ours, name)
            sync, asynchronous = (
                [(parameter.name, parameter.default) for parameter in signature.parameters.values()]
                for signature in (inspect.signature(verb), inspect.signature(other))
            )
            assert asynchronous == sync, name
            assert inspect.getdoc(other), name


def test_verbs_are_documented_as_written() -> None:
    assert str(inspect.signature(Client.read)) == (
        "(self, /, path: 'bytes', default: 'bytes | None' = None) -> 'bytes'"
    )
    assert Client.read.__qualname__ == "NodeVerbs.read"
    assert "to the byte" in (AsyncClient.read.__doc__ or "")
    assert inspect.iscoroutinefunction(AsyncClient.read)
