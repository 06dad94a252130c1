"""The lock's row: shut by hand or by an hour without use, opened by the password of who logged in last.

A password is counted before it is checked, so that no crash and no second process tries one for nothing. These are the
only rows, with their audit, that a process also writes which opened the store to read it: one that holds the store goes on
syncing while somebody locks the device, or uses it, beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from medxz.clock import Clock
from medxz.device.person import Person, read_roles
from medxz.device.store import audit
from medxz.device.store.file import Connection, StoreFile
from medxz.device.store.identity import read_identity
from medxz.errors import DeviceLocked, StoreError, UnlockRefused

AUTO_LOCK_MS: Final = 3_600_000
# what is used is written down so often and no oftener
USED_EVERY_MS: Final = 60_000
# so many passwords are wrong without a wait; then each wait is twice the one before
FREE_TRIES: Final = 2
WAIT_FIRST_MS: Final = 5_000
WAIT_MAX_MS: Final = 900_000

_DOUBLED_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class _Row:
    password_hash: str | None
    locked_ms: int | None
    used_ms: int
    failures: int
    tried_ms: int | None


class Locks:
    """The lock of one store. Each method is one transaction."""

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def person(self) -> Person:
        """Who is logged in, and whether the device is locked. An hour without use locks it here and now."""
        return self._look()[1]

    def user(self) -> Person:
        """The same, for a person who uses the device with it: DeviceLocked where it is locked."""
        row, person = self._look()
        if person.is_locked:
            raise DeviceLocked("this device is locked")
        now_ms = self._clock.now_ms()
        if row.password_hash is not None and not 0 <= now_ms - row.used_ms < USED_EVERY_MS:
            with self._file.beside() as connection:
                connection.execute("UPDATE locking SET used_ms = ? WHERE locked_ms IS NULL", (now_ms,))
        return person

    def lock(self) -> None:
        """Shut it. StoreError where no password is known here that would open it again."""
        with self._file.reading() as connection:
            row = _read(connection)
        _must_have_a_password(row)
        if row.locked_ms is None:
            self._shut("by hand")

    def password_tried(self) -> str:
        """The hash that the password must fit; it counts as a wrong one until `opened`. UnlockRefused: not yet."""
        now_ms = self._clock.now_ms()
        with self._file.beside() as connection:
            row = _read(connection)
            password_hash = _must_have_a_password(row)
            left_ms = wait_left_ms(row.failures, row.tried_ms, now_ms)
            if left_ms == 0:
                connection.execute("UPDATE locking SET failures = failures + 1, tried_ms = ?", (now_ms,))
                audit.append(connection, now_ms, "unlock_tried", user_id=_person(connection).user_id)
            elif (
                row.tried_ms is not None and now_ms < row.tried_ms
            ):  # the clock was set back: it waits from now on
                connection.execute("UPDATE locking SET tried_ms = ?", (now_ms,))
        if left_ms:
            raise too_early(left_ms)
        return password_hash

    def opened(self, password_hash: str) -> None:
        """The password was right, if that hash is still the one."""
        now_ms = self._clock.now_ms()
        with self._file.beside() as connection:
            found = connection.execute(
                "UPDATE locking SET locked_ms = NULL, used_ms = ?, failures = 0, tried_ms = NULL"
                " WHERE password_hash = ? RETURNING 1",
                (now_ms, password_hash),
            ).fetchall()
            if found:
                audit.append(connection, now_ms, "unlocked", user_id=_person(connection).user_id)
        if not found:
            raise DeviceLocked("somebody else has logged in meanwhile")

    def wait_ms(self) -> int:
        """How long the next password has to wait."""
        with self._file.reading() as connection:
            row = _read(connection)
        return wait_left_ms(row.failures, row.tried_ms, self._clock.now_ms())

    def _look(self) -> tuple[_Row, Person]:
        with self._file.reading() as connection:
            row, person = _read(connection), _person(connection)
        if not _is_shut(row, self._clock.now_ms()):
            return row, person
        if row.locked_ms is None:
            self._shut("idle")
        return row, replace(person, is_locked=True)

    def _shut(self, why: str) -> None:
        now_ms = self._clock.now_ms()
        with self._file.beside() as connection:
            shut = connection.execute(
                "UPDATE locking SET locked_ms = ? WHERE locked_ms IS NULL RETURNING 1", (now_ms,)
            ).fetchall()
            if shut:
                audit.append(connection, now_ms, "locked", why=why, user_id=_person(connection).user_id)


def put_password(connection: Connection, password_hash: str | None, now_ms: int) -> None:
    """Whoever uses the device from now on opens it with this one; None: nothing locks it."""
    connection.execute(
        "UPDATE locking SET password_hash = ?, locked_ms = NULL, used_ms = ?, failures = 0, tried_ms = NULL",
        (password_hash, now_ms),
    )


def refuse_if_locked(connection: Connection, now_ms: int) -> None:
    """For what would give the device to another without a server's word."""
    if _is_shut(_read(connection), now_ms):
        raise DeviceLocked("this device is locked")


def wait_left_ms(failures: int, tried_ms: int | None, now_ms: int) -> int:
    """How long the next password has to wait after so many wrong ones, whatever the clock did since."""
    doubled = failures - FREE_TRIES - 1
    if tried_ms is None or doubled < 0:
        return 0
    wait_ms: int = min(WAIT_FIRST_MS << min(doubled, _DOUBLED_MAX), WAIT_MAX_MS)
    return max(0, wait_ms - max(0, now_ms - tried_ms))


def too_early(left_ms: int) -> UnlockRefused:
    seconds = -(-left_ms // 1_000)
    return UnlockRefused(
        "try_later", f"too many wrong passwords: the next one is taken in {seconds} s", seconds
    )


def _is_shut(row: _Row, now_ms: int) -> bool:
    """By hand; or nobody used it for too long; or its clock was set back, and nobody knows for how long."""
    if row.password_hash is None:
        return False
    return row.locked_ms is not None or not -USED_EVERY_MS <= now_ms - row.used_ms < AUTO_LOCK_MS


def _must_have_a_password(row: _Row) -> str:
    if row.password_hash is None:
        told = StoreError("nobody has logged in here with a password, so nobody could unlock this device")
        told.hint = "log in: `medxz login --store DIR --email E --password-file F`"
        raise told
    return row.password_hash


def _read(connection: Connection) -> _Row:
    [row] = connection.execute(
        "SELECT password_hash, locked_ms, used_ms, failures, tried_ms FROM locking"
    ).fetchall()
    return _Row(*row)


def _person(connection: Connection) -> Person:
    identity = read_identity(connection)
    return Person(identity.user_id or None, read_roles(identity.roles))
