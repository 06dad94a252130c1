"""What a hub measures of itself, each as a check of /health: well or not, in a line.

A threshold stands where something is still to be had by acting, not where it has failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hub.backup.note import BackupNote
from hub.care.machine import Memory, Wear
from medxz import limits
from medxz.clock import format_time, parse_time
from medxz.wire import Check

TEMPERATURE_C_MAX: Final = 80.0  # a Raspberry Pi slows down from here on
MEMORY_BYTES_MIN: Final = 48 * limits.MIB
WEAR_PERCENT_MAX: Final = 80
CERTIFICATE_LEFT_MS: Final = 14 * 86_400_000  # it is renewed long before
BACKUP_AGE_MS: Final = 8 * 86_400_000
_DAY_MS: Final = 86_400_000


def check_temperature(celsius: float | None) -> Check:
    if celsius is None:
        return Check(name="temperature", ok=True, detail="this machine does not tell it")
    detail = f"{celsius:.0f} °C; from {TEMPERATURE_C_MAX:.0f} °C on it slows down"
    return Check(name="temperature", ok=celsius < TEMPERATURE_C_MAX, detail=detail)


def check_memory(memory: Memory | None) -> Check:
    if memory is None:
        return Check(name="memory", ok=True, detail="this machine does not tell it")
    detail = f"{memory.available // limits.MIB} of {memory.total // limits.MIB} MiB can be had"
    return Check(name="memory", ok=memory.available >= MEMORY_BYTES_MIN, detail=detail)


def check_wear(wear: Wear | None) -> Check:
    if wear is None:
        return Check(name="wear", ok=True, detail="the disk does not tell it here")
    used = (
        f"{wear.percent} % of {wear.device}'s life is used up, and it"
        if wear.percent is not None
        else wear.device
    )
    detail = f"{used} says that it {'fails soon' if wear.is_ending else 'is well'}"
    return Check(name="wear", ok=(wear.percent or 0) < WEAR_PERCENT_MAX and not wear.is_ending, detail=detail)


def wal_bytes(store: Path) -> int:
    try:
        return store.with_name(store.name + "-wal").stat().st_size
    except OSError:
        return 0


def check_wal(size: int) -> Check:
    detail = f"{size // limits.MIB} MiB; over {limits.WAL_BYTES_MAX // limits.MIB} MiB somebody keeps it from being copied"
    return Check(name="wal", ok=size <= limits.WAL_BYTES_MAX, detail=detail)


def check_certificate(until_ms: int | None, now_ms: int) -> Check:
    if until_ms is None:
        return Check(name="certificate", ok=True, detail="none: it serves this machine alone")
    left_ms = until_ms - now_ms
    detail = f"good until {format_time(until_ms)}"
    if left_ms < CERTIFICATE_LEFT_MS:
        detail += ", and was not renewed" if left_ms > 0 else ": tablets refuse this hub"
    return Check(name="certificate", ok=left_ms >= CERTIFICATE_LEFT_MS, detail=detail)


def check_backup(note: BackupNote, *, has_cloud: bool, made_ms: int, now_ms: int) -> Check:
    """A hub without a cloud needs one that left the box; for a claimed one its cloud is that. `made_ms`: the hub."""
    last = note.carried_at
    if note.trouble is not None:
        detail = f"the last one failed at {note.trouble.at}: {note.trouble.message}"
        return Check(name="backup", ok=False, detail=detail)
    if last is not None:
        told = f"the last one that left the box is of {last}, in {note.carried_to}"
    elif note.made_at is not None:
        told = f"none has left the box; the last one of {note.made_at} lies on its disk"
    else:
        told = "none was made"
    since_ms = parse_time(last) if last is not None else made_ms
    old = now_ms - since_ms > BACKUP_AGE_MS
    if has_cloud and note.owed:
        detail = f"{told}; that of {note.made_at} goes up once the cloud can be reached"
        return Check(name="backup", ok=not old, detail=detail)
    if has_cloud:
        return Check(name="backup", ok=True, detail=f"{told}; the cloud has what this hub hands up")
    if last is not None and not note.key_shown:
        return Check(
            name="backup", ok=False, detail=f"{told}; nobody has seen the recovery key that opens it"
        )
    if old:
        told += f": more than {BACKUP_AGE_MS // _DAY_MS} days, and this hub has no cloud"
    return Check(name="backup", ok=not old, detail=told)
