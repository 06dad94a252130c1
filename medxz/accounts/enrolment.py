"""Letting devices in: by a pairing code, and, for one that was restored from a copy or cloned, by its own token.

A code lets one key in, once; asked again with the same key, the answer is the same again. Wrong codes are counted
against where they come from and against the clinic that they come through. Refused with one answer: a code that is
unknown, of another kind, used by another key, or over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from medxz import limits
from medxz.accounts.base import Authority, KnownClinics, Signs, raw_key, site_of
from medxz.accounts.clinics import check_name
from medxz.accounts.codes import hash_of
from medxz.accounts.lockout import clear, code_subjects, fail, locked
from medxz.accounts.sessions import RefreshToken
from medxz.errors import CodeInvalid, Forbidden, Refusal
from medxz.service.accounts import Origin
from medxz.service.configuration import targets_at
from medxz.service.gate import Caller, require
from medxz.store.authority import codes, devices, sessions
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import TryAgain, Tx
from medxz.store.authority.codes import CodeKind, CodeRow
from medxz.store.authority.devices import DeviceRow
from medxz.store.authority.sessions import SessionRow
from medxz.wire import EnrolAnswer, EnrolRequest, ReenrolAnswer, ReenrolRequest


@dataclass(frozen=True, slots=True)
class FoundCode:
    """A code that is good for a key: the first time, or (`used_as`) once more."""

    clinic_id: str
    digest: bytes
    row: CodeRow

    @property
    def used_as(self) -> str | None:
        return self.row.used_as


async def find_code(
    tx: Tx, authority: Authority, kind: CodeKind, typed: str, key: bytes, origin: Origin
) -> FoundCode | Refusal:
    """The code, where this key may use it; else a refusal to be returned, with the failure counted and noted."""
    now_ms, through = authority.clock.now_ms(), _clinics_through(origin)
    wait = await locked(tx, code_subjects(through, origin), now_ms)
    if wait is not None:
        return wait
    digest = await hash_of(tx, authority, typed)
    clinic_id = await codes.clinic_of(tx, digest)
    if clinic_id is not None and not origin.reaches(clinic_id):
        clinic_id = None
    row = await codes.get(tx, clinic_id, digest) if clinic_id is not None else None
    if clinic_id is not None and row is not None and row.kind == kind and _is_good(row, key, now_ms):
        return FoundCode(clinic_id, digest, row)
    counted = sorted({*through, *([clinic_id] if clinic_id is not None else [])})
    return await _refuse(tx, authority, kind, counted, origin)


def _is_good(row: CodeRow, key: bytes, now_ms: int) -> bool:
    return row.used_by_key == key or (row.used_by_key is None and now_ms < row.expires_at_ms)


async def _refuse(
    tx: Tx, authority: Authority, kind: CodeKind, counted: list[str], origin: Origin
) -> Refusal:
    locks = await fail(tx, code_subjects(counted, origin), authority.clock.now_ms())
    for clinic_id in counted or [NO_CLINIC]:
        entry = Entry(
            "enrol_refused",
            hub_id=origin.hub_id,
            address=origin.address,
            detail={"for": kind, "code": "code_invalid"},
        )
        await authority.trail.append(tx, clinic_id, entry)
        if locks:
            await authority.trail.append(tx, clinic_id, replace(entry, event="locked_out"))
    return CodeInvalid("this pairing code is unknown, used or over; ask for another one")


def _clinics_through(origin: Origin) -> list[str]:
    """The clinic whose hub passes this on, as its token says: another clinic may have a hub of the same id."""
    return [] if origin.clinic_id is None else [origin.clinic_id]


class Enrolment:
    """The use cases about devices that come in. One instance a server."""

    def __init__(self, authority: Authority, keys: Signs, clinics: KnownClinics) -> None:
        self._authority: Final = authority
        self._keys: Final = keys
        self._clinics: Final = clinics

    async def enrol(self, request: EnrolRequest, origin: Origin) -> EnrolAnswer:
        """A device by its code and key. CodeInvalid or RateLimited where not."""
        key, name = raw_key(request.public_key), check_name(request.name, "name")

        async def enrol(tx: Tx) -> tuple[str, DeviceRow] | Refusal:
            found = await find_code(tx, self._authority, "device", request.code, key, origin)
            if isinstance(found, Refusal):
                return found
            if found.used_as is not None:
                device = await devices.get(tx, found.clinic_id, found.used_as)
                if device is None or device.revoked:
                    return CodeInvalid("this pairing code is unknown, used or over; ask for another one")
                return found.clinic_id, device
            return found.clinic_id, await self._let_in(tx, found, key, name, origin)

        clinic_id, device = await self._authority.decide(enrol)
        known = await self._clinics.of(clinic_id)
        return EnrolAnswer(
            device_id=device.device_id,
            clinic_id=clinic_id,
            site_id=device.site_id,
            scope=device.scope,
            ca_certificates=list(known.config.ca_certificates),
            targets=targets_at(known, device.site_id),
        )

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        """The same tablet with another id: its scope, site and authors go with it, and a session of its user's.

        Asked again with the same key, as after an answer that was lost, it is the same id again.
        """
        require(caller, "device")
        key, name = raw_key(request.public_key), check_name(request.name, "name")

        async def reenrol(tx: Tx) -> tuple[DeviceRow, RefreshToken] | Refusal:
            old = await devices.get(tx, caller.clinic_id, caller.name)
            session = await sessions.get(tx, caller.clinic_id, caller.session_id)
            if old is None or old.revoked or session is None or session.revoked:
                return Forbidden("a device takes another id in a session of its own, before it is revoked")
            new = await self._taken_before(tx, caller, key)
            if new is None:
                new = await self._another(tx, caller, old, key, name)
            return new, await self._session_on(tx, caller, new)

        device, token = await self._authority.decide(reenrol, caller.clinic_id)
        known = await self._clinics.of(caller.clinic_id)
        return ReenrolAnswer(
            device_id=device.device_id,
            clinic_id=caller.clinic_id,
            site_id=device.site_id,
            scope=device.scope,
            access_token=self._keys.signer.issue(
                sub=caller.user_id,
                cid=caller.clinic_id,
                did=device.device_id,
                sid=token.session_id,
                site=device.site_id,
                roles=caller.roles,
                ttl_s=limits.ACCESS_TOKEN_S,
            ),
            refresh_token=token.text,
            ca_certificates=list(known.config.ca_certificates),
            targets=targets_at(known, device.site_id),
        )

    async def _let_in(self, tx: Tx, found: FoundCode, key: bytes, name: str, origin: Origin) -> DeviceRow:
        now_ms, row = self._authority.clock.now_ms(), found.row
        site = await site_of(tx, found.clinic_id, row.site_id)
        named = row.device_name or name
        device = DeviceRow(self._authority.ids.uuid7(), site.site_id, named, row.scope or "full", now_ms)
        if not await codes.take(tx, found.clinic_id, found.digest, key, device.device_id, now_ms):
            raise TryAgain
        await devices.add(tx, found.clinic_id, device)
        await devices.add_key(tx, found.clinic_id, device.device_id, key, now_ms)
        for subject in code_subjects([], origin):
            await clear(tx, subject)
        entry = Entry(
            "enrolled",
            user_id=row.made_by,
            device_id=device.device_id,
            hub_id=origin.hub_id,
            address=origin.address,
            detail={"site_id": site.site_id, "scope": device.scope},
        )
        await self._authority.trail.append(tx, found.clinic_id, entry)
        return device

    async def _taken_before(self, tx: Tx, caller: Caller, key: bytes) -> DeviceRow | None:
        for device in await devices.everyone(tx, caller.clinic_id):
            if device.replaces != caller.name or device.revoked:
                continue
            if key in await devices.keys(tx, caller.clinic_id, device.device_id):
                return device
        return None

    async def _another(self, tx: Tx, caller: Caller, old: DeviceRow, key: bytes, name: str) -> DeviceRow:
        now_ms, clinic_id = self._authority.clock.now_ms(), caller.clinic_id
        new = DeviceRow(
            self._authority.ids.uuid7(), old.site_id, name, old.scope, now_ms, replaces=old.device_id
        )
        await devices.add(tx, clinic_id, new)
        await devices.add_key(tx, clinic_id, new.device_id, key, now_ms)
        for author in await devices.authors(tx, clinic_id, old.device_id):
            await devices.add_author(tx, clinic_id, new.device_id, author)
        entry = Entry(
            "reenrolled", user_id=caller.user_id, device_id=new.device_id, detail={"replaces": old.device_id}
        )
        await self._authority.trail.append(tx, clinic_id, entry)
        return new

    async def _session_on(self, tx: Tx, caller: Caller, device: DeviceRow) -> RefreshToken:
        now_ms = self._authority.clock.now_ms()
        token = RefreshToken.new(caller.clinic_id, self._authority.ids.uuid7())
        session = SessionRow(token.session_id, caller.user_id, device.device_id, now_ms, now_ms)
        await sessions.add(tx, caller.clinic_id, session, token.digest)
        return token
