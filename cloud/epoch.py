"""The one epoch of the whole cloud, which the authority keeps.

Whoever finds that a log went back (a restored backup, a copied disk) begins a new one, and it holds for every clinic: a
backup is of the whole cloud, and a clinic that nobody has asked about yet went back with the others. Other relays of
the same database hear of it within a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from medxz.store.authority import server

if TYPE_CHECKING:
    from medxz.store.authority.base import Transactions, Tx
    from medxz.store.authority.server import Server

WATCH_S: Final = 1.0


class Epoch:
    """The epoch of now, and whose it is: what the logs of all clinics have in common."""

    def __init__(self, transactions: Transactions, made: Server) -> None:
        self._transactions: Final = transactions
        self._server_id: Final = made.server_id
        self._epoch = made.epoch
        self._changing: Final = asyncio.Lock()

    @property
    def server_id(self) -> str:
        return self._server_id

    @property
    def epoch(self) -> str:
        return self._epoch

    def now(self) -> str:
        return self._epoch

    async def begin(self, epoch: str, instead_of: str | None = None) -> None:
        """A new one, durably; none, where `instead_of` was replaced by another already."""

        async def begin(tx: Tx) -> str:
            found = await server.get(tx)
            if instead_of is not None and found is not None and found.epoch != instead_of:
                return found.epoch
            await server.begin_epoch(tx, epoch)
            return epoch

        async with self._changing:
            self._epoch = await self._transactions.run(begin)

    async def look(self) -> bool:
        """Whether another process has begun a new one, which holds from now on."""
        async with self._changing:
            found = await self._transactions.read(server.get)
            if found is None or found.epoch == self._epoch:
                return False
            self._epoch = found.epoch
            return True
