"""`medxz-hub claim`: a box becomes a clinic's hub, by a pairing code of its cloud.

Safe to repeat whenever it was interrupted: the hub's id and key are kept before anything is sent, and the same code
with the same key gets the same answer again. A hub that began alone brings what it has, and its tablets notice nothing.
Refused: a hub that was claimed by another code, one that runs, and a cloud without TLS anywhere but on this machine.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from hub.alone.bringing import brought, keep_sessions
from hub.alone.office import opened_office
from hub.ask import check_path
from hub.claimed import KEY, Claimed, hash_of, keep_claim
from hub.clock import HubClock
from hub.config import HubPlaces
from hub.identity import HubIdentity, load_identity
from hub.making import hub_to_claim
from hub.storage import locked, open_storage
from hub.uplink.peer import CloudPeer, cloud_context
from medxz import limits
from medxz.clock import Clock
from medxz.errors import CloudRequired, Invalid, PeerRefused, PeerUnreachable
from medxz.ids import Ids
from medxz.loopback import is_loopback
from medxz.program.addresses import host_names, machine_addresses
from medxz.program.errors import CommandFailed
from medxz.program.keys import read_key
from medxz.store.registry import SqliteRegistry
from medxz.trust.certificates import Credential, key_text, private_key
from medxz.trust.clinic_ca import make_request
from medxz.wire import (
    Adopt,
    ClaimAnswer,
    ClaimRequest,
)


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator said. `cloud_ca`: PEM of the roots that the cloud is trusted by, where not the system's."""

    cloud_url: str
    code: str
    name: str
    cloud_ca: str | None = None


async def claim_hub(
    places: HubPlaces, order: Order, environ: Mapping[str, str], clock: Clock, ids: Ids
) -> dict[str, str]:
    """Claim the hub in this directory, made where there is none. Tells its ids."""
    check_path(places.socket)
    _check_url(order.cloud_url)
    hub_clock = HubClock(clock)
    if places.store.is_file():
        return await _claim_existing(places, order, environ, hub_clock, ids)
    places.make_directory()
    with locked(places):
        return await _claim_new(places, order, environ, hub_clock, ids)


def read_ca(file: Path) -> str:
    """The roots in a file; CommandFailed where there are none."""
    try:
        text = file.read_bytes()[: limits.MIB].decode("ascii")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no certificates in PEM"
        raise CommandFailed(f"{file}: {reason}", "give the PEM file of the cloud's CA") from None
    return text


async def _claim_new(
    places: HubPlaces, order: Order, environ: Mapping[str, str], clock: HubClock, ids: Ids
) -> dict[str, str]:
    async with hub_to_claim(places, environ, clock, ids) as made:
        claim = made.identity.claim
        await clock.begin(made.registry)
        if claim is None or claim.code_hash != hash_of(order.code):
            claim, _ = await _claimed(made.registry, made.identity, order, None, clock)
            await keep_claim(made.registry, claim)
            await clock.keep()
        made.file.join_clinic(claim.clinic_id)
    return claim.told()


async def _claim_existing(
    places: HubPlaces, order: Order, environ: Mapping[str, str], clock: HubClock, ids: Ids
) -> dict[str, str]:
    async with open_storage(
        places, lambda: read_key(places.key_file, environ), clock, lock_wait_s=0
    ) as storage:
        registry, identity = storage.registry, await load_identity(storage)
        claim = identity.claim
        if claim is not None and claim.code_hash == hash_of(order.code):
            return claim.told()
        if claim is not None:
            raise CommandFailed(
                f"this hub is {claim.hub_id} of the clinic {claim.clinic_id} already",
                "to replace it, claim a new hub in another directory",
                "claimed",
            )
        directory = registry.directory
        is_empty = not (directory.users or directory.devices or storage.log.settled())
        adopt = None
        if not is_empty:
            async with opened_office(storage, identity, ids) as office:
                adopt = await brought(identity, directory, office)
        claim, going_on = await _claimed(registry, identity, order, adopt, clock)
        if adopt is not None:
            await keep_sessions(storage.sessions, adopt, frozenset(going_on), clock)
        if claim.clinic_id != identity.clinic_id:
            await storage.log.run(storage.file.join_clinic, claim.clinic_id)
        await keep_claim(registry, claim)
        return claim.told()


