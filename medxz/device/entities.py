"""What a device is asked about entities, and how a conflict is decided. Part of `Device`.

An entity is worked out of its ops when it is asked for, so it is always as fresh as they are. A list, a search or the
conflicts first take in what has changed since they were last asked for; a device that was opened to be read alone
answers by what the writing one has taken in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Final, Literal

import msgspec

from medxz import limits
from medxz.clock import Clock, format_time
from medxz.device.locking import LockCalls
from medxz.device.person import Person
from medxz.device.store import Draft
from medxz.device.store.drafts import check_payload
from medxz.device.store.entities import Which
from medxz.device.store.resolving import Decision
from medxz.device.store.rows import HeldOp
from medxz.errors import OpInvalid
from medxz.ids import Ids, is_uuid
from medxz.merge.change import object_json
from medxz.merge.dated import span_of
from medxz.merge.entity import Entity
from medxz.merge.history import History, history_of
from medxz.merge.view import View
from medxz.op import Operation
from medxz.store.views import Asked, ConflictState, HeldConflict, Portion

SCHEMA_VERSION: Final = 1
PAGE_ROWS: Final = limits.LIST_PAGE_DEFAULT
PAGE_OPS: Final = 500


class ToldRetract(msgspec.Struct, frozen=True):
    """By which op a side was taken back, and why."""

    op_id: str
    reason: msgspec.Raw


class ToldSide(msgspec.Struct, frozen=True):
    """What one side of a conflict says: of an op who, when and where; of two patients that may be one, which."""

    values: dict[str, msgspec.Raw]
    op_id: str | None = None
    op_type: str | None = None
    user_id: str | None = None
    device_id: str | None = None
    device_time: str | None = None
    entity_id: str | None = None
    retracted: ToldRetract | None = None


class ToldConflict(msgspec.Struct, frozen=True):
    """A conflict as it is told everywhere; `text` is its JSON, as the protocol has it."""

    conflict_id: str
    kind: Literal["edit", "retract", "duplicate"]
    entity_type: str
    entity_id: str
    fields: tuple[str, ...]
    sides: tuple[ToldSide, ...]
    state: ConflictState = "open"
    resolved_by: str | None = None
    provisional: bool = False
    text: msgspec.Raw = msgspec.Raw()


class EntityCalls(LockCalls):
    """Reading ops and entities and settling conflicts, over a device's store, as far as who is logged in may."""

    _clock: Clock
    _ids: Ids
    _recorded: asyncio.Event

    async def ops(self, *, after: int = 0, limit: int | None = None) -> AsyncGenerator[HeldOp, None]:
        """The ops that are here, in the order in which they came to be here; `after` is a position among them."""
        left = limit
        while left is None or left > 0:
            person = await self._reader()
            page = await self._worker.run(
                self._store.page, after, PAGE_OPS if left is None else min(left, PAGE_OPS)
            )
            shown = [held for held in page if held.op.entity_type in person.reads]
            for held in shown:
                yield held
            if not page:
                return
            after = page[-1].position
            left = None if left is None else left - len(shown)

    async def heads(self, entity_type: str, entity_id: str) -> tuple[str, ...]:
        """The ops of an entity that the next one would follow."""
        await self._reader(entity_type)
        return await self._worker.run(self._store.heads_of, entity_type, uuid("entity_id", entity_id))

    async def get(self, entity_type: str, entity_id: str) -> View | None:
        """The entity as it stands: state, heads, conflicts. None where nothing is known of it."""
        await self._reader(entity_type)
        return await self._worker.run(self._store.entities.get, entity_type, uuid("entity_id", entity_id))

    async def history(self, entity_type: str, entity_id: str) -> History | None:
        """What became of an entity, op by op, and what merged by itself. None where nothing is known of it."""
        await self._reader(entity_type)
        entity, changes = await self._worker.run(
            self._store.entities.changes, entity_type, uuid("entity_id", entity_id)
        )
        return await self._worker.run(history_of, entity, changes) if changes else None

    async def list(
        self, entity_type: str, *, after: str | None = None, limit: int = PAGE_ROWS
    ) -> Portion[View]:
        """Entities of a type, in the order of their ids, retracted ones too."""
        await self._reader(entity_type)
        await self._refresh(frozenset({entity_type}))
        return await self._worker.run(self._store.entities.listed, entity_type, after, _page(limit))

    async def of_patient(
        self, patient_id: str, *, types: Collection[str] | None = None, first: str | None = None,
        last: str | None = None, after: str | None = None, limit: int = PAGE_ROWS,
    ) -> Portion[View]:  # fmt: skip
        """What is of a patient, newest first; between two dates, both of them included, only what has one."""
        person = await self._reader(*(types or ()))
        types = person.reads.named if types is None else types
        asked = Asked(uuid("patient", patient_id), types, _date("first", first), _date("last", last))
        await self._refresh(frozenset(types) if types is not None else "all")
        return await self._worker.run(self._store.entities.of_patient, asked, after, _page(limit))

    async def search(self, text: str, *, after: str | None = None, limit: int = PAGE_ROWS) -> Portion[View]:
        """Patients whom each word of the text fits: a piece of a name, a birth date, an identifier, a phone number."""
        await self._reader("Patient")
        await self._refresh(frozenset({"Patient"}))
        return await self._worker.run(self._store.entities.patients, text, after, _page(limit))

    async def conflicts(
        self, state: ConflictState = "open", *, after: str | None = None, limit: int = PAGE_ROWS
    ) -> Portion[ToldConflict]:
        """The conflicts of what is here, and patients who may be one person."""
        types = (await self._reader()).reads.named
        await self._refresh("loud" if state == "open" else "all")
        found = await self._worker.run(self._store.entities.conflicts, state, types, after, _page(limit))
        return Portion([_told(held) for held in found.rows], found.after)

    async def conflict(self, conflict_id: str) -> ToldConflict | None:
        """One of them, open or resolved."""
        person = await self._reader()
        await self._refresh()
        held = await self._worker.run(self._store.entities.conflict, uuid("conflict_id", conflict_id))
        if held is None:
            return None
        person.require_reading((held.entity_type,))
        return _told(held)

    async def resolve(
        self,
        about: str | tuple[str, str],
        *,
        reason: str,
        take: str | Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
        user_id: str | None = None,
    ) -> tuple[Operation, ...]:
        """Settle a conflict: a `resolve` that follows every head that is here and writes what was decided.

        `take` is the op whose side is taken, or such an op for each field; `fields` are values in place of theirs
        (None: the field goes; bytes are JSON text, kept as it is). What is not named stays in conflict. Where a side that
        is retracted is taken, a retract follows in the same transaction. `about` is a conflict's id, or the type and
        id of an entity whose heads are to be joined.
        """
        person = await self._user()
        author = author_of(person, user_id)
        written = {name: _value(name, value) for name, value in (fields or {}).items()}

        def draft(entity: Entity, op_type: str, parents: tuple[str, ...], payload: bytes) -> Draft:
            person.require_writing(entity.entity_type)
            made = Draft(
                op_id=self._ids.uuid7(), user_id=author,
                entity_type=entity.entity_type, entity_id=entity.entity_id, op_type=op_type, parents=parents,
                device_time=format_time(self._clock.now_ms()), schema_version=SCHEMA_VERSION, payload=payload,
            )  # fmt: skip
            if (
                op_type == "resolve" and written
            ):  # what is taken from a side stands there already, lawful or not
                check_payload(dataclasses.replace(made, payload=object_json(written)))
            return made

        await self._refresh("loud")
        if isinstance(about, str):
            uuid("conflict_id", about)
        done = await asyncio.shield(
            self._worker.run(self._store.entities.resolve, about, Decision(reason, take, written), draft)
        )
        self._recorded.set()
        return tuple(done)

    async def open_conflicts(self) -> int:
        """How many there are of what is read here, patients who may be one person among them; also while it is locked."""
        types = (await self._onlooker()).reads.named
        await self._refresh("loud")
        return await self._worker.run(self._store.entities.count_open, types)

    async def _refresh(self, which: Which = "all") -> None:
        """Take in what has changed, a little at a time: what is recorded meanwhile does not wait for all of it."""
        while not self._store.is_read_only and await self._worker.run(self._store.entities.refresh, which):
            pass

    async def _refresh_some(self) -> bool:
        return await self._worker.run(self._store.entities.refresh, "all")


