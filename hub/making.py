"""Making a hub: to the end or not at all.

Until it is whole it has a name of its own: a power cut leaves nothing that looks like a hub. Refused: making a hub
where there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.ask import check_path
from hub.clock import HubClock
from hub.config import HubPlaces
from hub.identity import HubIdentity, make_secrets, read_identity
from hub.storage import locked
from medxz.clock import Clock
from medxz.errors import StoreError
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.program.keys import has_content, make_key, read_key
from medxz.store.durable import put_in_place
from medxz.store.files import Identity, LogFile
from medxz.store.registry import SqliteRegistry
from medxz.work import InlineWorker

NO_CLINIC: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A hub that nobody can run yet."""

    file: LogFile
    registry: SqliteRegistry
    identity: HubIdentity


async def make_hub(
    places: HubPlaces, clinic_id: str, clock: Clock, ids: Ids, key: bytes | None
) -> dict[str, str]:
    """A hub by itself, with a new key where none is given. Tells its ids."""
    clock = HubClock(clock)
    check_path(places.socket)
    places.make_directory()
    with locked(places):
        if places.store.exists():
            raise CommandFailed(f"there is a hub in {places.data} already", "run it, or give another --data")
        unfinished = places.store.with_suffix(".new")
        _remove_database(unfinished)
        if key is None:
            key = make_key(places.key_file)
        await _create(unfinished, key, clinic_id, clock, ids)
        async with _opened(unfinished, key) as made:
            identity, epoch = made.identity, made.file.identity.epoch
        put_in_place(unfinished, places.store)
    return {
        "server_id": identity.server_id,
        "clinic_id": identity.clinic_id,
        "site_id": identity.site_id,
        "epoch": epoch,
        "ca_fingerprint": identity.ca_fingerprint,
        "key_file": str(places.key_file),
    }


@asynccontextmanager
async def hub_to_claim(
    places: HubPlaces, environ: Mapping[str, str], clock: Clock, ids: Ids
) -> AsyncIterator[Unfinished]:
    """A hub that has no clinic yet: the one that was begun, or a new one. Once it has one, it is in its place.

    To be asked for under the directory's lock.
    """
    key = existing_key(places, environ) or make_key(places.key_file)
    unfinished = places.store.with_suffix(".claiming")
    try:
        async with _opened(unfinished, key):
            pass
    except StoreError:  # not there, or not made to the end: nobody has heard of it
        _remove_database(unfinished)
        await _create(unfinished, key, NO_CLINIC, clock, ids)
    async with _opened(unfinished, key) as made:
        yield made
        is_whole = made.file.identity.clinic_id != NO_CLINIC
    if is_whole:
        put_in_place(unfinished, places.store)


def existing_key(places: HubPlaces, environ: Mapping[str, str]) -> bytes | None:
    """The key of a file that is there already: an operator's own, or a credential."""
    return read_key(places.key_file, environ) if has_content(places.key_file) else None


async def _create(path: Path, key: bytes, clinic_id: str, clock: Clock, ids: Ids) -> None:
    identity = Identity(clinic_id, ids.uuid7(), ids.uuid7(), secrets.token_bytes(32))
    file = _new_file(path, key, identity)
    try:
        await make_secrets(SqliteRegistry(file, InlineWorker()), identity, clock, ids)
    finally:
        file.close(clean=True)


def _new_file(path: Path, key: bytes, identity: Identity) -> LogFile:
    LogFile.create(path, key, identity)
    return LogFile.open(path, key)


@asynccontextmanager
async def _opened(path: Path, key: bytes) -> AsyncIterator[Unfinished]:
    file = LogFile.open(path, key)
    try:
        registry = SqliteRegistry(file, InlineWorker())
        identity = await read_identity(registry, file.identity.server_id, file.identity.clinic_id)
        yield Unfinished(file, registry, identity)
    finally:
        file.close(clean=True)


def _remove_database(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
