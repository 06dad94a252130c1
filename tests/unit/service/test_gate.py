"""Who stays let in: what is looked at again at every request of somebody whose token was verified before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medxz import limits
from medxz.errors import SessionRevoked, TokenExpired
from medxz.service.gate import Gate, only_clinic
from medxz.store.directory import ClinicConfig, DeviceEntry, Directory, HubEntry
from medxz.trust.certificates import Credential, key_text
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
)
from medxz.trust.tokens import TokenSigner, TokenVerifier, key_id
from medxz.trust.vouched import HubTokenSigner, SiteHubs, VouchedKeys
from tests.making import NOON_MS, HandClock, fixed_id

CLINIC, SITE, DEVICE, USER, SESSION, CLOUD, HUB = (fixed_id(0x6A7E0 + number) for number in range(7))
KEY = Ed25519PrivateKey.generate()
KID = key_id(KEY.public_key())
ROOT = make_clinic_root(CLINIC, NOON_MS)
WHO: dict[str, Any] = {"sub": USER, "cid": CLINIC, "did": DEVICE, "sid": SESSION, "site": SITE}
ROLES = frozenset({"clinician"})


@dataclass
class Known:
    """A clinic with one device, and whatever hubs a test puts into it."""

    clinic_id: str = CLINIC
    directory: Directory = field(
        default_factory=lambda: Directory(devices={DEVICE: DeviceEntry(DEVICE, "full")})
    )
    config: ClinicConfig = field(default_factory=ClinicConfig)

    def revoke_hub(self, hub_id: str) -> None:
        hub = HubEntry(hub_id, SITE, "Hub 1", b"", revoked=True)
        self.directory = replace(self.directory, hubs={hub_id: hub})


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def keys() -> dict[str, Ed25519PublicKey]:
    return {KID: KEY.public_key()}


@pytest.fixture
def gate(known: Known, keys: dict[str, Ed25519PublicKey]) -> Gate:
    clock = HandClock()
    hubs = SiteHubs(CLINIC, SITE, frozenset({HUB}), (ROOT.certificate,))
    verifier = TokenVerifier(keys, clock, VouchedKeys(lambda: hubs, clock), lasts_s_max=limits.ACCESS_TOKEN_S)
    return Gate(verifier, only_clinic(known), clock)


def of_the_cloud() -> str:
    signer = TokenSigner(KEY, KID, CLOUD, HandClock())
    return signer.issue(**WHO, roles=ROLES, ttl_s=limits.ACCESS_TOKEN_S)


def vouched_for() -> str:
    key = key_text(ec.generate_private_key(ec.SECP256R1()))
    working = make_intermediate(ROOT, CLINIC, NOON_MS)
    chain = issue_requested(working, read_request(make_request(key, HUB)), NOON_MS)
    signer = HubTokenSigner(Credential(chain, key), HUB, HandClock())
    return signer.issue(**WHO, roles=ROLES, ttl_s=limits.ACCESS_TOKEN_S)


async def test_a_hub_sees_everything(gate: Gate, known: Known) -> None:
    """A hub's scope is full, whatever the devices of its clinic are; a device's is its own."""
    known.directory = replace(known.directory, devices={DEVICE: DeviceEntry(DEVICE, "front_desk")})
    signer = TokenSigner(KEY, KID, CLOUD, HandClock())
    claims = WHO | {"sub": HUB, "did": None, "roles": frozenset({"hub"})}
    by_hub = await gate.identify(signer.issue(**claims, ttl_s=limits.ACCESS_TOKEN_S))
    assert (by_hub.scope, by_hub.hub_id, by_hub.device_id, by_hub.name) == ("full", HUB, None, HUB)
    by_device = await gate.identify(of_the_cloud())
    assert (by_device.scope, by_device.hub_id, by_device.name) == ("front_desk", None, DEVICE)


async def test_a_key_that_is_taken_away(gate: Gate, keys: dict[str, Ed25519PublicKey]) -> None:
    """A token that was let in before is out from the moment that its key is, at a request and in the middle of one."""
    token = of_the_cloud()
    caller = await gate.identify(token)
    keys.clear()
    with pytest.raises(TokenExpired, match="taken away"):
        await gate.identify(token)
    for hold in (gate.hold, gate.hold_on):
        with pytest.raises(TokenExpired, match="taken away"):
            hold(caller)


async def test_a_hub_that_has_the_cloud_s_id(gate: Gate, known: Known) -> None:
    """Revoking a hub ends what it vouched for, and nothing that the cloud signed, whatever id the hub has chosen."""
    by_cloud, by_hub = of_the_cloud(), vouched_for()
    known.revoke_hub(CLOUD)
    for token in (by_cloud, by_hub):
        await gate.identify(token)
    known.revoke_hub(HUB)
    await gate.identify(by_cloud)
    with pytest.raises(SessionRevoked, match="hub was revoked"):
        await gate.identify(by_hub)
