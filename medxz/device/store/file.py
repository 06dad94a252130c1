"""The file under a device's store: who may open it, and what a transaction is.

One process writes at a time: the folder's lock is held for as long as the store is open. A driver's exception never
leaves this package: it becomes a StoreError.
"""

from __future__ import annotations

import fcntl
import importlib.resources
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from sqlcipher3 import dbapi2 as sqlcipher

from medxz.errors import StoreError, StoreLocked
from medxz.store.cipher import open_database
from medxz.store.durable import make_directory
from medxz.store.migrate import migrate

Connection: TypeAlias = sqlcipher.Connection
DATABASE: Final = "device.db"
LOCK: Final = "lock"
_LOCK_POLL_S: Final = 0.05  # flock waits for ever or not at all
# of its pages, kept in memory; the driver's own default is 8 MiB, and took no less time
_CACHE_KIB: Final = 2_048


class StoreFile:
    """An open database in a folder, locked against other writers unless it is only read."""

    def __init__(
        self, folder: Path, key: bytes | str, *, create: bool, read_only: bool, wait_s: float
    ) -> None:
        if create:
            make_directory(folder)
        elif not (folder / DATABASE).exists():
            raise StoreError(
                f"there is no device's store in {folder}; make one with `medxz enroll`, or `medxz init`"
            )
        self._lock = None if read_only else _locked(folder / LOCK, wait_s)
        try:
            self.connection: Connection = open_database(folder / DATABASE, key, create=create)
            if read_only:
                self.connection.execute("PRAGMA query_only = ON").fetchall()
            else:
                migrate(self.connection, importlib.resources.files("medxz.device.store") / "sql")
            self.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}").fetchall()
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        self.connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it, durable, or nothing."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def beside(self) -> Iterator[Connection]:
        """A transaction also where the store was opened to be read: of rows that no writer holds in mind."""
        if self._lock is not None:
            with self.transaction() as connection:
                yield connection
            return
        with self.reading() as connection:
            connection.execute("PRAGMA query_only = OFF").fetchall()
            try:
                with self.transaction():
                    yield connection
            finally:
                connection.execute("PRAGMA query_only = ON").fetchall()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        try:
            yield self.connection
        except sqlcipher.Error as error:
            raise StoreError(f"the device's store failed: {error}") from error


def _locked(path: Path, wait_s: float) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                os.close(descriptor)
                raise StoreLocked(f"{path.parent} is in use by another process") from None
            time.sleep(_LOCK_POLL_S)
