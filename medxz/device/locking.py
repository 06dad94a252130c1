"""Locking a device and opening it again, without any server. Part of `Device`.

What is kept of a password is its Argon2id hash, made when a server has let it in, in the encrypted store. The lock is
against who picks the device up: whoever has the store's key file and tools of his own does not ask it. Only the password
of who logged in last opens it; another person logs in, which a server has to say.
"""

from __future__ import annotations

import unicodedata

from medxz.device.person import Person
from medxz.device.store import DeviceStore
from medxz.errors import UnlockRefused
from medxz.work import Worker

# as a server keeps passwords: the one that is kept here opens the cloud, too
_TIME_COST, _MEMORY_KIB = 3, 64 * 1_024


class LockCalls:
    """What `Device` has of its lock; and who uses it, for all that shows or records something."""

    _store: DeviceStore
    _worker: Worker

    async def lock(self) -> None:
        """Show and record nothing until `unlock`. StoreError where nobody's password is known here."""
        await self._worker.run(self._store.locks.lock)

    async def unlock(self, password: str) -> None:
        """Open it again by the password of who is logged in. UnlockRefused: it is wrong, or comes too early."""
        kept = await self._worker.run(self._store.locks.password_tried)
        if not await self._worker.run(_fits, kept, password):
            wait_ms = await self._worker.run(self._store.locks.wait_ms)
            wait_s = -(-wait_ms // 1_000)
            after = f"; the next one is taken in {wait_s} s" if wait_s else ""
            raise UnlockRefused(
                "password_wrong", f"this is not the password of who is logged in{after}", wait_s
            )
        await self._worker.run(self._store.locks.opened, kept)

    async def _user(self) -> Person:
        """Who uses the device by what is done now. DeviceLocked where it is locked."""
        return await self._worker.run(self._store.locks.user)

    async def _reader(self, *entity_types: str) -> Person:
        """The same, for what shows entities of these types. LoginNeeded, RoleForbids where that may not be."""
        person = await self._user()
        person.require_reading(entity_types)
        return person

    async def _onlooker(self) -> Person:
        """Who is before the device while it does something by itself; it may be locked."""
        return await self._worker.run(self._store.locks.person)


def hash_of(password: str) -> str:
    """What is kept of a password. It costs time and memory on purpose."""
    from argon2 import PasswordHasher  # only who logs in or unlocks loads it

    hasher = PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1)
    return hasher.hash(unicodedata.normalize("NFKC", password))


def _fits(kept: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(kept, unicodedata.normalize("NFKC", password))
    except (VerificationError, InvalidHashError):
        return False
