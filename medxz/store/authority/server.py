"""Who the cloud is: one id and one epoch, for all its processes and all its clinics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medxz.store.authority.base import Tx

_MAKE: Final = """
    INSERT INTO server (only_row, server_id, epoch) VALUES (1, $1, $2) ON CONFLICT (only_row) DO NOTHING"""
_GET: Final = "SELECT server_id, epoch FROM server"
_BEGIN_EPOCH: Final = "UPDATE server SET epoch = $1 WHERE only_row = 1"


@dataclass(frozen=True, slots=True)
class Server:
    server_id: str
    epoch: str


async def make(tx: Tx, server_id: str, epoch: str) -> Server:
    """Who it is from now on; what it was before, where it was made already."""
    await tx.rows(_MAKE, server_id, epoch)
    [(server_id, epoch)] = await tx.rows(_GET)
    return Server(server_id, epoch)


async def get(tx: Tx) -> Server | None:
    rows = await tx.rows(_GET)
    return Server(*rows[0]) if rows else None


async def begin_epoch(tx: Tx, epoch: str) -> None:
    await tx.rows(_BEGIN_EPOCH, epoch)
