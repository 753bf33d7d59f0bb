# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""Requests and answers as lines of the log, for `-d`. Values are shown escaped and cut short."""

from __future__ import annotations

import errno
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyfuse3

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

log = logging.getLogger(__name__)

# How much of a value is worth a line of log, in characters.
_CUT = 60


def is_on() -> bool:
    """Whether the lines are logged."""
    return log.isEnabledFor(logging.DEBUG)


def traced(
    handler: Callable[..., Coroutine[Any, Any, Any]], name: str
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The same handler, with a line for each request."""

    async def traced(*args: object) -> object:
        said = "given up"
        started_s = monotonic()
        try:
            result = await handler(*args)
            said = answer(result)
        except pyfuse3.FUSEError as error:
            said = answer(error)
            raise
        finally:
            took_ms = (monotonic() - started_s) * 1000
            log.debug("%s = %s (%.1f ms)", request(name, args), said, took_ms)
        return result

    return traced


def request(name: str, args: Sequence[object]) -> str:
    """A request, without what is the same in all of them."""
    shown = (_short(arg) for arg in args if isinstance(arg, int | bytes | list))
    return f"{name}({', '.join(shown)})"


def answer(result: object) -> str:
    """What a handler returns."""
    match result:
        case None | pyfuse3.StatvfsData():
            return "0"
        case pyfuse3.FUSEError():
            return errno.errorcode.get(result.errno, str(result.errno))
        case pyfuse3.EntryAttributes():
            return f"inode {result.st_ino}"
        case pyfuse3.FileInfo():
            return f"fh {result.fh}"
        case tuple():
            return ", ".join(map(answer, result))
        case _:
            return _short(result)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."
