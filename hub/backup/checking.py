"""A backup is opened to see that it can be: by its recovery key, as on a new box, every page and every op of it.

Refused: one of which anything is not what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from hub.backup.manifest import Contents, Manifest
from medxz.errors import StoreError
from medxz.program.backup_files import check_file
from medxz.program.errors import CommandFailed
from medxz.store.copying import check_copy, damaged_rows, open_log_copy

LOG: Final = "hub.db"
AUDIT: Final = "audit.db"

Stage = Callable[[str, int, int], None]
"""What is being done, and so many of so many of it; what it raises stops the work."""


def check_backup(backup: Path, manifest: Manifest, contents: Contents, stage: Stage) -> None:
    """CommandFailed where something is not what was written; each file as the medium gives it back."""
    for number, file in enumerate(manifest.files):
        stage("reading back", number, len(manifest.files))
        check_file(backup, file)
    names = {file.name for file in manifest.files}
    if LOG not in names:
        raise CommandFailed(f"{backup} has no {LOG}", "take another backup", "damaged")
    try:
        for name in sorted(names & {LOG, AUDIT}):
            check_copy(backup / name, contents.key, partial(stage, f"checking {name}"))
        log = open_log_copy(backup / LOG, contents.key)
        damaged = damaged_rows(
            backup / LOG, contents.key, lambda done, total: stage("checking ops", done, total)
        )
    except StoreError as error:
        raise CommandFailed(str(error), "take another backup", "damaged") from None
    told = (contents.hub_id, contents.clinic_id, contents.epoch, contents.last_seq)
    found = (log.identity.server_id, log.identity.clinic_id, log.identity.epoch, log.last_seq)
    if told != found or damaged:
        what = f"{len(damaged)} ops are damaged" if damaged else "it holds another log than it says"
        raise CommandFailed(f"{backup}: {what}", "take another backup", "damaged")
