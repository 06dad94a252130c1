"""Whose tokens a hub takes: other hubs of its site, each by its own certificate, for as long as it is not revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.claimed import Claimed
from hub.identity import HubIdentity
from hub.trusted import Trusted
from medxz.errors import TokenInvalid
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import Credential, issue_server, make_root
from medxz.trust.clinic_ca import (
    issue_requested,
    make_clinic_root,
    make_intermediate,
    make_request,
    read_request,
)
from medxz.trust.tokens import TokenVerifier
from medxz.trust.vouched import HubTokenSigner
from medxz.wire import ConfigAnswer, JwksAnswer
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id
from tests.store.test_mirror import SITE, told
from tests.unit.hub.scripted_cloud import Box, opened

READER, ALONE, THIRD = fixed_id(0xA1), fixed_id(0xA2), fixed_id(0xA3)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with opened(tmp_path / "hub.db") as made:
        yield made


class Clinic:
    """A clinic whose first hub began alone: its own CA is an anchor beside the clinic's."""

    def __init__(self) -> None:
        self.root = make_clinic_root(CLINIC, NOON_MS)
        self.alone = make_root(ALONE, NOON_MS)

    async def tell(self, registry: SqliteRegistry, *revoked: str) -> None:
        """As the cloud may say it, at its strictest and at its laxest: the CA is mirrored in any case."""
        config = told().config.model_copy(
            update={"ca_certificates": [made.certificate_pem.decode() for made in (self.root, self.alone)]}
        )
        hubs = [
            {
                "hub_id": hub_id, "site_id": SITE, "name": "box", "public_key": "PEM",
                "revoked": hub_id in revoked, "url": None,
            }
            for hub_id in (READER, ALONE, THIRD)
        ]  # fmt: skip
        await registry.replace_directory(told(hubs=hubs, config=config))

    def certified(self, hub_id: str) -> Credential:
        key = issue_server(self.alone, hub_id, NOON_MS).key_pem
        intermediate = make_intermediate(self.root, CLINIC, NOON_MS)
        chain = issue_requested(intermediate, read_request(make_request(key, hub_id)), NOON_MS)
        return Credential(chain, key)


def verifier_of(box: Box, clinic: Clinic) -> TokenVerifier:
    """At the site's first hub."""
    mine = clinic.certified(READER)
    claim = Claimed(
        hub_id=READER, clinic_id=CLINIC, site_id=SITE, cloud_id=fixed_id(0xB1), cloud_url="https://cloud",
        cloud_ca=None, certificate=mine.certificate_pem.decode(), key=mine.key_pem.decode(), began_alone=False,
        code_hash="", keys=JwksAnswer(keys=[]), config=ConfigAnswer.model_validate(told().config.model_dump()),
    )  # fmt: skip
    own = make_root(READER, NOON_MS)
    identity = HubIdentity(READER, CLINIC, SITE, Ed25519PrivateKey.generate(), own, claim)
    return Trusted(identity, box.registry).verifier(box.clock)


def token_by(credential: Credential, hub_id: str, clock: HandClock) -> str:
    return HubTokenSigner(credential, hub_id, clock).issue(
        sub=USER,
        cid=CLINIC,
        did=DEVICE,
        sid=fixed_id(3),
        site=SITE,
        roles=frozenset({"clinician"}),
        ttl_s=900,
    )


async def test_a_hub_that_began_alone_vouches_for_itself(box: Box) -> None:
    """By its own CA as by the clinic's; another hub's name in a certificate of that CA counts for nothing."""
    clinic = Clinic()
    await clinic.tell(box.registry)
    verifier = verifier_of(box, clinic)
    for hub_id, by in (
        (ALONE, issue_server(clinic.alone, ALONE, NOON_MS)),
        (ALONE, clinic.certified(ALONE)),
        (THIRD, clinic.certified(THIRD)),
    ):
        assert verifier.verify(token_by(by, hub_id, box.clock)).iss == hub_id
    for hub_id in (THIRD, READER):
        forged = token_by(issue_server(clinic.alone, hub_id, NOON_MS), hub_id, box.clock)
        with pytest.raises(TokenInvalid, match="no CA known here"):
            verifier.verify(forged)


async def test_a_hub_that_was_revoked_vouches_for_nobody(box: Box) -> None:
    """From the moment that this is mirrored, whichever certificate it shows; the others go on."""
    clinic = Clinic()
    await clinic.tell(box.registry)
    verifier = verifier_of(box, clinic)
    own, given = issue_server(clinic.alone, ALONE, NOON_MS), clinic.certified(ALONE)
    verifier.verify(token_by(own, ALONE, box.clock))
    await clinic.tell(box.registry, ALONE)
    for by in (own, given):
        with pytest.raises(TokenInvalid, match="not a hub of this site"):
            verifier.verify(token_by(by, ALONE, box.clock))
    assert verifier.verify(token_by(clinic.certified(THIRD), THIRD, box.clock)).iss == THIRD
