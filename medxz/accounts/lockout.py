"""Who has failed too often waits: by account, by address, by a clinic's budget. Kept in the store, so that all of a
cloud's processes agree.

So many failures in a window are free, then each lock is longer than the one before it, up to a longest. Nobody can lock
a clinic out for good:

- A lock counts nothing while it is on, and never lasts longer than its rule's longest.
- What takes time to judge (a password) is counted before, and given back where it was right: guesses at one moment are as
  many as guesses one after another, and each that was let in is answered as what it is.
- A person on a device that they have used before is not held up by what others do in their name or from their address:
  such a pair has a count of its own, and only who knows the device's id can run it up.
- A clinic's budget of wrong codes begins anew whenever an administrator makes a code: where somebody stands with a
  tablet and a code in hand, it works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from medxz.accounts.base import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from medxz.errors import RateLimited
from medxz.service.accounts import Origin
from medxz.store.authority import attempts
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.base import Tx
from medxz.store.authority.users import fold_email


@dataclass(frozen=True, slots=True)
class Rule:
    """`free` failures in a window; once there was a lock, a quarter of that brings the next."""

    free: int
    window_ms: int
    first_wait_ms: int
    longest_wait_ms: int


ACCOUNT_AT_ADDRESS: Final = Rule(5, 15 * MINUTE_MS, 5 * SECOND_MS, 15 * MINUTE_MS)
ACCOUNT_ON_DEVICE: Final = Rule(5, 15 * MINUTE_MS, 5 * SECOND_MS, 15 * MINUTE_MS)
ACCOUNT: Final = Rule(30, HOUR_MS, 30 * SECOND_MS, 15 * MINUTE_MS)
ADDRESS: Final = Rule(20, 15 * MINUTE_MS, 10 * SECOND_MS, 15 * MINUTE_MS)
FACTOR: Final = Rule(10, 15 * MINUTE_MS, 5 * SECOND_MS, 15 * MINUTE_MS)
PROOFS_AT_ADDRESS: Final = Rule(10, 15 * MINUTE_MS, 10 * SECOND_MS, 15 * MINUTE_MS)
CODES_AT_ADDRESS: Final = Rule(10, 15 * MINUTE_MS, 10 * SECOND_MS, 15 * MINUTE_MS)
CODES_OF_CLINIC: Final = Rule(100, HOUR_MS, MINUTE_MS, 10 * MINUTE_MS)

RENEWALS_A_MINUTE: Final = 30

_LOCKS_WINDOW_MS: Final = DAY_MS


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a failure is counted against."""

    clinic_id: str
    name: str
    rule: Rule


def account_subjects(
    clinic_id: str, email: str, device_id: str, origin: Origin, *, known: bool
) -> list[Subject]:
    """Whose count a login raises. `known`: this person has had a session on this device."""
    account = _account(email)
    if known:
        return [Subject(clinic_id, f"{account}:on:{device_id}", ACCOUNT_ON_DEVICE)]
    return [
        Subject(clinic_id, f"{account}:at:{_place(origin)}", ACCOUNT_AT_ADDRESS),
        Subject(clinic_id, account, ACCOUNT),
        Subject(NO_CLINIC, f"address:{_place(origin)}", ADDRESS),
    ]


def factor_subject(clinic_id: str, email: str) -> Subject:
    """Whose count a second factor raises that is missing or wrong, beside a right password: nobody else can."""
    return Subject(clinic_id, f"{_account(email)}:factor", FACTOR)


async def use_renewal(tx: Tx, clinic_id: str, session_id: str, now_ms: int) -> None:
    """Count a renewal of a session."""
    await attempts.fail(tx, clinic_id, _renewals(session_id), now_ms, MINUTE_MS)


