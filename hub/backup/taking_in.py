"""The backup of a hub that died, taken in by the one that has its place: its ops, so that none is lost with the box.

The new hub stays who it is. Its cloud and its tablets have brought most of these ops already; what was on the old box
alone comes back, and goes up from here. Refused: while the hub runs, a backup that is not whole, one of another clinic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hub.backup.checking import LOG, check_backup
from hub.backup.noting import noted
from hub.recovery.keepsake import KeptShape
from hub.recovery.salvage import salvage
from hub.storage import open_storage
from medxz.clock import Clock
from medxz.errors import StoreDamaged
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.program.keys import read_key
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from hub.ask import Json
    from hub.backup.checking import Stage
    from hub.backup.restoring import Opened
    from hub.config import HubPlaces


async def take_in(
    places: HubPlaces, opened: Opened, environ: Mapping[str, str], clock: Clock, ids: Ids, stage: Stage
) -> Json:
    """Put its ops into the log of this hub; what became of it, for `--json`. Repeated, nothing counts twice."""
    contents = opened.contents
    check_backup(opened.path, opened.manifest, contents, stage)
    async with open_storage(places, lambda: read_key(places.key_file, environ), clock) as storage:
        if contents.clinic_id != storage.log.clinic_id:
            raise CommandFailed(
                f"the backup is of another clinic, {contents.clinic_id}",
                "take one of this clinic",
                "another_hub",
            )
        worker, before = ThreadWorker("salvage"), storage.log.last_seq
        try:
            found = await salvage(storage, opened.path / LOG, contents.key, KeptShape(), worker)
        finally:
            worker.close()
        if found.pages_damaged or found.rows_damaged:
            raise StoreDamaged(f"{opened.path / LOG} is not what was written there")
        told: Json = {
            "hub_id": storage.log.server_id,
            "clinic_id": contents.clinic_id,
            "epoch": storage.log.epoch,
            "ops": storage.log.last_seq,
            "ops_new": storage.log.last_seq - before,
            "backup_of": contents.at,
            "taken_from": contents.hub_id,
        }
        transactions = await storage.open_audit()
        try:
            await noted(transactions, told, storage.clock, ids)
        finally:
            await transactions.close()
    return told
