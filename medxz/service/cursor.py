"""Cursors: a position in one epoch of one server's log, sealed so that nobody makes one up.

kind 1 | scope 1 | server_id 16 | epoch 16 | server_seq 8 | op_id 16 | seal 16      in unpadded base64url
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from functools import lru_cache
from typing import Final

from medxz.errors import BadCursor, CursorEpochChanged, CursorScopeChanged
from medxz.ids import uuid_bytes, uuid_text
from medxz.limits import CURSOR_CHARS_MAX
from medxz.scope import Scope, is_narrower
from medxz.store.base import LogStore, Position

_FORM: Final = struct.Struct(">BB16s16sQ16s")
_SEAL_BYTES: Final = 16
_KIND: Final = 1
_SCOPES: Final[dict[Scope, int]] = {"full": 1, "front_desk": 2}
_SCOPE_OF: Final = {number: scope for scope, number in _SCOPES.items()}
_NO_OP: Final = bytes(16)


class OfLaterEpoch(CursorEpochChanged):
    """A cursor that this very server sealed in an epoch which it does not know yet: its log has gone back since."""

    def __init__(self, epoch: str) -> None:
        super().__init__("the cursor is of a later epoch of this server, whose log has gone back since")
        self.epoch: Final = epoch


class Cursors:
    """Makes and reads the cursors of one log."""

    def __init__(self, log: LogStore) -> None:
        self._log: Final = log
        self._server_id: Final = uuid_bytes(log.server_id)
        self._make = lru_cache(maxsize=64)(self._seal)  # many streams stand at the same place

    def make(self, position: Position, scope: Scope) -> str:
        return self._make(position, scope, self._log.epoch)

    def read(self, cursor: str, scope: Scope) -> Position:
        """The position of a cursor handed in by a caller of that scope.

        BadCursor where it is none of ours, CursorEpochChanged where it is of another server or epoch (OfLaterEpoch
        where that proves that the log has gone back), CursorScopeChanged where it was made for a narrower scope.
        """
        server_id, epoch, made_for, position = self._open(cursor)
        if server_id == self._server_id and epoch > uuid_bytes(self._log.epoch):
            sealed_in = uuid_text(epoch)
            if hmac.compare_digest(cursor.encode(), self._seal(position, made_for, sealed_in).encode()):
                raise OfLaterEpoch(sealed_in)
        if server_id != self._server_id or epoch != uuid_bytes(self._log.epoch):
            raise CursorEpochChanged("the cursor is of another server, or of an earlier epoch of this one")
        if not hmac.compare_digest(cursor.encode(), self._make(position, made_for, self._log.epoch).encode()):
            raise BadCursor("the cursor was not made by this server")
        if is_narrower(made_for, scope):
            raise CursorScopeChanged("the cursor was made when this device saw less than it does now")
        return position

    def _seal(self, position: Position, scope: Scope, epoch: str) -> str:
        op_id = position.op_id or _NO_OP
        body = _FORM.pack(_KIND, _SCOPES[scope], self._server_id, uuid_bytes(epoch), position.seq, op_id)
        seal = hmac.digest(self._log.cursor_key, body, hashlib.sha256)[:_SEAL_BYTES]
        return base64.urlsafe_b64encode(body + seal).rstrip(b"=").decode()

    def _open(self, cursor: str) -> tuple[bytes, bytes, Scope, Position]:
        raw = raw_cursor(cursor)
        if len(raw) == _FORM.size + _SEAL_BYTES:
            kind, scope, server_id, epoch, seq, op_id = _FORM.unpack_from(raw)
            if kind == _KIND and scope in _SCOPE_OF:
                return server_id, epoch, _SCOPE_OF[scope], Position(seq, op_id if seq else b"")
        raise BadCursor("this is not a cursor")


def raw_cursor(cursor: str) -> bytes:
    """What a cursor's text stands for; nothing where it stands for nothing."""
    if len(cursor) > CURSOR_CHARS_MAX:
        return b""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""
