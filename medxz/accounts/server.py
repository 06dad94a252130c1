"""Making a cloud: its id and epoch, the keys that sign, the key that codes are hashed under. Made once; asked again, the
answer is what there is.
"""

from __future__ import annotations

import os
from typing import Final

from medxz.accounts.base import Authority
from medxz.accounts.codes import SECRET
from medxz.accounts.key_ring import new_key
from medxz.errors import StoreError
from medxz.store.authority import secrets, server
from medxz.store.authority.base import Tx
from medxz.store.authority.server import Server as ServerRow


class Server:
    """The use cases about the cloud itself."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def init(self) -> ServerRow:
        """Who this cloud is, from now on or since it was made."""

        async def init(tx: Tx) -> ServerRow:
            seal, now_ms = self._authority.seal, self._authority.clock.now_ms()
            made = await server.make(tx, self._authority.ids.uuid7(), self._authority.ids.uuid7())
            if await secrets.get_server(tx, seal, SECRET) is None:
                await secrets.put_server(tx, seal, SECRET, os.urandom(32))
            if not await secrets.keys(tx, seal):
                await secrets.add_key(tx, seal, new_key("current", now_ms))
                await secrets.add_key(tx, seal, new_key("next", now_ms))
            return made

        return await self._authority.decide(init)

    async def get(self) -> ServerRow:
        """Who this cloud is; StoreError where it was not made yet."""
        found = await self._authority.transactions.read(server.get)
        if found is None:
            raise StoreError("there is no cloud in this database: run `medxz-cloud init`")
        return found

    async def begin_epoch(self) -> str:
        """A new epoch for all clinics' logs: this cloud was restored, or a log of it has gone back."""
        epoch = self._authority.ids.uuid7()
        await self._authority.decide(lambda tx: server.begin_epoch(tx, epoch))
        return epoch
