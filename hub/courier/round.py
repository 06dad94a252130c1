"""A file of the cloud taken in: the cycle of the uplink, with the file in the cloud's place.

What the uplink leaves behind when it has been in step, this leaves behind: ops, watermarks, refusals, the cursor, the
directory with its revocations, keys and configuration. Refused, and nothing of it is taken: a file for another hub, by
anybody but this hub's cloud, not whole, or from before what the cloud was last heard to say; with that one a session or
a device that was revoked since would be let in again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from hub.claimed import Claimed, keep_claim
from hub.courier.packing import known_of
from hub.storage import Storage
from hub.uplink.certificate import brought
from hub.uplink.mirror import Mirror
from hub.uplink.side import CloudSide
from medxz.clock import parse_time
from medxz.courier.carried_cloud import WAITS, CarriedCloud
from medxz.courier.content import CloudState, Content, unpacked
from medxz.courier.envelope import Slice, Unlocked, read_slice
from medxz.errors import CourierRefused, PeerRefused
from medxz.replicate import LogId, Remote, Replicator, Report
from medxz.store.directory import Directory
from medxz.trust.clinic_ca import verify_chain
from medxz.work import Worker

Noting = Callable[[int, int], Awaitable[None]]

_OLDER: Final = "it is from before what the cloud was last heard to say; nothing of it is taken"


@dataclass(frozen=True, slots=True)
class Taking:
    """What a file is taken in with. `noting` is told that the directory has changed, as the uplink tells it."""

    storage: Storage
    claim: Claimed
    worker: Worker
    noting: Noting


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a file; `claim` is another where it brought a certificate. `is_read`: the cloud was read, as far as it
    was carried.
    """

    made_at: str
    report: Report
    claim: Claimed
    is_read: bool


class CarriedSide(CloudSide):
    """The hub's side towards a file, in which not everything that was rejected here has its answer."""

    async def report(self, remote: Remote, log: LogId) -> None:
        with _waiting():
            await super().report(remote, log)


async def take(by: Taking, path: Path) -> Taken:
    """All of a file, or CourierRefused with why nothing of it was taken."""
    found = read_slice(path)
    unlocked = opened(by, found)
    carried = CarriedCloud(lambda: map(_unpacking(found.name), unlocked.frames()), by.worker, found.name)
    await carried.look_through()
    storage, registry = by.storage, by.storage.registry
    told = await carried.directory()
    assert told is not None, "who names no revision is told everything"
    if _is_older(registry.directory, carried.state, told.revision):
        raise CourierRefused(f"{found.name}: {_OLDER}", "take the newest files that the cloud made")
    storage.clock.witness(parse_time(found.header.made_at))
    mirror = Mirror(carried, registry, by.noting)
    side = CarriedSide(storage.log, registry, storage.clock, mirror.met)
    await side.load()
    carried.pages_are_here = carried.holds_nothing_new(await side.have())
    report = Report()
    try:
        with _waiting():
            await _run(by, side, carried, report)
        if report.pulled:  # what came down need not be offered
            with _waiting():
                await _run(by, side, carried, Report())
    except PeerRefused as refused:
        raise CourierRefused(refused.message, "the files of one set belong together") from None
    finally:
        await side.keep()
    return Taken(found.header.made_at, report, await _renewed(by, carried), carried.has_pages)


async def _run(by: Taking, side: CloudSide, carried: CarriedCloud, report: Report) -> None:
    replicator = Replicator(side, carried, clock=by.storage.clock)
    try:
        await replicator.run(attempts=1, patience_s=0)
    finally:
        report.add(replicator.report)


@contextmanager
def _waiting() -> Iterator[None]:
    """What has no answer in the file waits for the next."""
    try:
        yield
    except PeerRefused as refused:
        if refused.code != WAITS:
            raise


def _unpacking(name: str) -> Callable[[bytes], Content]:
    return lambda frame: unpacked(frame, name)


def opened(by: Taking, found: Slice) -> Unlocked:
    """A file of this hub's cloud for this hub."""
    header, claim, name = found.header, by.claim, found.name
    if header.way != "down":
        raise CourierRefused(f"{name}: it is on its way to the cloud", "medxz-cloud import takes it in")
    if header.clinic_id != claim.clinic_id:
        raise CourierRefused(f"{name}: it is for another clinic, {header.clinic_id}")
    if header.hub_id != claim.hub_id:
        raise CourierRefused(f"{name}: it is for another hub, {header.hub_id}")
    if header.cloud_id != claim.cloud_id:
        raise CourierRefused(f"{name}: it is from another cloud, {header.cloud_id}")
    key = _key_of(by, found)
    if key is None or not found.signed_by(key):
        raise CourierRefused(f"{name}: it was not made by this hub's cloud")
    return found.unlocked([claim.private_key])


def _key_of(by: Taking, found: Slice) -> EllipticCurvePublicKey | None:
    """That which signed, where the clinic's CA says that it is the cloud's."""
    known = by.storage.registry.config.ca_certificates or by.claim.config.ca_certificates
    clock = by.storage.clock
    try:
        chain = x509.load_pem_x509_certificates("".join(found.header.chain).encode())
        roots = [x509.load_pem_x509_certificate(pem.encode()) for pem in known]
        return verify_chain(chain, roots, by.claim.cloud_id, clock.now_ms(), latest_ms=clock.latest_ms())
    except ValueError:
        return None


def _is_older(known: Directory, told: CloudState, revision: int) -> bool:
    """Epochs are UUIDs of version 7: of one cloud the later is the greater.

    A cloud that was restored says less than before. Where it answers to all that is known here, it is no older for that.
    """
    if known.cloud_epoch is None:
        return False
    if told.epoch != known.cloud_epoch:
        return told.epoch < known.cloud_epoch
    marks = told.marks
    fallen = any(marks.get(device_id, 0) < through for device_id, through in known.cloud_marks.items())
    return (revision < known.revision or fallen) and told.asked != known_of(known)


async def _renewed(by: Taking, carried: CarriedCloud) -> Claimed:
    """The claim with the certificate that was brought, where it is a newer one of this hub's key."""
    renewal = carried.renewal()
    claim = brought(by.claim, renewal) if renewal is not None else None
    if claim is None:
        return by.claim
    await keep_claim(by.storage.registry, claim)
    return claim
