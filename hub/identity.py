"""Who a hub is: its ids, its CA, its token key, and the claim of its cloud. Kept in the encrypted store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.claimed import Claimed, load_claim
from hub.storage import Storage
from medxz.clock import Clock, has_doubts
from medxz.errors import StoreError
from medxz.ids import Ids
from medxz.store.files import Identity
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import (
    ROOT_LIFE,
    SERVER_LIFE,
    Credential,
    ca_fingerprint,
    covers,
    issue_server,
    life_under,
    make_root,
    needs_renewal,
    was_made_in_doubt,
)
from medxz.trust.tokens import TokenSigner, key_id

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
    claim: Claimed | None = None

    @property
    def ca_fingerprint(self) -> str:
        return ca_fingerprint(self.root.certificate)

    def signer(self, clock: Clock) -> TokenSigner:
        return TokenSigner(self.token_key, key_id(self.token_key.public_key()), self.server_id, clock)


async def load_identity(storage: Storage) -> HubIdentity:
    """The identity out of an open store."""
    identity = await read_identity(storage.registry, storage.log.server_id, storage.log.clinic_id)
    if identity.claim is not None:
        certified = identity.claim.credential.certificate.not_valid_before_utc
        storage.clock.witness(int(certified.timestamp()) * 1_000)
    return identity


async def read_identity(registry: SqliteRegistry, server_id: str, clinic_id: str) -> HubIdentity:
    """The rest of an identity out of the secrets of its registry."""
    token_key = await _secret(registry, _TOKEN_KEY)
    claim = await load_claim(registry)
    return HubIdentity(
        server_id,
        clinic_id,
        claim.site_id if claim is not None else (await _secret(registry, _SITE)).decode(),
        Ed25519PrivateKey.from_private_bytes(token_key),
        await _credential(registry, _ROOT),
        claim,
    )


async def current_certificate(
    registry: SqliteRegistry,
    identity: HubIdentity,
    clock: Clock,
    names: Iterable[str],
    addresses: Iterable[str],
) -> tuple[Credential, bool]:
    """The hub's certificate for these names and addresses, and whether it was made just now.

    A clock with doubts may be years behind: what is made by it lasts as long as the CA, and is made anew for the usual
    time once there is no doubt.
    """
    now_ms, names, addresses = clock.now_ms(), list(names), list(addresses)
    is_sure = not has_doubts(clock)
    if await registry.get_secret(f"{_SERVER}_certificate") is not None:
        held = await _credential(registry, _SERVER)
        certificate = held.certificate
        is_due = needs_renewal(certificate, now_ms) or (is_sure and was_made_in_doubt(certificate, now_ms))
        if not is_due and covers(certificate, identity.server_id, names=names, addresses=addresses):
            return held, False
    life = SERVER_LIFE if is_sure else life_under(identity.root.certificate, now_ms, ROOT_LIFE)
    made = issue_server(
        identity.root, identity.server_id, now_ms, names=names, addresses=addresses, life=life
    )
    await _put_credential(registry, _SERVER, made)
    return made, True


async def make_secrets(registry: SqliteRegistry, identity: Identity, clock: Clock, ids: Ids) -> None:
    """The secrets of a new hub."""
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
