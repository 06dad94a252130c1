"""A backup on its way back from the cloud: broken off, lied about, or not this box's."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hub.backup.from_cloud import IN_VAIN_MAX, all_backups, choose, claim_of, fetch, forget
from hub.config import HubPlaces
from medxz.errors import PeerRefused, PeerUnreachable
from medxz.program.errors import CommandFailed
from medxz.wire import BackupFile, BackupsAnswer, LaidDown
from tests.making import HandClock

CONTENT = bytes(range(256)) * 40
ID = "20261122T010000Z-01234567-89ab-7def-8123-456789abcdef"


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def listed(content: bytes = CONTENT, name: str = "hub.db", backup_id: str = ID) -> LaidDown:
    file = BackupFile(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return LaidDown(id=backup_id, hub_id=backup_id[17:], made_at="2026-11-22T01:00:00.000Z", files=[file])


@dataclass
class Cloud:
    """One that gives so many bytes, and then breaks off; `asked` is from where on."""

    content: bytes = CONTENT
    breaks_after: int = 10**9
    refuses: PeerRefused | None = None
    pages: list[list[LaidDown]] = field(default_factory=lambda: [[listed()]])
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def backups(self, cursor: str | None = None) -> BackupsAnswer:
        at = int(cursor or 0)
        return BackupsAnswer(
            backups=self.pages[at], next_cursor=str(at + 1) if at + 1 < len(self.pages) else None
        )

    async def backup_from(self, _backup_id: str, file: str, start: int) -> AsyncGenerator[bytes, None]:
        self.asked.append((file, start))
        if self.refuses is not None:
            raise self.refuses
        content = b"{}" if file == "manifest.json" else self.content[start:]
        yield content[: self.breaks_after]
        if len(content) > self.breaks_after:
            raise PeerUnreachable("it broke off")


@pytest.fixture
def places(tmp_path: Path) -> HubPlaces:
    return HubPlaces(tmp_path / "hub")


async def test_broken_off_it_goes_on(places: HubPlaces) -> None:
    """Each time from the byte where it broke off, also when the command is given anew; then it is whole."""
    broken = Cloud(breaks_after=4_000)
    folder = await fetch(broken, listed(), places, HandClock(), silent)
    assert broken.asked == [("hub.db", 0), ("hub.db", 4_000), ("hub.db", 8_000), ("manifest.json", 0)]
    assert (folder / "hub.db").read_bytes() == CONTENT
    (folder / "hub.db").write_bytes(CONTENT[:1_000])
    again = Cloud()
    assert await fetch(again, listed(), places, HandClock(), silent) == folder
    assert again.asked == [("hub.db", 1_000), ("manifest.json", 0)]
    assert (folder / "hub.db").read_bytes() == CONTENT
    forget(folder)
    assert list(places.backups.iterdir()) == []


async def test_one_that_gives_nothing_is_given_up(places: HubPlaces) -> None:
    """Where nothing comes it is asked a few times and then told; a refusal that stays is told at once."""
    silent_cloud, refusing = Cloud(breaks_after=0), Cloud(refuses=PeerRefused(404, "not_found", "gone"))
    with pytest.raises(PeerUnreachable):
        await fetch(silent_cloud, listed(), places, HandClock(), silent)
    assert len(silent_cloud.asked) == IN_VAIN_MAX
    with pytest.raises(PeerRefused):
        await fetch(refusing, listed(), places, HandClock(), silent)
    assert len(refusing.asked) == 1


async def test_what_is_not_what_was_listed_is_fetched_anew(places: HubPlaces) -> None:
    """Other bytes than listed are thrown away, and more of them than listed end the download."""
    with pytest.raises(CommandFailed, match="not what the cloud said"):
        await fetch(Cloud(content=CONTENT[::-1]), listed(), places, HandClock(), silent)
    folder = await fetch(Cloud(), listed(), places, HandClock(), silent)
    assert (folder / "hub.db").read_bytes() == CONTENT
    other = listed(CONTENT[:100], backup_id="20261121" + ID[8:])
    with pytest.raises(CommandFailed, match="not what the cloud said"):
        await fetch(Cloud(content=CONTENT * 2), other, places, HandClock(), silent)
    assert not folder.exists(), "one at a time"


async def test_which_one(places: HubPlaces) -> None:
    """The newest of all pages, or the one that was named; a name of a file that leads elsewhere is refused."""
    older = listed(backup_id="20261121" + ID[8:])
    found = await all_backups(Cloud(pages=[[listed()], [older]]))
    assert found == [listed(), older]
    assert (choose(found, None).id, choose(found, older.id)) == (ID, older)
    for wanted, among in ((None, []), ("x", found), (None, [listed(name="../../hub.db")])):
        with pytest.raises(CommandFailed):
            choose(among, wanted)
    with pytest.raises(CommandFailed, match="not claimed") as refused:
        await claim_of(places, {})
    assert refused.value.code == "not_claimed"
