"""Who a hub is: its ids, its CA, its token key. Made once, to the end or not at all; kept in the encrypted store.

Refused: making a hub where there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.ask import check_path
from hub.config import HubPlaces
from hub.storage import Storage, locked
from medxz.clock import Clock
from medxz.errors import StoreError
from medxz.ids import Ids
from medxz.program.errors import CommandFailed
from medxz.program.keys import has_content, make_key, read_key, sync_directory
from medxz.store.files import Identity, LogFile
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import (
    Credential,
    ca_fingerprint,
    covers,
    issue_server,
    make_root,
    needs_renewal,
)
from medxz.trust.tokens import TokenSigner, key_id
from medxz.work import InlineWorker

_TOKEN_KEY = "token_key"  # noqa: S105  the name of a secret, not one
_ROOT = "ca"
_SERVER = "tls"
_SITE = "site_id"


@dataclass(frozen=True, slots=True)
class HubIdentity:
    """What makes this hub this hub."""

    server_id: str
    clinic_id: str
    site_id: str
    token_key: Ed25519PrivateKey
    root: Credential

    @property
    def ca_fingerprint(self) -> str:
        return ca_fingerprint(self.root.certificate)

    def signer(self, clock: Clock) -> TokenSigner:
        return TokenSigner(self.token_key, key_id(self.token_key.public_key()), self.server_id, clock)


async def make_hub(
    places: HubPlaces, clinic_id: str, clock: Clock, ids: Ids, key: bytes | None
) -> dict[str, str]:
    """A hub by itself, with a new key where none is given. Tells its ids."""
    check_path(places.socket)
    places.make_directory()
    with locked(places):
        if places.store.exists():
            raise CommandFailed(f"there is a hub in {places.data} already", "run it, or give another --data")
        identity = Identity(clinic_id, ids.uuid7(), ids.uuid7(), secrets.token_bytes(32))
        # a name of its own until it is whole: a power cut leaves nothing that looks like a hub
        unfinished = places.store.with_suffix(".new")
        _remove_database(unfinished)
        if key is None:
            key = make_key(places.key_file)
        LogFile.create(unfinished, key, identity)
        unfinished.chmod(0o600)  # the write-ahead log takes its mode from it
        file = LogFile.open(unfinished, key)
        try:
            made = await _make_secrets(
                SqliteRegistry(file, InlineWorker(), lambda: None), identity, clock, ids
            )
        finally:
            file.close(clean=True)
        unfinished.rename(places.store)
        sync_directory(places.data)
    return {
        "server_id": made.server_id,
        "clinic_id": made.clinic_id,
        "site_id": made.site_id,
        "epoch": identity.epoch,
        "ca_fingerprint": made.ca_fingerprint,
        "key_file": str(places.key_file),
    }


async def load_identity(storage: Storage) -> HubIdentity:
    """The identity out of an open store."""
    registry = storage.registry
    token_key = await _secret(registry, _TOKEN_KEY)
    return HubIdentity(
        storage.log.server_id,
        storage.log.clinic_id,
        (await _secret(registry, _SITE)).decode(),
        Ed25519PrivateKey.from_private_bytes(token_key),
        await _credential(registry, _ROOT),
    )


async def current_certificate(
    registry: SqliteRegistry,
    identity: HubIdentity,
    clock: Clock,
    names: Iterable[str],
    addresses: Iterable[str],
) -> tuple[Credential, bool]:
    """The hub's certificate for these names and addresses, and whether it was made just now."""
    now_ms, names, addresses = clock.now_ms(), list(names), list(addresses)
    if await registry.get_secret(f"{_SERVER}_certificate") is not None:
        held = await _credential(registry, _SERVER)
        certificate = held.certificate
        if not needs_renewal(certificate, now_ms) and covers(
            certificate, identity.server_id, names=names, addresses=addresses
        ):
            return held, False
    made = issue_server(identity.root, identity.server_id, now_ms, names=names, addresses=addresses)
    await _put_credential(registry, _SERVER, made)
    return made, True


def existing_key(places: HubPlaces, environ: dict[str, str]) -> bytes | None:
    """The key of a file that is there already: an operator's own, or a credential."""
    return read_key(places.key_file, environ) if has_content(places.key_file) else None


async def _make_secrets(registry: SqliteRegistry, identity: Identity, clock: Clock, ids: Ids) -> HubIdentity:
    made = HubIdentity(
        identity.server_id,
        identity.clinic_id,
        ids.uuid7(),
        Ed25519PrivateKey.generate(),
        make_root(identity.server_id, clock.now_ms()),
    )
    await registry.put_secret(_SITE, made.site_id.encode())
    await registry.put_secret(_TOKEN_KEY, made.token_key.private_bytes_raw())
    await _put_credential(registry, _ROOT, made.root)
    return made


async def _credential(registry: SqliteRegistry, name: str) -> Credential:
    return Credential(await _secret(registry, f"{name}_certificate"), await _secret(registry, f"{name}_key"))


async def _put_credential(registry: SqliteRegistry, name: str, credential: Credential) -> None:
    # the key first: a certificate without its key would be served, a key without its certificate is made anew
    await registry.put_secret(f"{name}_key", credential.key_pem)
    await registry.put_secret(f"{name}_certificate", credential.certificate_pem)


async def _secret(registry: SqliteRegistry, name: str) -> bytes:
    value = await registry.get_secret(name)
    if value is None:
        raise StoreError(f"the store has no {name}: it was not made by `medxz-hub init`")
    return value


def _remove_database(file: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
