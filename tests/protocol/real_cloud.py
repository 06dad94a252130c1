"""The cloud's own program behind the protocol's tests, and its authority's tables as a test writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.app import Cloud, open_cloud
from cloud.config import Settings, load_settings
from cloud.store import CloudStore, make_store
from medxz.accounts.cloud import assemble
from medxz.accounts.passwords import Passwords
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.scope import Scope
from medxz.store.authority import devices, secrets, sessions, users
from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import raise_revision
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.known import AuthorityKnown, Directories
from medxz.store.authority.sessions import SessionRow
from medxz.store.authority.users import UserRow
from medxz.store.directory import ClinicConfig, Directory
from medxz.web import make_log
from medxz.wire import CloudPlace
from medxz.work import InlineWorker
from tests.making import CLINIC

KEY = b"k" * 32
_SCOPE = "UPDATE device SET scope = $3 WHERE clinic_id = $1 AND device_id = $2 RETURNING device_id"


@dataclass(frozen=True, slots=True)
class RunningCloud:
    """One that serves the clinic of the tests."""

    cloud: Cloud
    registry: CloudRegistry
    key: Ed25519PrivateKey
    """The one that signs now."""


@asynccontextmanager
async def running_cloud(folder: Path, config: ClinicConfig, said: BytesIO) -> AsyncIterator[RunningCloud]:
    """The cloud in this folder, which is made where there is none."""
    settings = load_settings({"data": folder, "plain_http": True, "port": 0, "log_level": "debug"}, {})
    if not folder.exists():
        await _make(settings, config)
    async with open_cloud(settings, {}, log=make_log(said, SystemClock(), "debug")) as cloud:
        seal = cloud.store.authority.seal
        held = await cloud.store.transactions.read(lambda tx: secrets.keys(tx, seal))
        current = next(key for key in held if key.state == "current")
        registry = CloudRegistry(cloud.store, await cloud.parts.directories.of(CLINIC))
        yield RunningCloud(cloud, registry, Ed25519PrivateKey.from_private_bytes(current.private_key))


async def _make(settings: Settings, config: ClinicConfig) -> None:
    key_file = settings.places.key_file
    key_file.write_text(KEY.hex())
    key_file.chmod(0o600)
    # nobody guesses this password, and hundreds of tests make a cloud
    passwords = Passwords([InlineWorker()], PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with make_store(settings, {}, SystemClock(), RandomIds()) as store:
        place = CloudPlace(server_id=store.server.server_id, url="http://127.0.0.1")
        directories = Directories(store.transactions, store.authority.clock)
        admin = assemble(store.authority, passwords, directories, place).administration
        password = "a long walk by the river"
        await admin.clinics.add("Riverside", ["North"], "ada@clinic.example", "Ada", password, CLINIC)
        if config.require_signed_ops:
            await admin.config.set(CLINIC, "require_signed_ops", value=True)


class CloudRegistry:
    """What tests call on a hub's registry, on a cloud's authority."""

    def __init__(self, store: CloudStore, known: AuthorityKnown) -> None:
        self._store = store
        self._known = known

    @property
    def directory(self) -> Directory:
        return self._known.directory

    async def put_user(self, user_id: str, roles: Collection[str], *, disabled: bool = False) -> None:
        row = UserRow(
            user_id, f"{user_id}@clinic.example", "Somebody", frozenset(roles), self._now_ms(), disabled
        )

        async def put(tx: Tx) -> None:
            if not await users.add(tx, CLINIC, row):
                await users.set_roles(tx, CLINIC, user_id, roles)
                await users.set_disabled(tx, CLINIC, user_id, disabled=disabled)

        await self._store.transactions.run(put)

    async def put_device(self, device_id: str, scope: Scope, public_key: bytes | None = None) -> None:
        async def put(tx: Tx) -> None:
            site_id = next(iter(self._known.directory.sites))
            row = DeviceRow(device_id, site_id, "Tablet", scope, self._now_ms())
            if not await devices.add(tx, CLINIC, row) and await tx.rows(_SCOPE, CLINIC, device_id, scope):
                await raise_revision(tx, CLINIC)
            if public_key is not None:
                await devices.add_key(tx, CLINIC, device_id, public_key, self._now_ms())

        await self._store.transactions.run(put)

    async def put_session(self, session_id: str, user_id: str, device_id: str | None) -> None:
        # a hub has no session; here it has one, so that it can be revoked as a device's is
        row = SessionRow(session_id, user_id, device_id or user_id, self._now_ms(), self._now_ms())

        async def put(tx: Tx) -> None:
            await sessions.add(tx, CLINIC, row, session_id.encode())

        await self._store.transactions.run(put)

    async def revoke_session(self, session_id: str) -> None:
        async def revoke(tx: Tx) -> None:
            await sessions.revoke(tx, CLINIC, session_id)

        await self._store.transactions.run(revoke)

    async def revoke_device(self, device_id: str) -> None:
        async def revoke(tx: Tx) -> None:
            await devices.revoke(tx, CLINIC, device_id)

        await self._store.transactions.run(revoke)

    def _now_ms(self) -> int:
        return self._store.authority.clock.now_ms()
