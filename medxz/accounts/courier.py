"""Hubs that come by a courier: whose file it is, what opens it, what is sent back, each noted.

A file is a hub's by the key that the clinic knows of it; a hub that was revoked is not let in by this way either. What
goes back is signed with a key that is made for it and forgotten, and that the clinic's CA certifies as the cloud's own:
a hub that was away for a year knows that root, whatever became of the keys that sign tokens. Refused: files of unknown
and revoked hubs, and files for another cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from medxz.accounts.base import Authority
from medxz.accounts.clinic_cas import ClinicCas
from medxz.accounts.hubs import check_url
from medxz.accounts.key_ring import KeyRing
from medxz.clock import parse_time
from medxz.courier.envelope import Slice, Unlocked
from medxz.errors import CourierRefused, NotFound
from medxz.store.authority import hubs
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.hubs import HubRow
from medxz.trust.certificates import server_name
from medxz.trust.clinic_ca import ServerRequest
from medxz.wire import CloudPlace


@dataclass(frozen=True, slots=True)
class Signing:
    """A key that was made for one set of files, with the chain that proves it the cloud's."""

    key: EllipticCurvePrivateKey
    chain: tuple[str, ...]


class Couriers:
    """The use cases about hubs that come by a courier. One instance a command."""

    def __init__(self, authority: Authority, cas: ClinicCas, ring: KeyRing, place: CloudPlace) -> None:
        self._authority: Final = authority
        self._cas: Final = cas
        self._ring: Final = ring
        self._place: Final = place

    @property
    def cloud_id(self) -> str:
        return self._place.server_id

    async def opened(self, found: Slice) -> Unlocked:
        """What a hub of this cloud sent; CourierRefused where it is not that."""
        header = found.header
        if header.cloud_id != self._place.server_id:
            raise CourierRefused(f"{found.name}: it is for another cloud, {header.cloud_id}")
        hub = await self._hub(header.clinic_id, header.hub_id)
        if hub is None:
            raise CourierRefused(f"{found.name}: this cloud has no such hub in that clinic")
        if hub.revoked:
            raise CourierRefused(f"{found.name}: its hub {hub.name!r} was revoked")
        if not found.signed_by(key_of(hub)):
            raise CourierRefused(f"{found.name}: it was not made by the hub that it names")

        async def keys(tx: Tx) -> list[EllipticCurvePrivateKey]:
            return await self._cas.working_keys(tx, header.clinic_id)

        return found.unlocked(await self._authority.transactions.read(keys))

    async def hub(self, clinic_id: str, hub_id: str) -> HubRow:
        """One that may be answered; NotFound or CourierRefused where it may not."""
        hub = await self._hub(clinic_id, hub_id)
        if hub is None:
            raise NotFound(f"there is no hub {hub_id}; `medxz-cloud hub list` shows those there are")
        if hub.revoked:
            raise CourierRefused(f"the hub {hub.name!r} was revoked", "claim a new one in its place")
        return hub

    async def token(self, clinic_id: str, hub: HubRow) -> str:
        """By which the hub is stood in for, at this cloud, for as long as a hub's own token lasts."""
        await self._ring.refresh()
        return self._ring.hub_token(clinic_id, hub)

    async def signing(self, clinic_id: str) -> Signing:
        """A key for one set of files."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = (x509.DNSName(server_name(self._place.server_id)),)
        asked = ServerRequest(self._place.server_id, key.public_key(), named)
        chain = await self._authority.decide(lambda tx: self._cas.issue(tx, clinic_id, asked))
        return Signing(key, (chain,))

    async def heard_of(self, clinic_id: str, hub_id: str, made_at: str, url: str | None) -> None:
        """The hub was there when its newest file was made, and at that address."""
        heard_ms = min(parse_time(made_at), self._authority.clock.now_ms())
        url = None if url is None else check_url(url)

        async def hear(tx: Tx) -> None:
            hub = await hubs.get(tx, clinic_id, hub_id)
            if hub is not None and heard_ms > (hub.last_seen_ms or 0):
                await hubs.seen(tx, clinic_id, hub_id, heard_ms, url)

        await self._authority.decide(hear)

    async def note(self, clinic_id: str, hub_id: str, event: str, detail: Mapping[str, Any]) -> None:
        """That files of the hub were taken in, or made for it."""

        async def note(tx: Tx) -> None:
            await self._authority.trail.append(tx, clinic_id, Entry(event, hub_id=hub_id, detail=detail))

        await self._authority.decide(note)

    async def _hub(self, clinic_id: str, hub_id: str) -> HubRow | None:
        async def read(tx: Tx) -> HubRow | None:
            return await hubs.get(tx, clinic_id, hub_id)

        return await self._authority.transactions.read(read)


def key_of(hub: HubRow) -> EllipticCurvePublicKey:
    """That of the hub's certificate."""
    key = load_pem_public_key(hub.public_key.encode())
    assert isinstance(key, EllipticCurvePublicKey)
    return key
