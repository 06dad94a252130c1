"""What hubs lay down in the cloud: piece by piece, however often it breaks off, and nothing that is not what it says."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from cloud.backups import CloudBackups
from medxz import limits
from medxz.errors import Forbidden, Invalid, StorageFull
from medxz.ids import RandomIds
from medxz.program.backup_files import MANIFEST, describe
from medxz.service.gate import Caller
from medxz.store.room import Room
from medxz.wire import BackupAnswer, BackupPiece
from medxz.work import InlineWorker

HUB, CLINIC = RandomIds().uuid7(), RandomIds().uuid7()
STAMP = "20261122T010000Z"
NOBODY: Final[Any] = None


def caller(hub_id: str | None = HUB, clinic_id: str = CLINIC) -> Caller:
    roles = frozenset({"hub"}) if hub_id is not None else frozenset({"admin"})
    device_id = None if hub_id is not None else RandomIds().uuid7()
    return Caller(
        clinic_id,
        device_id,
        hub_id or CLINIC,
        roles,
        "full",
        CLINIC,
        CLINIC,
        0,
        CLINIC,
        None,
        NOBODY,
        "",
        hub_id,
    )


def piece(file: str, offset: int, content: bytes = b"", backup: str = STAMP) -> BackupPiece:
    text = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    asked = {"backup": backup, "file": file, "offset": offset, "content": text}
    return BackupPiece.model_validate(asked)


class Nobody:
    """No hub has taken another one's place."""

    async def forerunners(self, _clinic_id: str, _hub_id: str) -> Sequence[str]:
        return ()

    async def fetched(self, _clinic_id: str, _hub_id: str, _backup_id: str) -> None:
        return


@pytest.fixture
def shelf(tmp_path: Path) -> CloudBackups:
    return CloudBackups(tmp_path / "backups", InlineWorker(), Nobody())


def a_manifest(folder: Path, content: bytes, hub_id: str = HUB) -> bytes:
    folder.mkdir(exist_ok=True)
    (folder / "hub.db").write_bytes(content)
    return json.dumps(
        {"hub_id": hub_id, "files": [describe(folder / "hub.db", "hub.db").model_dump()]}
    ).encode()


async def sent(shelf: CloudBackups, manifest: bytes, content: bytes, backup: str = STAMP) -> BackupAnswer:
    await shelf.take(caller(), piece("hub.db", 0, content, backup))
    return await shelf.take(caller(), piece(MANIFEST, 0, manifest, backup))


async def test_a_backup_comes_in_pieces(shelf: CloudBackups, tmp_path: Path) -> None:
    """Each piece that follows is kept; one that came twice, or too early, changes nothing; whole, it is never changed."""
    manifest = a_manifest(tmp_path / "made", b"abcdefgh")
    assert await shelf.take(caller(), piece("hub.db", 0)) == BackupAnswer(size=0, whole=False)
    for offset, content, size in ((0, b"abc", 3), (0, b"abc", 3), (5, b"fgh", 3), (3, b"defgh", 8)):
        assert (await shelf.take(caller(), piece("hub.db", offset, content))).size == size
    assert await shelf.take(caller(), piece(MANIFEST, 0, manifest)) == BackupAnswer(
        size=len(manifest), whole=True
    )
    assert (await shelf.take(caller(), piece("hub.db", 8, b"more"))) == BackupAnswer(size=8, whole=True)
    lies_in = tmp_path / "backups" / CLINIC / HUB / STAMP
    assert (lies_in / "hub.db").read_bytes() == b"abcdefgh"


async def test_what_is_not_what_it_says_is_not_kept(shelf: CloudBackups, tmp_path: Path) -> None:
    """A backup whose bytes, hub or files are others than its manifest says is refused, and can be sent anew."""
    manifest = a_manifest(tmp_path / "made", b"abcdefgh")
    other = a_manifest(tmp_path / "made", b"abcdefgh", hub_id=CLINIC)
    strange = json.dumps({"hub_id": HUB, "files": [{"name": "../../x", "bytes": 1, "sha256": "0"}]}).encode()
    for told, content in (
        (manifest, b"abcdefgX"),
        (manifest, b"abc"),
        (other, b"abcdefgh"),
        (strange, b"a"),
        (b"{", b"a"),
    ):
        with pytest.raises(Invalid, match="not what its manifest says"):
            await sent(shelf, told, content)
        assert list((tmp_path / "backups" / CLINIC / HUB).iterdir()) == []
    assert (await sent(shelf, manifest, b"abcdefgh")).whole


async def test_each_hub_has_its_own(shelf: CloudBackups, tmp_path: Path) -> None:
    """What one hub lays down, no other one of the same or another clinic adds to or sees."""
    await shelf.take(caller(), piece("hub.db", 0, b"abc"))
    for stranger in (caller(CLINIC), caller(HUB, HUB)):
        assert (await shelf.take(stranger, piece("hub.db", 0))).size == 0
    with pytest.raises(Forbidden):
        await shelf.take(caller(None), piece("hub.db", 0))


async def test_kept_by_the_scheme_of_sticks(shelf: CloudBackups, tmp_path: Path) -> None:
    """Of two backups of a day the newer is kept, and what was begun and given up goes with the next."""
    manifest = a_manifest(tmp_path / "made", b"abc")
    await shelf.take(caller(), piece("hub.db", 0, b"x", "20261121T000000Z"))
    for hour in range(3):
        await sent(shelf, manifest, b"abc", f"20261122T0{hour}0000Z")
    assert [path.name for path in (tmp_path / "backups" / CLINIC / HUB).iterdir()] == ["20261122T020000Z"]


async def test_the_cloud_keeps_room_for_itself(shelf: CloudBackups, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup is refused before the cloud's own disk is short."""
    short = Room(10**12, limits.DISK_FREE_BYTES_MIN, 0)
    monkeypatch.setattr("cloud.backups.room_of", lambda _folder: short)
    with pytest.raises(StorageFull):
        await shelf.take(caller(), piece("hub.db", 0, b"abc"))
    with pytest.raises(Invalid, match="no time"):
        await shelf.take(caller(), piece("hub.db", 0, b"abc", "20269922T020000Z"))