async def _claimed(
    registry: SqliteRegistry, identity: HubIdentity, order: Order, adopt: Adopt | None, clock: HubClock
) -> tuple[Claimed, list[str]]:
    """Ask the cloud, and hold its answer against what was asked. With the claim, the sessions that go on."""
    key_pem = await _hub_key(registry)
    answer = await _asked(order, _request(order, identity, key_pem, adopt), clock)
    credential = Credential(answer.certificate.encode(), key_pem)
    if answer.hub_id != identity.server_id or not _fits(credential):
        raise CommandFailed("the cloud answered for another hub", "is --cloud the right address?")
    if adopt is not None and answer.clinic_id != identity.clinic_id:
        raise CommandFailed(
            f"the code is of the clinic {answer.clinic_id}, which did not take in this hub's {identity.clinic_id}",
            "take a code of a clinic that has no devices and hubs yet",
        )
    claim = Claimed(
        hub_id=answer.hub_id,
        clinic_id=answer.clinic_id,
        site_id=answer.site_id,
        cloud_id=answer.cloud.server_id,
        cloud_url=order.cloud_url.rstrip("/"),
        cloud_ca=order.cloud_ca,
        certificate=answer.certificate,
        key=key_pem.decode(),
        began_alone=adopt is not None,
        code_hash=hash_of(order.code),
        keys=answer.keys,
        config=answer.config,
    )
    return claim, answer.sessions


def _request(order: Order, identity: HubIdentity, key_pem: bytes, adopt: Adopt | None) -> ClaimRequest:
    csr = make_request(key_pem, identity.server_id, names=host_names(), addresses=machine_addresses())
    try:
        return ClaimRequest(code=order.code, csr=csr, name=order.name, adopt=adopt)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Invalid(f"--{first['loc'][0]}: {first['msg']}", field=str(first["loc"][0])) from None


async def _hub_key(registry: SqliteRegistry) -> bytes:
    """The key of the hub's certificate, kept before it is shown to anybody."""
    held = await registry.get_secret(KEY)
    if held is None:
        held = key_text(ec.generate_private_key(ec.SECP256R1()))
        await registry.put_secret(KEY, held)
    return held


async def _asked(order: Order, request: ClaimRequest, clock: HubClock) -> ClaimAnswer:
    context = cloud_context(order.cloud_ca, clock)
    peer = CloudPeer(order.cloud_url, clock, cloud_id=None, ssl_context=context)
    try:
        info = await peer.info()
        if info.kind != "cloud":
            raise CommandFailed(
                f"{order.cloud_url} is a hub, and no cloud", "give --cloud the cloud's address"
            )
        return await peer.claim(request)
    except PeerRefused as refused:
        raise CommandFailed(
            f"the cloud refused: {refused.message}", _hint(refused.code), refused.code
        ) from None
    except PeerUnreachable as error:
        required = CloudRequired(str(error))
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            required.hint = "is it the right cloud? one with a CA of its own: --cloud-ca FILE, by medxz-cloud ca show there"
        raise required from None
    finally:
        await peer.aclose()


def _hint(code: str) -> str:
    return {
        "code_invalid": "ask the clinic's administrator for a new code: medxz-cloud code --for hub",
        "rate_limited": "wait, and try again",
    }.get(code, "see what it says")


def _fits(credential: Credential) -> bool:
    """Whether the certificate is of our key."""
    try:
        certified = credential.certificate.public_key()
    except ValueError:
        return False
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return certified.public_bytes(*form) == private_key(credential.key_pem).public_key().public_bytes(*form)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise CommandFailed(
            f"{url} has no TLS: the code and the clinic's data would be open to everybody on the way",
            "give --cloud an https:// address",
        )
