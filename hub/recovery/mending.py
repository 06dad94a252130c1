"""A damaged file of a hub, replaced: moved aside, and a new one in its place that holds what could be read of it.

Done before the store is opened, step by step, each of which may be the last before a power cut: what was begun is
finished at the next start. Of hub.db the new file has the hub's identity, its registry and a new epoch; its ops are
read while the hub serves (hub/recovery/refilling.py). Of audit.db it has every row that could be read. Refused: setting
aside a file of a hub whose identity is neither in it nor in the keepsake.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hub.config import HubPlaces
from hub.recovery.incidents import Incident, Incidents
from hub.recovery.keepsake import Kept, KeptShape, read_keepsake
from medxz.clock import Clock
from medxz.errors import StoreDamaged, StoreError, StoreKeyWrong
from medxz.ids import Ids
from medxz.op import Operation
from medxz.program.errors import CommandFailed
from medxz.store.authority.sqlite import make_sqlite
from medxz.store.durable import sync
from medxz.store.files import Identity, LogFile
from medxz.store.rescue.ops import Found, find_dictionaries, find_ops
from medxz.store.rescue.pages import DamagedFile
from medxz.store.rescue.tables import copy_every_table, copy_into, roots_of
from medxz.store.rescue.trees import Lost, rows_of_tree
from medxz.store.rescue.verdict import judge

# what of hub.db is no log: who may write, what the hub is, what the cloud said. Where exchanges stood is left behind
REGISTRY: Final = (
    "user", "device", "device_key", "session", "secret", "author", "revoked_session", "site", "hub", "mirror",
    "passed_session", "cloud", "cloud_mark", "cloud_refusal", "dead_letter", "review",
)  # fmt: skip
_CLAIM_ANEW: Final = (
    "move this directory away and claim the hub anew: medxz-hub claim … --code, with a code by"
    " `medxz-cloud code --for hub --replaces HUB_ID`; tablets push again what the cloud lacks (docs/recovery.md)"
)


@dataclass(slots=True)
class Mending:
    """For one start of one hub. `torn`: ops of a last transaction that a power cut tore, to be stored again."""

    places: HubPlaces
    key: bytes
    clock: Clock
    ids: Ids
    torn: list[Operation] = field(default_factory=list)
    is_torn: bool = False

    def prepare(self) -> None:
        """Finish what was begun, and look at the write-ahead logs that were left behind."""
        incidents = Incidents(self.places.data)
        for incident in incidents.all():
            if incident.state == "begun":
                self._finish(incidents, incident)
        for path in (self.places.store, self.places.audit):
            if path.is_file():
                self._judge(path)

    def mend(self, error: StoreError, path: Path) -> None:
        """Replace a file that does not open, where that is because of damage; raises the error where it is not."""
        is_damaged = isinstance(error, StoreDamaged)
        if isinstance(error, StoreKeyWrong) and self._kept() is None:
            error.hint = (
                f"give the key file that this store was made with; where it is that one, {_CLAIM_ANEW}"
            )
        if not is_damaged and not (isinstance(error, StoreKeyWrong) and self._kept() is not None):
            raise error
        why = "it is damaged" if is_damaged else "its first page is damaged"
        self._replace(path, f"opening: {why}")

    def _replace(self, path: Path, found: str) -> None:
        incidents = Incidents(self.places.data)
        if path == self.places.store:
            self._refuse_without_identity(path)
        self._finish(incidents, incidents.begin(path.name, found, self.clock.now_ms()))

    def _judge(self, path: Path) -> None:
        with self._reading(path) as file:
            verdict = judge(file)
            if verdict == "torn" and path == self.places.store:
                self._take_torn(file)
        if verdict == "damaged":
            self._replace(
                path, "opening: a frame of the write-ahead log is damaged, and later ones were committed"
            )

    def _take_torn(self, file: DamagedFile) -> None:
        assert file.wal is not None, "something of it was torn"
        self.is_torn = True
        roots = roots_of(file, self._shape("hub.db").roots)
        numbers = sorted({frame.number for frame in file.wal.passed_over})
        for ops in find_ops(file, find_dictionaries(file, roots.get("dictionary")), Found(), numbers):
            self.torn += ops

    def _finish(self, incidents: Incidents, incident: Incident) -> None:
        path = self.places.data / incident.file
        aside = incidents.folder_of(incident) / incident.file
        if not aside.exists():
            if path == self.places.store:
                self._refuse_without_identity(path)
            # before the keepsake tells of the new file
            incident = incident.model_copy(update={"shape": self._shape(path.name)})
            incidents.note(incident)
            move_aside(path, aside)
        if not path.exists():
            incident = self._make(path, aside, incident)
        is_log = path == self.places.store
        incidents.note(incident.model_copy(update={"state": "refilling" if is_log else "done"}))

    def _make(self, path: Path, aside: Path, incident: Incident) -> Incident:
        """The new file, whole before it is in its place."""
        unfinished = path.with_name(f"{path.name}.anew")
        for ending in ("", "-wal", "-shm"):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
        with self._reading(aside, incident.shape) as file:
            roots = roots_of(file, incident.shape.roots)
            if path == self.places.store:
                identity, kept = _identity(file, roots, self._kept())
                identity = Identity(
                    identity.clinic_id, identity.server_id, self.ids.uuid7(), secrets.token_bytes(32)
                )
                LogFile.create(unfinished, self.key, identity)
                copied, lost = copy_into(unfinished, self.key, file, roots, REGISTRY, kept)
                told = {"epoch": identity.epoch, "rows": copied}
            else:
                make_sqlite(unfinished, self.key)
                copied, lost = copy_every_table(unfinished, self.key, file, roots)
                told = {"rows": copied, "is_read": True}
        unfinished.rename(path)
        sync(path.parent)
        return incident.model_copy(update={**told, "pages_damaged": lost.pages, "rows_damaged": lost.rows})

    def _refuse_without_identity(self, path: Path) -> None:
        if self._kept() is None:
            with self._reading(path) as file:
                _identity(file, roots_of(file, {}), None)

    def _kept(self) -> Kept | None:
        return read_keepsake(self.places.keepsake, self.key)

    def _shape(self, file: str) -> KeptShape:
        kept = self._kept()
        return kept.shape(file) if kept is not None else KeptShape()

    @contextmanager
    def _reading(self, path: Path, shape: KeptShape | None = None) -> Iterator[DamagedFile]:
        file = DamagedFile(path, self.key, (shape or self._shape(path.name)).salt_bytes)
        try:
            yield file
        finally:
            file.close()


def _identity(
    file: DamagedFile, roots: dict[str, int], kept: Kept | None
) -> tuple[Identity, dict[str, bytes]]:
    """Whose log it is, and the secrets that make the hub that hub: as the file says, else as the keepsake does."""
    secrets_kept = {name: bytes.fromhex(value) for name, value in (kept.secrets if kept else {}).items()}
    lost = Lost()
    own, held = _values(file, roots, "log", lost), _values(file, roots, "secret", lost)
    if own and (kept is not None or (held and not lost.pages and not lost.rows)):
        _, clinic_id, server_id, epoch, *_ = own[0]
        return Identity(str(clinic_id), str(server_id), str(epoch), b""), secrets_kept
    if kept is None:
        raise CommandFailed(
            "hub.db is damaged, and what made this box that hub can't be read: the ops in it are kept as they are",
            _CLAIM_ANEW,
            "identity_lost",
        )
    return Identity(kept.clinic_id, kept.server_id, "", b""), secrets_kept


def _values(file: DamagedFile, roots: dict[str, int], table: str, lost: Lost) -> list[Sequence[object]]:
    return [row.values for row in rows_of_tree(file, roots[table], lost)] if table in roots else []


def move_aside(path: Path, aside: Path) -> None:
    """Durably, with what belongs to it; the file last: until then it is done again."""
    for ending in ("-wal", ""):
        source = path.with_name(path.name + ending)
        if source.exists():
            source.rename(aside.with_name(aside.name + ending))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync(aside.parent)
    sync(path.parent)