def author_of(person: Person, user_id: str | None) -> str:
    """This user, or who is logged in; OpInvalid where that is nobody."""
    author = user_id if user_id is not None else person.user_id
    if author is None:
        raise OpInvalid("user_id", "is missing: nobody has logged in on this device, so whose is it?")
    return author


def uuid(field: str, text: str) -> str:
    if not is_uuid(text):
        raise OpInvalid(field, "must be a UUID in canonical lowercase text")
    return text


def _told(held: HeldConflict) -> ToldConflict:
    told = msgspec.json.decode(held.body, type=ToldConflict)
    return msgspec.structs.replace(told, state=held.state, text=msgspec.Raw(held.body))


def _page(limit: int) -> int:
    return max(1, min(limit, limits.LIST_PAGE_MAX))


def _date(field: str, text: str | None) -> str | None:
    if text is not None and span_of(text) is None:
        raise OpInvalid(field, "must be a date: YYYY, YYYY-MM, YYYY-MM-DD, or that and a time")
    return text


def _value(name: str, value: object) -> bytes | None:
    if value is None:
        return None
    try:
        if not isinstance(value, bytes):
            return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        text = value.strip(b" \t\r\n")
        msgspec.json.decode(text)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        raise OpInvalid(name, "is no JSON") from None
    return None if text == b"null" else text
