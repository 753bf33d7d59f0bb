# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
"""JSON text of objects, scalars and null, which is all that a tree of nodes needs. Pure.

Not a JSON library: arrays are refused, as the store has nothing like them; numbers, `true` and
`false` are taken as the text that they are written as. Text may come in pieces and may be hostile:
it is refused at the first byte that shows that it cannot describe nodes of a store.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from xsfs.errors import InvalidPath, InvalidPayload
from xsfs.protocol.packet import PAYLOAD_MAX
from xsfs.protocol.paths import ABSOLUTE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

JsonOrNull: TypeAlias = "str | dict[str, JsonOrNull] | None"

# RFC 8259, sections 2, 6 and 7. The end of a number or word is known from the next character.
_SPACE = rb"[ \t\n\r]*"
_STRING = rb'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*'
_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_BEGUN_NUMBER = rb"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?)?"
_TOKEN = re.compile(
    rb'%b([{}:,]|%b"|(?:null|true|false|%b)(?=[ \t\n\r,}]))%b' % (_SPACE, _STRING, _NUMBER, _SPACE)
)
# The beginnings of tokens that more text may complete.
_BEGUN = re.compile(rb"%b(?:%b\\?|[a-z]{1,5}|%b)?" % (_SPACE, _STRING, _BEGUN_NUMBER))
_WORDS = (b"null", b"true", b"false")

# The longest string that can stand for something that fits into a packet: the longest escape
# of one byte is `\u0041`.
_STRING_MAX = 6 * PAYLOAD_MAX + 2


class _Expected(StrEnum):
    """What may come next."""

    VALUE = "an object, a string, a number, true, false or null"
    FIRST_KEY = "a key, or the object's end"
    KEY = "a key"
    COLON = "a colon"
    MORE = "a comma, or the object's end"
    NOTHING = "the end"


class Reader:
    """Reads one JSON text piece by piece; raises as early as an error can be known.

    Args:
        path_max: how long the path of a node may be, in bytes, below the one that the text is
            about; each key on the way takes its length and a slash.
    """

    def __init__(self, path_max: int = ABSOLUTE_MAX) -> None:
        # How many keys were read.
        self.keys = 0
        self._value: JsonOrNull = None
        self._expected = _Expected.VALUE
        # The objects that are not closed yet, outermost first, and the current key.
        self._open: list[dict[str, JsonOrNull]] = []
        self._key = ""
        # How long the path of each open object may yet grow.
        self._room = [path_max]
        # A token that has only begun, and how many bytes stand before it.
        self._rest = b""
        self._position = 0

    @property
    def blank(self) -> bool:
        """Whether only white space was read so far."""
        return self._expected is _Expected.VALUE and not self._open and not self._rest.strip()

    @property
    def complete(self) -> bool:
        """Whether what was read is a whole JSON text; only space can follow it."""
        return self._expected is _Expected.NOTHING

    @property
    def value(self) -> JsonOrNull:
        """The value of the complete text; of duplicate keys the last one counts."""
        return self._value

    def feed(self, data: bytes) -> None:
        """Take the next piece, in UTF-8.

        Raises:
            ValueError: the text is not JSON, or cannot describe nodes, whatever follows.
            InvalidPath: it names a node whose path is too long.
            InvalidPayload: a string is too long for the store.
        """
        text = self._rest + data
        at = 0
        while (match := _TOKEN.match(text, at)) is not None:
            self._take(match[1], self._position + match.start(1))
            at = match.end()
        self._rest = text[at:].lstrip(b" \t\n\r")
        self._position += len(text) - len(self._rest)
        begun = _BEGUN.fullmatch(self._rest) is not None and not (self._rest and self.complete)
        if begun and self._rest[:1].isalpha():
            begun = any(word.startswith(self._rest) for word in _WORDS)
        if begun and self._rest:
            # An incomplete token must be of an expected kind, too.
            begun = self._rest[:1] in _GRAMMAR[self._expected]
        if not begun:
            raise self._error(self._rest, self._position)
        if len(self._rest) > _STRING_MAX:
            raise InvalidPayload(f"byte {self._position}: longer than any value of the store")

    def finish(self) -> None:
        """End the text; that completes a number or word.

        Raises:
            ValueError: the text ends too early.
        """
        if self._rest:
            self.feed(b"\n")
        if not self.complete:
            end = self._position + len(self._rest)
            raise ValueError(f"byte {end}: the text ends where {self._expected.value} is expected")

    def _take(self, token: bytes, position: int) -> None:
        step = _GRAMMAR[self._expected].get(token[:1])
        if step is None:
            raise self._error(token, position)
        try:
            step(self, token)
        except ValueError as error:
            # The error of a string, or of the path of a key.
            kind = InvalidPath if isinstance(error, InvalidPath) else ValueError
            raise kind(f"byte {position}: {error}") from None

    def _take_key(self, token: bytes) -> None:
        self._key = _string(token)
        self.keys += 1
        if self._key and self._room[-1] < 1 + len(self._key):
            raise InvalidPath("the path of this key is too long")
        self._expected = _Expected.COLON

    def _take_colon(self, token: bytes) -> None:
        self._expected = _Expected.VALUE

    def _take_string(self, token: bytes) -> None:
        self._put(_string(token))

    def _take_literal(self, token: bytes) -> None:
        self._put(token.decode())

    def _take_null(self, token: bytes) -> None:
        self._put(None)

    def _take_comma(self, token: bytes) -> None:
        self._expected = _Expected.KEY

    def _open_object(self, token: bytes) -> None:
        made: dict[str, JsonOrNull] = {}
        if self._open:
            self._room.append(self._room[-1] - 1 - len(self._key))
            if self._room[-1] < 0:
                raise InvalidPath("more nested objects than a path may have names")
        self._put(made)
        self._open.append(made)
        self._expected = _Expected.FIRST_KEY

    def _close_object(self, token: bytes) -> None:
        self._open.pop()
        if self._open:
            self._room.pop()
        self._expected = _Expected.MORE if self._open else _Expected.NOTHING

    def _put(self, value: JsonOrNull) -> None:
        if self._open:
            self._open[-1][self._key] = value
            self._expected = _Expected.MORE
        else:
            self._value = value
            self._expected = _Expected.NOTHING

    def _error(self, found: bytes, position: int) -> ValueError:
        # Escaped, as it may be shown on a terminal.
        return ValueError(
            f"byte {position}: {self._expected.value} is expected, not {repr(found[:20])[1:]}"
        )


def _string(token: bytes) -> str:
    text = token.decode()
    return json.loads(text) if b"\\" in token else text[1:-1]


_KEY: dict[bytes, Callable[[Reader, bytes], None]] = {b'"': Reader._take_key}
# What is expected, the first character of what comes, and what that leads to.
_GRAMMAR: dict[_Expected, dict[bytes, Callable[[Reader, bytes], None]]] = {
    _Expected.VALUE: {
        b"{": Reader._open_object,
        b'"': Reader._take_string,
        b"n": Reader._take_null,
        **{b"%c" % first: Reader._take_literal for first in b"-0123456789tf"},
    },
    _Expected.FIRST_KEY: {**_KEY, b"}": Reader._close_object},
    _Expected.KEY: _KEY,
    _Expected.COLON: {b":": Reader._take_colon},
    _Expected.MORE: {b",": Reader._take_comma, b"}": Reader._close_object},
    _Expected.NOTHING: {},
}


def loads(text: bytes) -> JsonOrNull:
    """The value of a whole JSON text.

    Raises:
        ValueError: as `Reader.feed`; or the text ends too early.
    """
    reader = Reader()
    reader.feed(text)
    reader.finish()
    return reader.value
