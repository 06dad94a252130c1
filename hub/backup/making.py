"""A backup is made beside the hub's work: its files are copied as they stand, told, sealed, and opened again.

`hub.db` first, `audit.db` after it: what was decided and is not in the registry yet is learnt from the audit's file, as
after a power cut. What can be made anew (views.db, the keepsake) is left out. Refused: a store in which a page is not
what was written; then the hub mends itself first (docs/recovery.md).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from hub.backup.checking import AUDIT, LOG, Stage, check_backup
from hub.backup.folder import Folder
from hub.backup.manifest import Contents, Manifest, read_manifest
from hub.config import HubPlaces
from hub.recovery.keepsake import read_keepsake
from medxz import limits
from medxz.clock import format_time
from medxz.program.backup_files import MANIFEST, describe
from medxz.store.copying import copy_database, open_log_copy

# on the hub's own disk, where a backup is little more than what is carried away: room for the hub goes first
LOCAL_MAX: Final = 3
_SETTINGS_BYTES_MAX: Final = 64 * limits.KIB


@dataclass(frozen=True, slots=True)
class Source:
    """Which hub, and what its backups open with."""

    places: HubPlaces
    key: bytes
    recovery_key: str
    hub_id: str
    clinic_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was opened after it was written."""

    path: Path
    at: str
    bytes: int
    ops: int
    gone: tuple[str, ...] = ()


def local_folder(places: HubPlaces, hub_id: str) -> Folder:
    """The hub's own: where each backup is made, and carried from."""
    return Folder(places.backups, hub_id)


def make_backup(source: Source, now_ms: int, stage: Stage) -> Made:
    """Make one in the hub's own folder, and let older ones go for it."""
    folder = local_folder(source.places, source.hub_id)
    gone = folder.make_room(_size_of(source.places), beside=limits.DISK_FREE_BYTES_MIN)
    stamp = folder.free_stamp(now_ms)
    with folder.making(stamp) as unfinished:
        contents = _copied(source, unfinished, format_time(now_ms), stage)
        _write(
            unfinished / MANIFEST,
            Manifest.of(contents, source.recovery_key).model_dump_json(indent=1).encode(),
        )
        # as on a new box: by what lies there, and by the recovery key alone
        manifest = read_manifest(unfinished)
        check_backup(unfinished, manifest, manifest.open(source.recovery_key), stage)
    gone += folder.keep_newest(LOCAL_MAX)
    return Made(folder.path / stamp, contents.at, manifest.size, contents.last_seq, tuple(gone))


def _copied(source: Source, backup: Path, at: str, stage: Stage) -> Contents:
    places = source.places
    for path, name in ((places.store, LOG), (places.audit, AUDIT)):
        if path.is_file():
            copy_database(path, source.key, backup / name, partial(stage, f"copying {name}"))
    kept = read_keepsake(places.keepsake, source.key)
    log = open_log_copy(backup / LOG, source.key)
    return Contents(
        hub_id=source.hub_id,
        clinic_id=source.clinic_id,
        at=at,
        epoch=log.identity.epoch,
        last_seq=log.last_seq,
        version=source.version,
        store_key=source.key.hex(),
        files=[describe(backup / name, name) for name in (LOG, AUDIT) if (backup / name).is_file()],
        settings=_settings(places),
        shapes=kept.shapes if kept is not None else {},
    )


def _settings(places: HubPlaces) -> str | None:
    """What an operator wrote into the directory. What stands elsewhere is the machine's."""
    with suppress(OSError, ValueError):
        return places.settings.read_bytes()[:_SETTINGS_BYTES_MAX].decode()
    return None


def _size_of(places: HubPlaces) -> int:
    """What it will take at most, about."""
    size = 0
    for path in (places.store, places.audit):
        for ending in ("", "-wal"):
            with suppress(OSError):
                size += path.with_name(path.name + ending).stat().st_size
    return size


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
