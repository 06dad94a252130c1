"""Files for the cloud: what it is not known to have, what was rejected here, what this hub has, and what it asks for.

They are made of the log as it is when they are begun, by the same queue that the uplink hands out of. Nothing counts as
handed over: made again, they hold the same and what came since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from hub.claimed import Claimed
from hub.reading import Reading
from hub.storage import Storage
from hub.uplink.letters import letter_of
from hub.uplink.queue import Queue
from hub.uplink.settled import Settled
from medxz import limits
from medxz.clock import format_time
from medxz.courier.content import HubState, Letters, Ops
from medxz.courier.envelope import Header
from medxz.courier.slices import Making, SetWriter
from medxz.errors import CourierRefused
from medxz.ids import Ids
from medxz.store.directory import Directory
from medxz.store.exchange import Exchange
from medxz.trust.certificates import covers, moment
from medxz.trust.clinic_ca import is_local_name, make_request
from medxz.work import Worker

OPS_BYTES: Final = 4 * limits.MIB
# of a certificate's life, the part after which another is asked for
RENEWED_PART: Final = 12

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Packing:
    """What files for the cloud are made with. `named` are the names and addresses that the certificate is to have."""

    storage: Storage
    claim: Claimed
    ids: Ids
    worker: Worker
    named: tuple[list[str], list[str]]
    url: str | None


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of it."""

    files: list[Path]
    ops: int
    letters: int


async def pack(by: Packing, folder: Path, slice_bytes: int, progress: Progress) -> Packed:
    """A set of files in a folder."""
    heard = await _last_heard(by)
    queue = await _queue(by, heard)
    total, ops, after = by.storage.log.last_seq, 0, 0
    writer = SetWriter(_making(by, folder, slice_bytes), by.worker)
    try:
        letters = await _letters(by, heard, writer)
        while batch := await queue.next(after, limits.PUSH_OPS_MAX, OPS_BYTES):
            await writer.add(Ops([msgspec.Raw(op.body) for op in batch]))
            ops += len(batch)
            after = batch[-1].position
            for op in batch:  # it is thrown away: nothing waits for an answer
                queue.answered(op.position)
            progress(after, total)
            if writer.is_full:
                await _end(by, heard, writer)
            if after >= total:  # what comes while this is made goes with the next
                break
        if writer.is_open or not writer.made:
            await _end(by, heard, writer)
    finally:
        writer.close()
    return Packed(writer.made, ops, letters)


async def _last_heard(by: Packing) -> Exchange | None:
    """How far the cloud is, as it was last met by wire or file."""
    kept = await by.storage.registry.exchange()
    return kept if kept is not None and kept.server_id == by.claim.cloud_id else None


async def _queue(by: Packing, heard: Exchange | None) -> Queue:
    log, clock = by.storage.log, by.storage.clock
    settled = Settled(by.storage.registry.directory.cloud_marks if heard is not None else {})
    if heard is None or heard.pushed_through > log.last_seq or heard.shared_numbers != len(log.shared):
        at = await log.locate(settled.copy(), "full")
        return Queue(log, settled, clock, at.seq)
    return Queue(log, settled, clock, heard.pushed_through, heard.later, unsure=True)


async def _letters(by: Packing, heard: Exchange | None, writer: SetWriter) -> int:
    """What was rejected since the cloud was last told of it."""
    told, through = 0, heard.letters_through if heard is not None else 0
    settled = Settled(by.storage.registry.directory.cloud_marks if heard is not None else {})
    while rows := await by.storage.log.dead_letters(through, limits.PUSH_OPS_MAX):
        letters = [letter_of(row) for row in rows if not settled.has(row.device_id, row.device_seq)]
        if letters:
            await writer.add(Letters(letters))
        told, through = told + len(letters), rows[-1].id
    return told


def _request(by: Packing) -> str | None:
    """For another certificate, long before it is due over the wire: the next courier may come in a year."""
    claim, clock = by.claim, by.storage.clock
    certificate, (names, addresses) = claim.credential.certificate, by.named
    names = [name for name in names if is_local_name(name.lower())]
    begun, life = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    is_young = begun <= moment(clock.now_ms()) < begun + (life - begun) / RENEWED_PART
    if is_young and covers(certificate, claim.hub_id, names=names, addresses=addresses):
        return None
    return make_request(claim.key.encode(), claim.hub_id, names=names, addresses=addresses)


async def _end(by: Packing, heard: Exchange | None, writer: SetWriter) -> None:
    """Each file says where the hub stands: any of them may be the newest that arrives."""
    log = by.storage.log
    have = await Reading(log, by.storage.clock, "the cloud").have()
    state = HubState(
        epoch=log.epoch,
        cloud_epoch=heard.epoch if heard is not None else None,
        cursor=heard.cursor if heard is not None else None,
        have={device_id: numbers.to_wire() for device_id, numbers in have.items()},
        knows=known_of(by.storage.registry.directory),
        csr=_request(by),
        url=by.url,
    )
    await writer.add(state)
    await writer.end_slice()


def known_of(directory: Directory) -> str:
    """A name for all that was heard of the cloud by now."""
    marks = sorted(directory.cloud_marks.items())
    told = repr((directory.cloud_epoch, directory.revision, marks))
    return hashlib.sha256(told.encode()).hexdigest()


def _making(by: Packing, folder: Path, slice_bytes: int) -> Making:
    claim = by.claim
    header = Header(
        way="up",
        clinic_id=claim.clinic_id,
        hub_id=claim.hub_id,
        cloud_id=claim.cloud_id,
        set_id=by.ids.uuid7(),
        number=1,
        made_at=format_time(by.storage.clock.now_ms()),
    )
    return Making(folder, header, receiver_of(claim), claim.private_key, slice_bytes)


def receiver_of(claim: Claimed) -> EllipticCurvePublicKey:
    """The key of the clinic's intermediate, which stands behind the hub's own certificate: the cloud alone has it."""
    _, *issuers = x509.load_pem_x509_certificates(claim.certificate.encode())
    key = issuers[0].public_key() if issuers else None
    if not isinstance(key, EllipticCurvePublicKey):
        raise CourierRefused("this hub's certificate does not say who issued it", "claim it anew")
    return key
