"""How a running cloud is, all clinics together: what /health and /metrics tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medxz import limits
from medxz.errors import MedxzError
from medxz.service.health import Health, check_disk
from medxz.service.metrics import Gauges
from medxz.store.authority import server
from medxz.wire import Check

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from cloud.clinics import Clinics
    from cloud.followers import Following
    from medxz.store.authority.base import Transactions

DATABASE_S_MAX: Final = 3.0


def cloud_health(clinics: Clinics, transactions: Transactions, folder: Path) -> Health:
    writer, database = partial(_writer, clinics), partial(_database, transactions)
    disk, integrity, views = (
        partial(check_disk, folder),
        partial(_integrity, clinics),
        partial(_views, clinics),
    )
    return Health([writer, database], [writer, database, disk, integrity, views])


def cloud_gauges(
    clinics: Clinics, following: Following, counts: dict[str, int], fleet: Callable[[], Iterable[Metric]]
) -> Gauges:
    def over_all(read: Callable[[Clinics], int]) -> Callable[[], float]:
        return lambda: read(clinics)

    return Gauges(
        {
            "open_clinics": ("Clinics whose log is open.", over_all(len)),
            "followed_clinics": ("Clinics whose lists are being kept.", lambda: following.count),
            "waiting_ops": (
                "Ops that wait for a writer.",
                over_all(lambda all_of_them: sum(clinic.log.waiting_ops for clinic in all_of_them)),
            ),
            "open_streams": (
                "Streams being read.",
                over_all(
                    lambda all_of_them: sum(clinic.services.pull.streams_open for clinic in all_of_them)
                ),
            ),
            "open_snapshots": (
                "Snapshots being read.",
                over_all(
                    lambda all_of_them: sum(clinic.services.snapshot.being_read for clinic in all_of_them)
                ),
            ),
        },
        counts,
        lambda: clinics.transactions,
        fleet,
    )


async def _writer(clinics: Clinics) -> Check:
    waiting = max((clinic.log.waiting_ops for clinic in clinics), default=0)
    still = sum(clinic.log.stands_still for clinic in clinics)
    detail = f"{len(clinics)} clinics are open, {waiting} ops wait in the busiest"
    if still:
        detail += f"; the database acknowledges nothing of {still}: see to its standby, docs/operations.md"
    return Check(name="writer", ok=not still and waiting < limits.WRITER_QUEUE_OPS_MAX // 2, detail=detail)


async def _database(transactions: Transactions) -> Check:
    try:
        async with asyncio.timeout(DATABASE_S_MAX):
            await transactions.read(server.get)
    except (MedxzError, TimeoutError) as error:
        detail = str(error) or f"{transactions.place} did not answer within {DATABASE_S_MAX:.0f} s"
        return Check(name="database", ok=False, detail=detail)
    return Check(name="database", ok=True, detail="answers")


async def _integrity(clinics: Clinics) -> Check:
    damaged = [
        f"clinic {clinic.clinic_id}: server_seq {check.damaged[0]}"
        for clinic in clinics
        if (check := clinic.log.verification) is not None and check.damaged
    ]
    if damaged:
        return Check(name="integrity", ok=False, detail=f"damaged rows, restore a backup: {damaged[0]}")
    checking = sum(
        1 for clinic in clinics if (check := clinic.log.verification) is not None and not check.done
    )
    return Check(name="integrity", ok=True, detail=f"{checking} logs are being checked, no damage was met")


async def _views(clinics: Clinics) -> Check:
    left_out = sum(clinic.follower.left_out for clinic in clinics)
    detail = "lists know the logs"
    if left_out:
        detail = (
            f"{left_out} entities are missing in lists and searches, synced all the same: report this fault"
        )
    return Check(name="views", ok=not left_out, detail=detail)
