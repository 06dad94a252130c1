"""One courier's call at the cloud: each hub's files are taken in as the hub would have pushed them, and answered.

Nothing is kept here of it but in the log and the directory: done again, the same files are duplicates, and the answer
is made anew. Files of one hub that are refused don't keep others waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from cloud.courier.reaching import Reached
from medxz.accounts.courier import Couriers, Signing, key_of
from medxz.clock import Clock, format_time
from medxz.courier.carried_hub import CarriedHub, FromHub
from medxz.courier.content import NONE, CloudState, HubState, Letters, Ops
from medxz.courier.envelope import Header, Slice, Unlocked
from medxz.courier.slices import Making, SetWriter, clear_superseded, contents, find_slices
from medxz.errors import CourierRefused, MedxzError, PeerRefused, PeerUnreachable
from medxz.have import Have
from medxz.ids import Ids
from medxz.peer import Peer
from medxz.replicate import LogId, Progress, Replicator, Report
from medxz.store.authority.hubs import HubRow
from medxz.wire import RenewAnswer, RenewRequest
from medxz.work import ThreadWorker

# a cloud that is busy is asked again so often, and waited for so long
ATTEMPTS: Final = 8
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one call needs: who lets hubs in, where the cloud answers, and where the files for the way back go."""

    couriers: Couriers
    reached: Reached
    back: Path
    clock: Clock
    ids: Ids
    slice_bytes: int
    progress: Callable[[Progress], None] = lambda _: None


@dataclass(slots=True)
class Called:
    """What became of it: a line for each hub, and why files were left."""

    hubs: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


async def take_in(at: Round, folder: Path, clinic_id: str | None) -> Called:
    """Every hub's files in a folder, of one clinic where one is named; each hub is answered."""
    found = find_slices(folder, "up")
    called = Called(refused=found.refused)
    worker = ThreadWorker("courier")
    try:
        for (clinic, hub_id), slices in groupby(found.slices, _whose):
            if clinic_id is not None and clinic != clinic_id:
                called.refused += [f"{each.name}: it is of another clinic, {clinic}" for each in slices]
                continue
            opened, sent = await _opened(at, list(slices), worker, called)
            if sent.state is None:
                continue
            try:
                called.hubs.append(await _answer(at, clinic, hub_id, sent, worker, opened))
            except PeerUnreachable:  # the cloud itself: nobody else would be answered either
                raise
            except (MedxzError, msgspec.MsgspecError, ValueError) as error:
                why = str(error) if isinstance(error, MedxzError) else "it says something that can't be"
                called.refused.append(f"the files of hub {hub_id}: {why}")
    finally:
        worker.close()
    return called


async def give(at: Round, clinic_id: str, hub_id: str) -> dict[str, Any]:
    """Files for a hub that has sent none: everything that there is for it, from the beginning."""
    worker = ThreadWorker("courier")
    try:
        return await _answer(at, clinic_id, hub_id, FromHub(None, _nothing), worker, [])
    finally:
        worker.close()


def _whose(found: Slice) -> tuple[str, str]:
    return found.header.clinic_id, found.header.hub_id


async def _nothing() -> AsyncIterator[Ops | Letters]:
    nothing: tuple[Ops, ...] = ()
    for frame in nothing:
        yield frame


async def _opened(
    at: Round, slices: Sequence[Slice], worker: ThreadWorker, called: Called
) -> tuple[list[Unlocked], FromHub]:
    """Those that are this hub's, whole and unaltered, read through once before anything of them counts."""
    good: list[Unlocked] = []
    state: HubState | None = None
    for found in slices:
        try:
            unlocked = await at.couriers.opened(found)
            async with aclosing(contents([unlocked], worker)) as frames:
                told = [frame async for frame in frames if isinstance(frame, HubState)]
        except CourierRefused as error:
            called.refused.append(str(error))
            continue
        good.append(unlocked)
        state = told[-1] if told else state  # they lie in the order in which they were made

    async def frames_of_all() -> AsyncIterator[Ops | Letters]:
        async with aclosing(contents(good, worker)) as frames:
            async for frame in frames:
                if isinstance(frame, Ops | Letters):
                    yield frame

    return good, FromHub(state, frames_of_all)


class _Token:
    """The hub's token, made anew before it ends (`medxz.peer.Credentials`)."""

    def __init__(self, couriers: Couriers, clinic_id: str, hub: HubRow) -> None:
        self._couriers: Final = couriers
        self._clinic_id: Final = clinic_id
        self._hub: Final = hub
        self._held: str | None = None

    async def token(self) -> str:
        if self._held is None:
            self._held = await self._couriers.token(self._clinic_id, self._hub)
        return self._held

    async def ended(self, token: str) -> bool:
        if token == self._held:
            self._held = None
        return True


