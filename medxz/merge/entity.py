"""Which entity: a clinic's, of a type, under an id; and the ids of its conflicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from medxz.ids import uuid_bytes, uuid_text

_NAMESPACE: Final = uuid_bytes("ecedffc5-1d05-5e10-b09a-ad54783bcf93")


class Entity(msgspec.Struct, frozen=True, gc=False):
    """The name of an entity. The same id under two types is two entities."""

    clinic_id: str
    entity_type: str
    entity_id: str

    def conflict_id(self, op_ids: Iterable[str]) -> str:
        """The id of the conflict between these ops (UUIDv5, docs/protocol.md section 6)."""
        names = f"{self.clinic_id}\n{self.entity_type}\n{self.entity_id}\n{','.join(sorted(op_ids))}"
        digest = bytearray(hashlib.sha1(_NAMESPACE + names.encode(), usedforsecurity=False).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x50
        digest[8] = digest[8] & 0x3F | 0x80
        return uuid_text(bytes(digest))
