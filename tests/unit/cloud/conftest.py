"""A cloud's clinics on real files, without HTTP in front of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from cloud.clinics import Clinics, OpenClinic
from cloud.config import CloudPlaces
from cloud.doors import Doors
from cloud.epoch import Epoch
from cloud.followers import Following
from cloud.logs import Folders, SqliteLogs, ViewsFiles
from cloud.opening import Shared, open_clinic
from medxz.ids import SeededIds
from medxz.service import Accounts, Gate, Rates, Throttle
from medxz.service.audit import AuditNotes
from medxz.store.authority import clinics as clinics_table
from medxz.store.authority import server
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.known import Directories
from medxz.store.authority.sqlite import SqliteTransactions, open_sqlite
from medxz.work import InlineWorker
from tests.making import HandClock, fixed_id

KEY = bytes(range(32))
SERVER = fixed_id(0x5E)
FIRST_EPOCH = fixed_id(0xE0)
CLINICS = [fixed_id(0xA00 + number) for number in range(5)]


@dataclass
class World:
    """The parts of a cloud that hold clinics."""

    clinics: Clinics
    epoch: Epoch
    following: Following
    transactions: SqliteTransactions
    places: CloudPlaces
    clock: HandClock
    opened: list[str]


class _NoTokens:
    def prove(self, token: str):
        raise AssertionError("nobody asks with a token here")

    def knows(self, kid: str):
        raise AssertionError("nobody asks with a token here")


@pytest.fixture
async def make_world(tmp_path: Path):
    """Makes a world of at most so many open clinics and followers; what it opened is closed at the end."""
    closing = []

    async def make(clinics_max: int = 4, followers_max: int = 2) -> World:
        clock, places = HandClock(), CloudPlaces(tmp_path / "cloud")
        ids = SeededIds(clock, seed=1)
        places.make_directory()
        transactions = await open_sqlite(places.authority, KEY, InlineWorker())
        made = await transactions.run(lambda tx: server.make(tx, SERVER, FIRST_EPOCH))
        epoch, folders, following = (
            Epoch(transactions, made),
            Folders(places, KEY),
            Following(followers_max),
        )
        logs, views = SqliteLogs(folders, epoch, clock), ViewsFiles(folders)
        directories = Directories(transactions, clock)
        for clinic_id in CLINICS:
            await transactions.run(partial(clinics_table.add, clinic_id=clinic_id, name=clinic_id, now_ms=1))
        doors = Doors(
            accounts=cast(Accounts, None), gate=Gate(_NoTokens(), directories.of, clock), directories=directories,
            transactions=transactions, notes=AuditNotes(transactions, AuditTrail(ids, clock), clock),
            clock=clock, ids=ids,
        )  # fmt: skip
        shared = Shared(
            logs=logs, views=views, following=following, doors=doors,
            throttle=Throttle(Rates(1, 1, 1, 1), clock), hashing=InlineWorker(), reading=InlineWorker(),
            tell=lambda _: None,
        )  # fmt: skip
        opened: list[str] = []

        async def opener(clinic_id: str) -> OpenClinic:
            opened.append(clinic_id)
            await asyncio.sleep(0)  # others get their turn meanwhile, as with a database
            return await open_clinic(shared, partial(Clinics.begin_epoch, clinics), clinic_id)

        clinics = Clinics(opener, epoch, clock, clinics_max)

        async def close() -> None:
            await clinics.close()
            await logs.close()
            views.close()
            await transactions.close()

        closing.append(close)
        return World(clinics, epoch, following, transactions, places, clock, opened)

    yield make
    for close in reversed(closing):
        await close()


@pytest.fixture
async def world(make_world) -> World:
    return await make_world()