async def _answer(
    at: Round,
    clinic_id: str,
    hub_id: str,
    sent: FromHub,
    worker: ThreadWorker,
    taken: Sequence[Unlocked],
) -> dict[str, Any]:
    """Push what the hub sent and read what it lacks, as the hub; what came of it goes into files for the way back."""
    hub = await at.couriers.hub(clinic_id, hub_id)
    newest = taken[-1].slice.header if taken else None
    if newest is not None:
        url = sent.state.url if sent.state is not None else None
        await at.couriers.heard_of(clinic_id, hub_id, newest.made_at, url)
    signing = await at.couriers.signing(clinic_id)
    making = _making(at, clinic_id, hub, signing)
    writer = SetWriter(making, worker)
    peer = Peer(at.reached.url, token=_Token(at.couriers, clinic_id, hub), ssl_context=at.reached.context)
    telling = _Telling(peer, sent.state)
    carried = CarriedHub(sent, writer, telling.told)
    replicator = Replicator(carried, peer, clock=at.clock, progress=at.progress)
    try:
        report = await replicator.run(attempts=ATTEMPTS, patience_s=PATIENCE_S)
        await carried.finish()
    except PeerRefused as refused:
        raise CourierRefused(f"the cloud refused it: {refused.message}", "see what it says") from None
    finally:
        writer.close()
        await peer.aclose()
    header = making.header
    clear_superseded(
        writer.made, at.back, lambda other: _same(other, header) and other.set_id < header.set_id
    )
    counts = _counts(report)
    if newest is not None:
        await at.couriers.note(clinic_id, hub_id, "courier_imported", {**counts, "files": len(taken)})
    await at.couriers.note(clinic_id, hub_id, "courier_exported", {**counts, "files": len(writer.made)})
    return {
        "hub_id": hub_id,
        "name": hub.name,
        "made_at": newest.made_at if newest is not None else None,
        **counts,
        "renewed": telling.renewed,
        "files": [str(path) for path in writer.made],
    }


def _making(at: Round, clinic_id: str, hub: HubRow, signing: Signing) -> Making:
    header = Header(
        way="down",
        clinic_id=clinic_id,
        hub_id=hub.hub_id,
        cloud_id=at.couriers.cloud_id,
        set_id=at.ids.uuid7(),
        number=1,
        made_at=format_time(at.clock.now_ms()),
        chain=signing.chain,
    )
    return Making(at.back, header, key_of(hub), signing.key, at.slice_bytes)


def _same(one: Header, other: Header) -> bool:
    names = ("way", "clinic_id", "hub_id", "cloud_id")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _counts(report: Report) -> dict[str, int]:
    names = ("accepted", "duplicate", "conflict", "rejected", "retry", "pulled")
    return {name: getattr(report, name) for name in names}


class _Telling:
    """What each slice says of the cloud, as the hub would be told over the wire."""

    def __init__(self, peer: Peer, state: HubState | None) -> None:
        self._peer: Final = peer
        self._state: Final = state
        self._renewal: RenewAnswer | None = None
        self.renewed = False

    async def told(self, log: LogId, have: Have) -> CloudState:
        """Refused where the cloud's log has become another since: what was written is that one's."""
        if self._state is not None and self._state.csr is not None and self._renewal is None:
            self._renewal = await self._renewed(self._state.csr)
        info, marks = await self._peer.info(), await self._peer.watermarks()
        if marks.cloud_epoch != log.epoch:
            raise CourierRefused("the cloud was restored just now", "do it again")
        directory = await self._peer.directory()
        assert directory is not None, "who names no revision is told everything"
        return CloudState(
            info=msgspec.Raw(info.model_dump_json().encode()),
            epoch=log.epoch,
            marks=marks.cloud,
            directory=msgspec.Raw(directory.model_dump_json().encode()),
            have={device_id: numbers.to_wire() for device_id, numbers in have.items()},
            asked=self._state.knows if self._state is not None else "",
            renewal=msgspec.Raw(NONE if self._renewal is None else self._renewal.model_dump_json().encode()),
        )

    async def _renewed(self, csr: str) -> RenewAnswer | None:
        """Where it is refused the hub goes on with what it has, as over the wire."""
        try:
            renewal = await self._peer.renew_certificate(RenewRequest(csr=csr))
        except MedxzError:
            return None
        self.renewed = True
        return renewal
