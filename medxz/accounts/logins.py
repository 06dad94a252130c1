"""Who is meant by a login, and what becomes of an attempt that was not right: counted before it is judged, and noted.

A device of one id may be in two clinics, because a hub that began alone once brought ids that nobody had looked at. Then
only those clinics are meant that have somebody of the address: no other counts, hears of it, or makes anybody wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from medxz.accounts.base import Authority
from medxz.accounts.lockout import Subject, account_subjects, begin, fail_begun, locked
from medxz.errors import CredentialsInvalid, RateLimited, Refusal
from medxz.service.accounts import Origin
from medxz.store.authority import devices, users
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.users import UserRow
from medxz.wire import LoginRequest

# how many passwords are hashed for one login; those that have had the device longest come first
_CLINICS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is meant by a login, in one clinic: the person is None where the clinic has nobody of that address."""

    clinic_id: str
    user: UserRow | None
    subjects: Sequence[Subject]


async def meant(tx: Tx, request: LoginRequest, origin: Origin) -> list[Asked]:
    """Who may be meant. Where nobody is, somebody who is not there is asked for their password all the same."""
    found: list[tuple[int, Asked]] = []
    for clinic_id in await devices.clinics_of(tx, request.device_id):
        device = await devices.get(tx, clinic_id, request.device_id)
        if device is not None and origin.reaches(clinic_id):
            found.append((device.made_at_ms, await _asked_in(tx, clinic_id, request, origin)))
    if len(found) > 1:
        found = sorted(((at, one) for at, one in found if one.user is not None), key=lambda pair: pair[0])
    if found:
        return [one for _, one in found[:_CLINICS_MAX]]
    nobody = account_subjects(NO_CLINIC, request.email, request.device_id, origin, known=False)
    return [Asked(NO_CLINIC, None, nobody)]


async def begin_attempt(
    tx: Tx, authority: Authority, asked: Sequence[Asked], request: LoginRequest, origin: Origin
) -> list[Asked] | Refusal:
    """Those in whose clinics nobody has to wait, with the attempt counted; RateLimited where everybody has to."""
    now_ms, waits, going = authority.clock.now_ms(), list[RateLimited](), list[Asked]()
    counted: set[Subject] = set()
    for one in asked:
        wait = await locked(tx, one.subjects, now_ms)
        new = [subject for subject in one.subjects if subject not in counted]
        if wait is None and not await begin(tx, new, now_ms):
            await note(tx, authority, one, request, origin, "locked_out")
            wait = await locked(tx, one.subjects, now_ms)
        if wait is None:
            counted.update(new)
            going.append(one)
        else:
            waits.append(wait)
    return going or min(waits, key=lambda wait: wait.retry_after_s or 0)


async def refuse(
    tx: Tx, authority: Authority, asked: Sequence[Asked], request: LoginRequest, origin: Origin
) -> Refusal:
    """What was begun was not right; the one answer for everything that is not."""
    for one in asked:
        full = await fail_begun(tx, one.subjects, authority.clock.now_ms())
        await note(tx, authority, one, request, origin, "login_refused", "locked_out" if full else None)
    return CredentialsInvalid("nobody logs in here with this address and password")


async def note(
    tx: Tx,
    authority: Authority,
    one: Asked,
    request: LoginRequest,
    origin: Origin,
    *events: str | None,
    **detail: Any,
) -> None:
    """Each of these events, of this attempt."""
    entry = Entry(
        "",
        user_id=one.user.user_id if one.user is not None else None,
        device_id=request.device_id,
        hub_id=origin.hub_id,
        address=origin.address,
        detail=detail,
    )
    for event in events:
        if event is not None:
            await authority.trail.append(tx, one.clinic_id, replace(entry, event=event))


async def _asked_in(tx: Tx, clinic_id: str, request: LoginRequest, origin: Origin) -> Asked:
    user = await users.find(tx, clinic_id, request.email)
    known = user is not None and user.user_id in await devices.authors(tx, clinic_id, request.device_id)
    subjects = account_subjects(clinic_id, request.email, request.device_id, origin, known=known)
    return Asked(clinic_id, user, subjects)
