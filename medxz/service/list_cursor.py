"""Cursors of lists: where a page ended, sealed together with which list it was a page of.

seal 16 | what the list said of the last row       in unpadded base64url

Such a place is a row's own key, never a count of rows: what is added meanwhile neither shifts nor hides the next one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

import orjson

from medxz.errors import BadCursor
from medxz.service.cursor import raw_cursor
from medxz.store.base import LogStore

_SEAL_BYTES: Final = 16


class ListCursors:
    """Makes and reads the cursors of one server's lists. A list is named by its endpoint and what it was asked for."""

    def __init__(self, log: LogStore) -> None:
        self._log: Final = log

    def following(self, after: str | None, *named: str) -> str | None:
        """The cursor behind a place; None where the list ended there."""
        if after is None:
            return None
        place = after.encode()
        return base64.urlsafe_b64encode(self._seal(place, named) + place).rstrip(b"=").decode()

    def read(self, cursor: str | None, *named: str) -> str | None:
        """The place; None for the beginning; BadCursor where it is of another list, another server, or made up."""
        if cursor is None:
            return None
        raw = raw_cursor(cursor)
        place = raw[_SEAL_BYTES:]
        if not hmac.compare_digest(raw[:_SEAL_BYTES], self._seal(place, named)):
            raise BadCursor("this is not a cursor of this list")
        return place.decode()

    def _seal(self, place: bytes, named: tuple[str, ...]) -> bytes:
        text = orjson.dumps(["medxz-list", *named, place.hex()])
        return hmac.digest(self._log.cursor_key, text, hashlib.sha256)[:_SEAL_BYTES]


def list_json(name: str, items: Iterable[bytes], next_cursor: str | None, beside: bytes = b"") -> bytes:
    """A list as it is answered; `beside` is another member, with a comma behind it."""
    cursor = b"null" if next_cursor is None else b'"%b"' % next_cursor.encode()
    return b'{"%b":[%b],%b"next_cursor":%b}' % (name.encode(), b",".join(items), beside, cursor)