async def renewed_too_often(tx: Tx, clinic_id: str, session_id: str, now_ms: int) -> RateLimited | None:
    """The refusal, where a session was renewed as often as it may be in a minute."""
    used = await attempts.get(tx, clinic_id, _renewals(session_id), now_ms)
    if used.failures < RENEWALS_A_MINUTE:
        return None
    return RateLimited(
        "this session was renewed too often; wait and try again",
        retry_after_s=-((now_ms - used.window_ends_ms) // SECOND_MS),
    )


def proof_subject(origin: Origin) -> Subject:
    """Whose count a hub's proof by a wrong key raises."""
    return Subject(NO_CLINIC, f"proofs:{_place(origin)}", PROOFS_AT_ADDRESS)


def code_subjects(clinic_ids: Sequence[str], origin: Origin) -> list[Subject]:
    """Whose count a wrong code raises: its address, and the clinics through whose hub or with whose code it came."""
    return [
        Subject(NO_CLINIC, f"codes:{_place(origin)}", CODES_AT_ADDRESS),
        *(budget_of_codes(clinic_id) for clinic_id in clinic_ids),
    ]


def budget_of_codes(clinic_id: str) -> Subject:
    return Subject(clinic_id, "codes", CODES_OF_CLINIC)


async def locked(tx: Tx, subjects: Sequence[Subject], now_ms: int) -> RateLimited | None:
    """The refusal, where one of them has to wait."""
    until_ms = 0
    for subject in subjects:
        found = await attempts.get(tx, subject.clinic_id, subject.name, now_ms)
        until_ms = max(until_ms, found.locked_until_ms)
    if until_ms <= now_ms:
        return None
    return RateLimited(
        "too many failures; wait and try again", retry_after_s=-((now_ms - until_ms) // SECOND_MS)
    )


async def begin(tx: Tx, subjects: Sequence[Subject], now_ms: int) -> bool:
    """Count what is still to be judged, against subjects that are not locked. False: it is one too many, and now they are.

    What is begun comes to `fail_begun` or `give_back`; where it comes to neither, it was a failure.
    """
    full = [subject for subject in subjects if await _is_full(tx, subject, now_ms)]
    for subject in full:
        await _lock(tx, subject, now_ms)
    if full:
        return False
    for subject in subjects:
        await attempts.fail(tx, subject.clinic_id, subject.name, now_ms, subject.rule.window_ms)
    return True


async def fail_begun(tx: Tx, subjects: Sequence[Subject], now_ms: int) -> list[Subject]:
    """What was begun was wrong; those that this locks."""
    full = [subject for subject in subjects if await _is_full(tx, subject, now_ms)]
    for subject in full:
        await _lock(tx, subject, now_ms)
    return full


async def give_back(tx: Tx, subjects: Iterable[Subject]) -> None:
    """What was begun was no failure."""
    for subject in subjects:
        await attempts.give_back(tx, subject.clinic_id, subject.name)


async def fail(tx: Tx, subjects: Sequence[Subject], now_ms: int) -> list[Subject]:
    """Count a failure against each; those that it locked."""
    for subject in subjects:
        await attempts.fail(tx, subject.clinic_id, subject.name, now_ms, subject.rule.window_ms)
    return await fail_begun(tx, subjects, now_ms)


async def clear(tx: Tx, subject: Subject) -> None:
    """Nothing is counted against this one any more."""
    await attempts.clear(tx, subject.clinic_id, subject.name)
    await attempts.clear(tx, subject.clinic_id, _locks(subject))


async def _is_full(tx: Tx, subject: Subject, now_ms: int) -> bool:
    counted = await attempts.get(tx, subject.clinic_id, subject.name, now_ms)
    before = await attempts.get(tx, subject.clinic_id, _locks(subject), now_ms)
    return counted.failures >= (max(1, subject.rule.free // 4) if before.failures else subject.rule.free)


async def _lock(tx: Tx, subject: Subject, now_ms: int) -> None:
    rule = subject.rule
    locks = await attempts.fail(tx, subject.clinic_id, _locks(subject), now_ms, _LOCKS_WINDOW_MS)
    wait_ms = min(rule.longest_wait_ms, rule.first_wait_ms << min(locks.failures - 1, 16))
    await attempts.lock(tx, subject.clinic_id, subject.name, now_ms + wait_ms)


def _locks(subject: Subject) -> str:
    return f"{subject.name}:locks"


def _renewals(session_id: str) -> str:
    return f"renewals:{session_id}"


def _account(email: str) -> str:
    # hashed: what somebody types into the field is not always an address
    return f"account:{hashlib.sha256(fold_email(email).encode()).hexdigest()[:32]}"


def _place(origin: Origin) -> str:
    """An address behind a hub is one of that hub's LAN: another clinic has the same, and may have a hub of the same id."""
    if origin.hub_id is None:
        return origin.address
    return f"{origin.clinic_id}:{origin.hub_id}:{origin.address}"
