"""A backup brought back: onto a new box, or in place of a store that was damaged, always in an epoch of its own.

So that nobody loses anything: whoever reads here resumes by what he has, and devices and the cloud bring what came
after the backup. A store that is there is set aside as a damaged one is, and what can be read of it is put back by the
next start (hub/recovery): to restore an old backup over a newer store loses nothing either. Step by step, and the
store last, so that it can be repeated whenever it was interrupted. Refused: while the hub runs, a backup that is not
whole, and a directory or a key of another hub.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.ask import Json, check_path
from hub.backup.checking import AUDIT, LOG, Stage, check_backup
from hub.backup.folder import copy_durably
from hub.backup.manifest import Contents, Manifest, read_manifest
from hub.config import HubPlaces
from hub.recovery.incidents import Incidents
from hub.recovery.keepsake import read_keepsake
from hub.recovery.mending import REGISTRY, move_aside
from hub.storage import locked
from medxz.clock import Clock
from medxz.ids import Ids
from medxz.program.backup_files import describe
from medxz.program.errors import CommandFailed
from medxz.program.keys import has_content, read_key
from medxz.store.copying import begin_epoch_in_copy
from medxz.store.durable import put_in_place, sync, write_new
from medxz.store.rescue.pages import DamagedFile, PageCheck
from medxz.store.rescue.tables import copy_into, roots_of

_ENDING: Final = ".restoring"
_FOUND: Final = "a backup was restored in its place"


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup that was found, and what its seal held. Its files were not looked at yet."""

    path: Path
    manifest: Manifest
    contents: Contents


def open_backup(backup: Path, places: HubPlaces, environ: Mapping[str, str], typed: str | None) -> Opened:
    """By the recovery key that was given, else by the key of the store where this is the box that it was made on."""
    manifest = read_manifest(backup)
    if typed is not None:
        return Opened(backup, manifest, manifest.open(typed))
    if has_content(places.key_file):
        contents = manifest.open_by_store_key(read_key(places.key_file, environ))
        if contents is not None:
            return Opened(backup, manifest, contents)
    raise CommandFailed(
        f"the recovery key {manifest.recovery_key} is needed",
        "give it in --recovery-key-file, or type it; where it is kept: docs/backup.md",
        "recovery_key",
    )


def restore(
    places: HubPlaces, opened: Opened, environ: Mapping[str, str], clock: Clock, ids: Ids, stage: Stage
) -> Json:
    """Bring it back; what was restored, for `--json`."""
    check_path(places.socket)
    places.make_directory()
    contents = opened.contents
    with locked(places):
        _refuse_another_hub(places, contents, environ)
        check_backup(opened.path, opened.manifest, contents, stage)
        epoch = ids.uuid7()
        try:
            _bring_back(places, opened, stage)
            begin_epoch_in_copy(places.data / f"{LOG}{_ENDING}", contents.key, epoch, secrets.token_bytes(32))
            _set_in_place(places, contents, clock)
        except OSError as error:
            raise CommandFailed(
                f"{places.data}: {error.strerror}", "make room there, and restore again: nothing is lost"
            ) from None
    return {
        "hub_id": contents.hub_id,
        "clinic_id": contents.clinic_id,
        "epoch": epoch,
        "ops": contents.last_seq,
        "backup_of": contents.at,
        "from": str(opened.path),
    }


def _refuse_another_hub(places: HubPlaces, contents: Contents, environ: Mapping[str, str]) -> None:
    if has_content(places.key_file) and read_key(places.key_file, environ) != contents.key:
        raise CommandFailed(
            f"{places.key_file} is the key of another hub than the backup's",
            "move it and the directory away, or give another --data",
            "another_hub",
        )
    if not places.store.exists():
        return
    kept = read_keepsake(places.keepsake, contents.key)
    if kept is not None and kept.server_id == contents.hub_id:
        return
    check = PageCheck(places.store, contents.key)
    try:
        sound = any(not check.damaged([number]) for number in range(1, check.count + 1))
    finally:
        check.close()
    if kept is not None or not sound:
        raise CommandFailed(
            f"{places.store} is another hub's than the backup's",
            "move the directory away, or give another --data",
            "another_hub",
        )


def _bring_back(places: HubPlaces, opened: Opened, stage: Stage) -> None:
    """Everything on the disk, under names that nobody uses."""
    files = opened.manifest.files
    for number, file in enumerate(files):
        stage("bringing back", number, len(files))
        unfinished = places.data / f"{file.name}{_ENDING}"
        for ending in ("", "-wal", "-shm"):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
        copy_durably(opened.path / file.name, unfinished)
        if describe(unfinished, file.name) != file:
            raise CommandFailed(
                f"{unfinished} is not what was written to it", "take a new disk or card", "damaged"
            )
        unfinished.chmod(0o600)


def _take_registry(
    places: HubPlaces, contents: Contents, salt: bytes | None, roots: Mapping[str, int]
) -> None:
    """Who was let in, and what was decided, since the backup: out of the store that is there, row by row."""
    file = DamagedFile(places.store, contents.key, salt)
    try:
        found = roots_of(file, roots)
        copy_into(places.data / f"{LOG}{_ENDING}", contents.key, file, found, REGISTRY, {})
    finally:
        file.close()


def _set_in_place(places: HubPlaces, contents: Contents, clock: Clock) -> None:
    """The key first and the log last: there is a hub once that is in its place."""
    if not has_content(places.key_file):
        with suppress(FileNotFoundError):
            places.key_file.unlink()
        write_new(places.key_file, contents.key.hex().encode() + b"\n")
    if contents.settings is not None and not places.settings.exists():
        write_new(places.settings, contents.settings.encode())
    audit = places.data / f"{AUDIT}{_ENDING}"
    if places.audit.exists():  # it knows what was done since
        audit.unlink(missing_ok=True)
    elif audit.exists():
        put_in_place(audit, places.audit)
    incidents = Incidents(places.data)
    if places.store.exists():
        incident = incidents.begin(LOG, _FOUND, clock.now_ms())
        kept = read_keepsake(places.keepsake, contents.key)
        shape = kept.shape(LOG) if kept is not None else contents.shapes.get(LOG, incident.shape)
        incident = incident.model_copy(update={"shape": shape})
        incidents.note(incident)
        _take_registry(places, contents, shape.salt_bytes, shape.roots)
        move_aside(places.store, incidents.folder_of(incident) / LOG)
    put_in_place(places.data / f"{LOG}{_ENDING}", places.store)
    sync(places.data)
    for incident in incidents.all():
        if incident.state == "begun" and incident.file == LOG:
            incidents.note(incident.model_copy(update={"state": "refilling"}))
