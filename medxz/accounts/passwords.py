"""Passwords: which ones are taken, and Argon2id for what is kept of them.

Taken: 12 to 128 characters (as NFKC has them) of any kind, as long as it is none that everybody tries first, nor the
person's address nor the clinic's name. Hashing runs in workers, one password at a time in each; so much waits for them
and no more, because a hash costs the memory that it is meant to cost. Checking the password of somebody who is not there
takes as long as that of somebody who is.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from medxz.accounts.common_passwords import is_common, stem
from medxz.errors import Invalid, Overloaded
from medxz.work import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHARS_MIN: Final = 12
CHARS_MAX: Final = 128
WAITING_MAX: Final = 64
_RETRY_S: Final = 2

# RFC 9106's second choice but for one lane, since other logins want the other cores: about 0.15 s a password
HASHER: Final = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)

# a hash that was made elsewhere, and what checking a password against it may cost
_HASH: Final = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,6}),t=([0-9]{1,2}),p=([1-8])\$[A-Za-z0-9+/]{22,86}\$[A-Za-z0-9+/]{43,86}"
)
_MEMORY_KIB: Final = range(8 * 1024, 128 * 1024 + 1)
_PASSES: Final = range(1, 11)
_COST_MAX: Final = 2 * HASHER.time_cost * HASHER.memory_cost


@dataclass(frozen=True, slots=True)
class Checked:
    """`renewed`: a hash by the parameters of now, where the one that was kept is by others."""

    ok: bool
    renewed: str | None = None


class Passwords:
    """Hashes and checks. One instance a server."""

    def __init__(
        self, workers: Sequence[Worker], hasher: PasswordHasher = HASHER, waiting_max: int = WAITING_MAX
    ) -> None:
        """`workers` are this object's own, and closed with it: as many passwords are worked on at once."""
        self._workers: Final = tuple(workers)
        self._free: Final = list(workers)
        self._turn: Final = asyncio.Semaphore(len(workers))
        self._hasher: Final = hasher
        self._waiting_max: Final = waiting_max
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        async with self._worker() as worker:
            return await worker.run(self._hasher.hash, _normal(password))

    async def check(self, password: str, kept: str | None) -> Checked:
        """Whether this is the password of a kept hash; of None it never is, which is found out as slowly."""
        async with self._worker() as worker:
            return await worker.run(self._check, _normal(password), kept)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _check(self, password: str, kept: str | None) -> Checked:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash("the password of nobody")
        try:
            self._hasher.verify(self._nobodys if kept is None else kept, password)
        except (VerificationError, InvalidHashError):
            return Checked(ok=False)
        if kept is None:
            return Checked(ok=False)
        renewed = self._hasher.hash(password) if self._hasher.check_needs_rehash(kept) else None
        return Checked(ok=True, renewed=renewed)

    def _worker(self) -> AbstractAsyncContextManager[Worker]:
        return self._one_worker()

    @asynccontextmanager
    async def _one_worker(self) -> AsyncIterator[Worker]:
        if self._waiting >= self._waiting_max:
            raise Overloaded("too many people are logging in at once", retry_after_s=_RETRY_S)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        worker = self._free.pop()
        try:
            yield worker
        finally:
            self._free.append(worker)
            self._turn.release()


def check_password(password: str, email: str, clinic_name: str) -> None:
    """Invalid (field `password`) where this password is not taken for this person."""
    normal = _normal(password)
    if not CHARS_MIN <= len(normal) <= CHARS_MAX:
        raise Invalid(f"a password has {CHARS_MIN} to {CHARS_MAX} characters", field="password")
    if is_common(normal):
        raise Invalid("this password is one of those that are tried first; take another", field="password")
    own = {stem(text) for text in (email, email.partition("@")[0], clinic_name, email.partition("@")[2])}
    if stem(normal) in own - {""}:
        raise Invalid("the password must not be the address or the clinic's name", field="password")


def is_lawful_hash(text: str) -> bool:
    """Whether passwords may be checked against a hash that somebody else made: Argon2id, at a cost within bounds."""
    fits = _HASH.fullmatch(text)
    if fits is None:
        return False
    memory, passes = int(fits[1]), int(fits[2])
    return memory in _MEMORY_KIB and passes in _PASSES and memory * passes <= _COST_MAX


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
