# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Spinning for what comes in a moment, and no more of it where that was in vain."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from xsfs.aio import spinning

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def poll(pipe: tuple[int, int]) -> spinning.SpinningPoll:
    poll = spinning.SpinningPoll()
    poll.register(pipe[0])
    return poll


def test_what_comes_meanwhile_is_seen(
    poll: spinning.SpinningPoll, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spinning, "_SPIN_S", 60.0)
    assert not poll.is_readable()
    writer = threading.Timer(0.01, os.write, (pipe[1], b"."))
    writer.start()
    assert poll.is_readable_soon()
    assert poll.is_readable()
    writer.join()


def test_after_two_vain_attempts_it_does_not_spin_again_so_soon(
    poll: spinning.SpinningPoll, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spinning, "_DO_NOT_SPIN_S", 60.0)
    assert not poll.is_readable_soon()
    assert not poll.is_readable_soon()
    monkeypatch.setattr(spinning, "_SPIN_S", 1e6)
    assert not poll.is_readable_soon()
    os.write(pipe[1], b".")
    assert poll.is_readable_soon()


def test_it_sleeps_for_what_comes_later(
    poll: spinning.SpinningPoll, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spinning, "_SPIN_S", 0.0)
    assert not poll.is_readable_within(1)
    writer = threading.Timer(0.01, os.write, (pipe[1], b"."))
    writer.start()
    assert poll.is_readable_within(60_000)
    writer.join()
