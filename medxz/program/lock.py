"""The lock that keeps a second process out of a directory. The kernel lets go when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from medxz.clock import Clock
from medxz.program.errors import CommandFailed

LOCK_WAIT_S: Final = 5.0
_LOCK_POLL_S: Final = 0.05


@asynccontextmanager
async def lock_held(file: Path, clock: Clock, *, wait_s: float, hint: str) -> AsyncIterator[None]:
    """Hold it, once whoever has it lets go within the seconds; else it is in use, and the hint says what to do."""
    give_up_at = clock.monotonic() + wait_s
    with _lock_file(file) as descriptor:
        while not _is_locked(descriptor):
            if clock.monotonic() >= give_up_at:
                raise _in_use(file, hint)
            await clock.sleep(_LOCK_POLL_S)
        yield


@contextmanager
def lock_held_now(file: Path, hint: str) -> Iterator[None]:
    """Hold it, or refuse at once where somebody else does."""
    with _lock_file(file) as descriptor:
        if not _is_locked(descriptor):
            raise _in_use(file, hint)
        yield


@contextmanager
def _lock_file(file: Path) -> Iterator[int]:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandFailed(
            f"{file} can't be opened: {error.strerror}", "run this as the user whose files these are"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(file: Path, hint: str) -> CommandFailed:
    return CommandFailed(f"another process uses {file.parent}", hint, "in_use")
