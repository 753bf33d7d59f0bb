# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""JSON text of objects, strings and null, which is all that a tree of nodes needs. Pure.

Not a JSON library: numbers, arrays, `true` and `false` are refused, as the store has nothing
like them. Made for text that comes in pieces, and for trees as deep as paths are long, where
the standard library's `json` wants the whole text and recurses.
"""

from __future__ import annotations

import codecs
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from xsfs.errors import InvalidPayload
from xsfs.protocol.packet import PAYLOAD_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json: TypeAlias = "str | dict[str, Json]"
JsonOrNull: TypeAlias = "str | dict[str, JsonOrNull] | None"

# RFC 8259, sections 2 and 7.
_SPACE = r"[ \t\n\r]*"
_STRING = r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*'
_TOKEN = re.compile(rf'{_SPACE}([{{}}:,]|null|{_STRING}"){_SPACE}')
# What may become a token when more text comes.
_BEGUN = re.compile(rf"{_SPACE}(?:n|nu|nul|{_STRING}\\?)?")

# The longest string that can stand for something that fits into a packet: the longest escape
# of one byte is `\u0041`.
_STRING_MAX = 6 * PAYLOAD_MAX + 2


class _Expected(StrEnum):
    """What may come next."""

    VALUE = "an object, a string or null"
    FIRST_KEY = "a key, or the object's end"
    KEY = "a key"
    COLON = "a colon"
    MORE = "a comma, or the object's end"
    NOTHING = "the end"


class Reader:
    """Reads one JSON text piece by piece; says as early as can be known that it is none."""

    def __init__(self) -> None:
        self._value: JsonOrNull = None
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._expected = _Expected.VALUE
        # The objects that are not closed yet, outermost first, and the key at hand.
        self._open: list[dict[str, JsonOrNull]] = []
        self._key = ""
        # A token that has only begun, and how many characters stand before it.
        self._rest = ""
        self._position = 0

    @property
    def blank(self) -> bool:
        """Whether there was nothing yet but space."""
        return self._expected is _Expected.VALUE and not self._open and not self._rest.strip()

    @property
    def complete(self) -> bool:
        """Whether what was read is a whole JSON text; only space can follow it."""
        return self._expected is _Expected.NOTHING and not self._decoder.getstate()[0]

    @property
    def value(self) -> JsonOrNull:
        """What the complete text says. Of a key that comes twice the last counts."""
        return self._value

    def feed(self, data: bytes) -> None:
        """Take the next piece, in UTF-8.

        Raises:
            ValueError: whatever follows, the text is not JSON, or has no meaning for a store.
            InvalidPayload: a string is too long for the store.
        """
        text = self._rest + self._decoder.decode(data)
        at = 0
        while (match := _TOKEN.match(text, at)) is not None:
            self._take(match[1], self._position + match.start(1))
            at = match.end()
        self._rest = text[at:]
        self._position += at
        if _BEGUN.fullmatch(self._rest) is None or (self._rest.strip() and self.complete):
            raise self._error(self._rest.lstrip(), self._position)
        if len(self._rest) > _STRING_MAX:
            raise InvalidPayload(f"a string of more than {_STRING_MAX} characters")

    def _take(self, token: str, position: int) -> None:
        step = _GRAMMAR[self._expected].get(token[0])
        if step is None:
            raise self._error(token, position)
        step(self, token)

    def _take_key(self, token: str) -> None:
        self._key = json.loads(token)
        self._expected = _Expected.COLON

    def _take_colon(self, token: str) -> None:
        self._expected = _Expected.VALUE

    def _take_string(self, token: str) -> None:
        self._put(json.loads(token))

    def _take_null(self, token: str) -> None:
        self._put(None)

    def _take_comma(self, token: str) -> None:
        self._expected = _Expected.KEY

    def _open_object(self, token: str) -> None:
        made: dict[str, JsonOrNull] = {}
        self._put(made)
        self._open.append(made)
        self._expected = _Expected.FIRST_KEY

    def _close_object(self, token: str) -> None:
        self._open.pop()
        self._expected = _Expected.MORE if self._open else _Expected.NOTHING

    def _put(self, value: JsonOrNull) -> None:
        if self._open:
            self._open[-1][self._key] = value
            self._expected = _Expected.MORE
        else:
            self._value = value
            self._expected = _Expected.NOTHING

    def _error(self, found: str, position: int) -> ValueError:
        return ValueError(
            f"{self._expected.value} is expected at character {position}, not {found[:20]!r}"
        )


# What is expected, the first character of what comes, and what that leads to.
_GRAMMAR: dict[_Expected, dict[str, Callable[[Reader, str], None]]] = {
    _Expected.VALUE: {
        "{": Reader._open_object,
        '"': Reader._take_string,
        "n": Reader._take_null,
    },
    _Expected.FIRST_KEY: {'"': Reader._take_key, "}": Reader._close_object},
    _Expected.KEY: {'"': Reader._take_key},
    _Expected.COLON: {":": Reader._take_colon},
    _Expected.MORE: {",": Reader._take_comma, "}": Reader._close_object},
    _Expected.NOTHING: {},
}


def loads(text: bytes) -> JsonOrNull:
    """What a whole JSON text says.

    Raises:
        ValueError: as `Reader.feed`; or the text ends too early.
    """
    reader = Reader()
    reader.feed(text)
    if not reader.complete:
        raise ValueError("the text ends too early")
    return reader.value


def dumps(tree: Json) -> str:
    """The tree on one line of ASCII."""
    if isinstance(tree, str):
        return json.dumps(tree)
    parts = ["{"]
    walk: list[Iterator[tuple[str, Json]]] = [iter(tree.items())]
    separator = ""
    while walk:
        for key, child in walk[-1]:
            parts.append(f"{separator}{json.dumps(key)}: ")
            if isinstance(child, str):
                parts.append(json.dumps(child))
                separator = ", "
            else:
                parts.append("{")
                walk.append(iter(child.items()))
                separator = ""
                break
        else:
            walk.pop()
            parts.append("}")
            separator = ", "
    return "".join(parts)
