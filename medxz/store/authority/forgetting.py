"""Dropping what is over in every clinic: sessions that nobody uses, codes, failures and proofs of the past.

Nothing here changes who may come in: what is dropped was good for nothing any more.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from medxz import limits
from medxz.clock import Clock
from medxz.errors import MedxzError
from medxz.store.authority import attempts, clinics, codes, sessions
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.base import Transactions, Tx

# who lost the answer may ask again with the same code, and an administrator may look what became of it
_CODES_KEPT_MS: Final = 7 * 24 * 3_600_000


async def keep_forgetting(transactions: Transactions, clock: Clock, sessions_unused_ms: int) -> None:
    """Do it now and then, for as long as a process runs."""
    while True:
        with suppress(MedxzError):  # the next time does what this one did not
            await forget(transactions, clock.now_ms(), sessions_unused_ms)
        await clock.sleep(limits.FORGETTING_S)


async def forget(transactions: Transactions, now_ms: int, sessions_unused_ms: int) -> None:
    """A clinic at a time, so that none is held up by another's rows."""
    for clinic_id in (NO_CLINIC, *await transactions.read(clinics.nonces)):
        await transactions.run(partial(_forget, clinic_id, now_ms, sessions_unused_ms))


async def _forget(clinic_id: str, now_ms: int, sessions_unused_ms: int, tx: Tx) -> None:
    await sessions.forget(tx, clinic_id, now_ms - sessions_unused_ms)
    await codes.forget(tx, clinic_id, now_ms - _CODES_KEPT_MS)
    await attempts.forget(tx, clinic_id, now_ms)
