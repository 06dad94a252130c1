"""The cloud's store, open: the authority on who belongs to which clinic, in a file of the directory or on a PostgreSQL.

Several processes may have it open: a command beside a running cloud, and on PostgreSQL several relays. Refused: a
directory or a database in which no cloud was made, and a key that is not the cloud's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloud.config import Settings
from medxz.accounts.base import Authority
from medxz.accounts.server import Server
from medxz.errors import StoreKeyWrong
from medxz.program.errors import CommandFailed
from medxz.program.keys import has_content, make_key, read_key
from medxz.store.authority import secrets, server
from medxz.store.authority.audit import AuditTrail
from medxz.store.authority.secrets import Seal
from medxz.store.authority.server import Server as ServerRow
from medxz.store.authority.sqlite import open_sqlite
from medxz.store.durable import sync
from medxz.trust.certificates import Credential, make_root
from medxz.work import ThreadWorker

if TYPE_CHECKING:
    from medxz.clock import Clock
    from medxz.ids import Ids
    from medxz.store.authority.base import Transactions, Tx
    from medxz.store.postgres.pool import Pool

_ROOT_KEY: Final = "tls_root_key"
_ROOT_CERTIFICATE: Final = "tls_root_certificate"


@dataclass(frozen=True, slots=True)
class CloudStore:
    """What decisions are made with, who the cloud is, and the root that signs its own certificates.

    `pool` is there on a PostgreSQL, `key` is that of every file of the cloud.
    """

    authority: Authority
    server: ServerRow
    root: Credential
    key: bytes
    pool: Pool | None

    @property
    def transactions(self) -> Transactions:
        return self.authority.transactions


@asynccontextmanager
async def open_store(
    settings: Settings, environ: Mapping[str, str], clock: Clock, ids: Ids
) -> AsyncIterator[CloudStore]:
    """That of a cloud which was made."""
    places = settings.places
    if settings.database is None and not places.authority.is_file():
        raise _no_cloud(str(places.data))
    key = read_key(places.key_file, environ)
    async with _transactions(settings, key) as (transactions, pool):
        yield await _opened(_authority(transactions, key, clock, ids), key, pool)


@asynccontextmanager
async def make_store(
    settings: Settings, environ: Mapping[str, str], clock: Clock, ids: Ids
) -> AsyncIterator[CloudStore]:
    """A new one, or the one that is there: making goes on where it was cut off."""
    places = settings.places
    places.make_directory()
    key = read_key(places.key_file, environ) if has_content(places.key_file) else make_key(places.key_file)
    async with _transactions(settings, key) as (transactions, pool):
        authority = _authority(transactions, key, clock, ids)
        made = await Server(authority).init()
        await authority.decide(lambda tx: _make_root(tx, authority, made))
        if settings.database is None:
            sync(places.data)
        yield await _opened(authority, key, pool)


def _authority(transactions: Transactions, key: bytes, clock: Clock, ids: Ids) -> Authority:
    return Authority(transactions, Seal(key), AuditTrail(ids, clock), clock, ids)


@asynccontextmanager
async def _transactions(settings: Settings, key: bytes) -> AsyncIterator[tuple[Transactions, Pool | None]]:
    transactions: Transactions
    if settings.database is None:
        transactions = await open_sqlite(settings.places.authority, key, ThreadWorker("authority"))
        try:
            yield transactions, None
        finally:
            await transactions.close()
        return
    from medxz.store.authority.postgres import open_postgres
    from medxz.store.postgres.pool import open_pool

    pool = await open_pool(settings.database, settings.database_connections)
    try:
        transactions = await open_postgres(pool)
        try:
            yield transactions, pool
        finally:
            await transactions.close()
    finally:
        await pool.close()


async def _make_root(tx: Tx, authority: Authority, made: ServerRow) -> None:
    if await secrets.get_server(tx, authority.seal, _ROOT_CERTIFICATE) is None:
        root = make_root(made.server_id, authority.clock.now_ms())
        await secrets.put_server(tx, authority.seal, _ROOT_KEY, root.key_pem)
        await secrets.put_server(tx, authority.seal, _ROOT_CERTIFICATE, root.certificate_pem)


async def _opened(authority: Authority, key: bytes, pool: Pool | None) -> CloudStore:
    place, seal = authority.transactions.place, authority.seal

    async def read(tx: Tx) -> tuple[ServerRow | None, bytes | None, bytes | None]:
        certificate = await secrets.get_server(tx, seal, _ROOT_CERTIFICATE)
        return await server.get(tx), certificate, await secrets.get_server(tx, seal, _ROOT_KEY)

    try:
        made, certificate, private = await authority.transactions.read(read)
    except StoreKeyWrong:
        raise CommandFailed(
            f"the key file does not belong to the cloud in {place}",
            "name the right one with --key-file; every relay of one database has the same",
        ) from None
    if made is None or certificate is None or private is None:
        raise _no_cloud(place)
    return CloudStore(authority, made, Credential(certificate, private), key, pool)


def _no_cloud(place: str) -> CommandFailed:
    return CommandFailed(
        f"there is no cloud in {place}",
        "make one: medxz-cloud init --data DIR --clinic NAME --site NAME --admin-email E --admin-password-file F",
    )
