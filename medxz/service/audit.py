"""The audit: noting who did what, and an administrator's view of it.

What decides something is noted in the transaction that does it, below. What only reads is noted here and written a
moment later, many together: a reader doesn't wait for the disk, and where too much waits to be written nobody reads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Final, Protocol, TypedDict, Unpack

import orjson

from medxz import limits
from medxz.clock import Clock, format_time, parse_time
from medxz.errors import BadCursor, Invalid, MedxzError, Overloaded
from medxz.ids import is_uuid
from medxz.service.gate import Caller, require
from medxz.service.list_cursor import ListCursors
from medxz.store.authority import audit, proof
from medxz.store.authority.base import Transactions, Tx
from medxz.wire import AuditAnswer, AuditChain, AuditEntry, AuditVerifyAnswer

_RETRY_S_MAX: Final = 5.0


class About(TypedDict, total=False):
    """Who, on what, about whom. `detail` holds ids, codes and counts; never what is known of a patient."""

    user_id: str | None
    device_id: str | None
    hub_id: str | None
    patient_id: str | None
    encounter_id: str | None
    entity_type: str | None
    entity_id: str | None
    address: str | None
    detail: Mapping[str, Any]


class Audit(Protocol):
    """Where others note what they do. A ValueError tells of a mistake of theirs: no entry may look like that."""

    async def note(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        """Durable when this returns."""
        ...

    def note_later(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        """Durable in a moment, and before a server has stopped; Overloaded where too much waits for that."""
        ...


class AuditNotes:
    """An `Audit` on the audit's tables. One instance a process.

    What nobody can tell whether it was written is written again: rather twice than never.
    """

    def __init__(self, transactions: Transactions, trail: audit.AuditTrail, clock: Clock) -> None:
        self._transactions: Final = transactions
        self._trail: Final = trail
        self._clock: Final = clock
        self._waiting: Final[dict[str, deque[audit.Entry]]] = {}
        self._count = 0
        self._flushing: asyncio.Task[None] | None = None
        self._writing: Final = asyncio.Lock()

    async def note(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        await self._write(clinic_id, [audit.Entry(event, **about)])

    def note_later(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        if self._count >= limits.AUDIT_WAITING_MAX:
            raise Overloaded(
                "what was read can't be noted in the audit now; try again",
                retry_after_s=limits.OVERLOADED_RETRY_S,
            )
        entry = audit.Entry(event, **about, at_ms=self._clock.now_ms())
        self._waiting.setdefault(clinic_id, deque()).append(entry)
        self._count += 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon(), name="audit")

    async def flush(self) -> None:
        """Write what waits; what could not be written goes on waiting."""
        async with self._writing:
            for clinic_id in list(self._waiting):
                waiting = self._waiting[clinic_id]
                while waiting:
                    entries = [waiting[n] for n in range(min(len(waiting), limits.AUDIT_FLUSH_ENTRIES))]
                    await self._write(clinic_id, entries)
                    for _ in entries:
                        waiting.popleft()
                    self._count -= len(entries)
                del self._waiting[clinic_id]

    async def close(self) -> None:
        """Write what waits, and stop."""
        if self._flushing is not None:
            async with self._writing:  # never in the middle of a transaction
                self._flushing.cancel()
            await asyncio.wait([self._flushing])
        await self.flush()

    async def _flush_soon(self) -> None:
        delay_s = limits.AUDIT_FLUSH_S
        while self._waiting:
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_S_MAX)
            with suppress(MedxzError):  # it waits on; where that lasts, readers are refused
                await self.flush()
                delay_s = limits.AUDIT_FLUSH_S

    async def _write(self, clinic_id: str, entries: list[audit.Entry]) -> None:
        await self._transactions.run(lambda tx: self._trail.append(tx, clinic_id, *entries))


class AuditView:
    """The use case behind /v1/audit. One instance a clinic."""

    def __init__(
        self, transactions: Transactions, clinic_id: str, cursors: ListCursors, notes: Audit
    ) -> None:
        self._transactions: Final = transactions
        self._clinic_id: Final = clinic_id
        self._cursors: Final = cursors
        self._notes: Final = notes

    async def page(
        self, caller: Caller, query: Mapping[str, str], cursor: str | None, limit: int
    ) -> AuditAnswer:
        """The newest first. `query`: what was asked of patient, encounter, user, device, from (with it), to (without)."""
        require(caller, "admin")
        _wanted(query)  # what is not lawful is refused before it is noted
        asked = [f"{name}={query[name]}" for name in sorted(query)]
        before = self._cursors.read(cursor, "audit", *asked)
        self._note(caller, "audit_read", query)
        entries, after = await entries_of(self._transactions, self._clinic_id, query, before, limit)
        return AuditAnswer(entries=entries, next_cursor=self._cursors.following(after, "audit", *asked))

    async def verify(self, caller: Caller) -> AuditVerifyAnswer:
        """Walk every chain of the clinic, which takes as long as they are."""
        require(caller, "admin")
        self._note(caller, "audit_verified", {})
        return await verified(self._transactions, self._clinic_id)

    def _note(self, caller: Caller, event: str, query: Mapping[str, str]) -> None:
        self._notes.note_later(
            self._clinic_id,
            event,
            user_id=caller.user_id,
            device_id=caller.device_id,
            hub_id=caller.hub_id,
            detail=query,
        )


async def entries_of(
    transactions: Transactions, clinic_id: str, query: Mapping[str, str], before: str | None, limit: int
) -> tuple[list[AuditEntry], str | None]:
    """The newest entries, or those behind a place that was given with the page before; and the place to go on at."""
    wanted, place = _wanted(query), _place(before)

    async def read(tx: Tx) -> list[audit.Noted]:
        return await audit.page(tx, clinic_id, wanted, place, limit + 1)

    found = await transactions.read(read)
    last = found[limit - 1] if len(found) > limit else None
    after = f"{last.at_ms} {last.chain_id} {last.number}" if last is not None else None
    return [_told(noted) for noted in found[:limit]], after


async def verified(transactions: Transactions, clinic_id: str) -> AuditVerifyAnswer:
    """Every chain of the clinic, walked from its beginning."""
    chains = await proof.verify(transactions, clinic_id)
    return AuditVerifyAnswer(
        ok=all(chain.ok for chain in chains),
        chains=[
            AuditChain(
                chain_id=chain.chain_id,
                entries=chain.entries,
                ok=chain.ok,
                first_broken=chain.first_broken,
            )
            for chain in chains
        ],
    )


def _wanted(query: Mapping[str, str]) -> audit.Wanted:
    """Invalid, with its name, for what is not to be asked for, and for an id or a time that is none."""
    for name in ("patient", "encounter", "user", "device"):
        if name in query and not is_uuid(query[name]):
            raise Invalid(f"{name} is an id", field=name)
    return audit.Wanted(
        patient_id=query.get("patient"),
        encounter_id=query.get("encounter"),
        user_id=query.get("user"),
        device_id=query.get("device"),
        from_ms=_moment(query, "from"),
        to_ms=_moment(query, "to"),
    )


def _moment(query: Mapping[str, str], name: str) -> int | None:
    """A time, or a day for its first moment."""
    text = query.get(name)
    if text is None:
        return None
    try:
        if len(text) == len("YYYY-MM-DD"):
            day = date.fromisoformat(text)
            return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000
        return parse_time(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}", field=name) from None


def _place(text: str | None) -> audit.Place | None:
    if text is None:
        return None
    try:
        at_ms, chain_id, number = text.split(" ")
        return audit.Place(int(at_ms), chain_id, int(number))
    except ValueError:
        raise BadCursor("this is not a cursor of this list") from None


def _told(noted: audit.Noted) -> AuditEntry:
    return AuditEntry(
        chain_id=noted.chain_id,
        number=noted.number,
        at=format_time(noted.at_ms),
        event=noted.event,
        user_id=noted.user_id,
        device_id=noted.device_id,
        hub_id=noted.hub_id,
        patient_id=noted.patient_id,
        encounter_id=noted.encounter_id,
        entity_type=noted.entity_type,
        entity_id=noted.entity_id,
        address=noted.address,
        detail=orjson.loads(noted.detail),
        previous_hash=noted.previous_hash,
        hash=noted.hash,
    )
