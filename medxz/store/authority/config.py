"""What a clinic has decided, by name; the values are JSON. What the names mean is known above."""

from __future__ import annotations

from typing import Any, Final

import orjson

from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision

_SET: Final = """
    INSERT INTO clinic_config (clinic_id, name, value) VALUES ($1, $2, $3)
    ON CONFLICT (clinic_id, name) DO UPDATE SET value = excluded.value"""
_CLEAR: Final = "DELETE FROM clinic_config WHERE clinic_id = $1 AND name = $2"
_ALL: Final = "SELECT name, value FROM clinic_config WHERE clinic_id = $1"


async def put(tx: Tx, clinic_id: str, name: str, value: object) -> None:
    """None takes the decision back: the default counts again."""
    if value is None:
        await tx.rows(_CLEAR, clinic_id, name)
    else:
        await tx.rows(_SET, clinic_id, name, orjson.dumps(value).decode())
    await raise_revision(tx, clinic_id)


async def everything(tx: Tx, clinic_id: str) -> dict[str, Any]:
    """Only what was decided; names that are not here have their defaults."""
    return {name: orjson.loads(value) for name, value in await tx.rows(_ALL, clinic_id)}
