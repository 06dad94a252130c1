"""Backups in parts: which are kept, the key that opens them, what a manifest holds to, and the folder they lie in."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hub.backup import folder as folders
from hub.backup.folder import Folder, carry, find_backup
from hub.backup.manifest import Contents, Manifest, read_manifest
from hub.backup.note import BackupNote, read_note
from hub.backup.recovery_key import ALPHABET, CHARS, make_recovery_key, name_of, printed, read_recovery_key
from hub.notefile import write_note_file
from medxz.accounts import codes
from medxz.ids import RandomIds
from medxz.program.backup_files import MANIFEST, describe
from medxz.program.errors import CommandFailed
from medxz.program.keeping import DAYS, MONTHS, STAMP, WEEKS, moment_of, stamp_of, superfluous

HUB, CLINIC = RandomIds().uuid7(), RandomIds().uuid7()
KEY = make_recovery_key()
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def stamps(count: int, every: timedelta) -> list[str]:
    return [(NOON - number * every).strftime(STAMP) for number in range(count)]


# which are kept


def test_a_year_of_nights_keeps_days_weeks_and_months() -> None:
    """Of a backup each night for a year the last seven days are kept, then one a week, then one a month."""
    every = stamps(365, timedelta(days=1))
    kept = sorted(set(every) - set(superfluous(every)), reverse=True)
    assert kept[:DAYS] == every[:DAYS]
    assert DAYS + 2 <= len(kept) <= DAYS + WEEKS + MONTHS
    moments = [moment for stamp in kept if (moment := moment_of(stamp)) is not None]
    assert len({moment.isocalendar()[:2] for moment in moments}) >= WEEKS
    assert len({(moment.year, moment.month) for moment in moments}) == MONTHS


def test_the_newest_is_always_kept() -> None:
    """However often backups are made and whatever the clock said, the newest one stays."""
    for every in (timedelta(seconds=1), timedelta(hours=5), timedelta(days=400)):
        some = stamps(50, every)
        assert some[0] not in superfluous(some)


def test_what_goes_goes_the_same_night_by_night() -> None:
    """Pruning each night keeps, after a year, what pruning once at its end keeps of the recent past."""
    held: list[str] = []
    for stamp in reversed(stamps(365, timedelta(days=1))):
        held.append(stamp)
        for gone in superfluous(held):
            held.remove(gone)
    assert sorted(held)[-DAYS:] == sorted(stamps(DAYS, timedelta(days=1)))
    assert len(held) <= DAYS + WEEKS + MONTHS


def test_stamps_are_times() -> None:
    """A backup's name says when it was made, and other names say nothing."""
    assert moment_of(stamp_of(1_700_000_000_000)) == datetime.fromtimestamp(1_700_000_000, UTC)
    assert moment_of("lost+found") is None


# the recovery key


def test_a_key_survives_being_written_down() -> None:
    """Whatever stands between its groups, and in whichever case, it is the same key."""
    text = make_recovery_key()
    assert len(text) == CHARS
    assert codes.ALPHABET == ALPHABET
    assert read_recovery_key(printed(text).lower()) == text
    assert read_recovery_key(f"  {printed(text).replace('-', ' ')}\n") == text
    assert name_of(text) != name_of(make_recovery_key())


def is_one(typed: str) -> bool:
    try:
        read_recovery_key(typed)
    except CommandFailed:
        return False
    return True


def test_a_slip_of_the_pen_is_told() -> None:
    """A letter that is another one, or missing, or none that a key has, is told before anything is opened."""
    slips = [
        KEY[:place] + letter + KEY[place + 1 :]
        for place in range(CHARS)
        for letter in ALPHABET
        if letter != KEY[place]
    ]
    assert sum(map(is_one, slips)) < len(slips) / 100  # one in nine hundred fits by chance
    with pytest.raises(CommandFailed, match="in it"):
        read_recovery_key("I" + KEY[1:])
    with pytest.raises(CommandFailed, match="35 of 36"):
        read_recovery_key(KEY[1:])


# the manifest


def contents_of(backup: Path) -> Contents:
    return Contents(
        hub_id=HUB,
        clinic_id=CLINIC,
        at="2026-11-22T12:00:00.000Z",
        epoch="e",
        last_seq=3,
        version="1",
        store_key="ab" * 32,
        files=[describe(backup / "hub.db", "hub.db")],
    )


def a_backup(folder: Folder, stamp: str, content: bytes = b"x" * 5_000) -> Path:
    with folder.making(stamp) as unfinished:
        (unfinished / "hub.db").write_bytes(content)
        manifest = Manifest.of(contents_of(unfinished), KEY)
        (unfinished / MANIFEST).write_text(manifest.model_dump_json())
    return folder.path / stamp


def test_a_manifest_opens_by_either_key_and_no_other(tmp_path: Path) -> None:
    """The recovery key and the store's own open the same; another one is told by its name."""
    manifest = read_manifest(a_backup(Folder(tmp_path, HUB), stamp_of(0)))
    opened = manifest.open(KEY)
    assert opened.key == bytes.fromhex("ab" * 32)
    assert manifest.open_by_store_key(opened.key) == opened
    assert manifest.open_by_store_key(b"x" * 32) is None
    with pytest.raises(CommandFailed, match="another recovery key"):
        manifest.open(make_recovery_key())


def test_an_altered_manifest_is_refused(tmp_path: Path) -> None:
    """Whoever changes what is in clear, or swaps a seal for another backup's, is found out."""
    manifest = read_manifest(a_backup(Folder(tmp_path, HUB), stamp_of(0)))
    other = read_manifest(a_backup(Folder(tmp_path, HUB), stamp_of(86_400_000), b"y" * 5_000))
    for change in (
        {"at": "2027-01-01T00:00:00.000Z"},
        {"files": other.files},
        {"hub_id": CLINIC},
        {"sealed": other.sealed},
    ):
        with pytest.raises(CommandFailed, match="altered"):
            manifest.model_copy(update=change).open(KEY)


# the folder


def test_a_backup_that_is_not_finished_is_none(tmp_path: Path) -> None:
    """What an interruption left is not taken for a backup, and is gone with the next one."""
    folder = Folder(tmp_path, HUB)
    with pytest.raises(RuntimeError), folder.making(stamp_of(0)) as unfinished:
        (unfinished / "hub.db").write_bytes(b"half")
        raise RuntimeError("the power went")
    (folder.path / ".unfinished-old").mkdir()
    assert folder.all() == []
    kept = a_backup(folder, stamp_of(1_000))
    assert [path.name for path in folder.path.iterdir()] == [kept.name]


def test_two_of_one_second_are_two(tmp_path: Path) -> None:
    """Whoever asks twice in a second, or whose clock went back to one, has both, the later one behind the other."""
    folder = Folder(tmp_path, HUB)
    every = [a_backup(folder, folder.free_stamp(5_900)) for _ in range(3)]
    assert folder.all() == every
    assert [path.name for path in every] == list(map(stamp_of, (5_900, 6_000, 7_000)))


def test_only_backups_are_removed(tmp_path: Path) -> None:
    """What else lies on somebody's stick is left alone."""
    folder = Folder(tmp_path, HUB)
    every = [a_backup(folder, stamp) for stamp in stamps(3, timedelta(seconds=1))]
    (folder.path / "photos").mkdir()
    (folder.path / "20200101T000000Z").mkdir()  # no manifest: nobody's backup
    assert len(folder.prune()) == len(every) - 1
    assert folder.newest() == every[0]
    assert {path.name for path in folder.path.iterdir()} == {every[0].name, "photos", "20200101T000000Z"}


def test_the_oldest_go_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one that does not fit costs the oldest ones; where all but the newest are not enough, it costs none."""
    folder = Folder(tmp_path, HUB)
    every = [a_backup(folder, stamp) for stamp in reversed(stamps(4, timedelta(days=1)))]
    for backup in every:
        (backup / "audit.db").write_bytes(
            bytes(10_000 - sum(file.stat().st_size for file in backup.iterdir()))
        )
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        "hub.backup.folder.shutil.disk_usage",
        lambda _path: usage._replace(free=10_000 * (4 - len(folder.all()))),
    )
    assert folder.make_room(20_000, beside=0) == [every[0].name, every[1].name]
    with pytest.raises(CommandFailed, match="MiB free") as refused:
        folder.make_room(40_000, beside=0)
    assert refused.value.code == "no_room"
    assert folder.all() == every[2:]
    assert folder.make_room(30_000, beside=0) == [every[2].name]
    with pytest.raises(CommandFailed, match="MiB free"):
        folder.make_room(40_000, beside=0)
    assert folder.all() == [every[3]]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_so_many_are_kept(tmp_path: Path, count: int) -> None:
    """The newest so many stay and all others go, also where none is to stay."""
    folder = Folder(tmp_path, HUB)
    every = [a_backup(folder, stamp) for stamp in reversed(stamps(3, timedelta(days=1)))]
    gone = folder.keep_newest(count)
    assert folder.all() == every[max(0, 3 - count) :]
    assert len(gone) + len(folder.all()) == 3


@pytest.mark.parametrize(
    ("told", "other"),
    [('"hub.db"', '"../../../../evil.db"'), ('"hub.db"', '"/tmp/evil.db"'), (HUB, "x/../../evil")],
)
def test_a_manifest_leads_nowhere_else(tmp_path: Path, told: str, other: str) -> None:
    """What is carried, by root too, lies in its folder: a manifest with other names is none, and nothing is written."""
    source, stick = Folder(tmp_path / "a/b/c/d/here", HUB), Folder(tmp_path / "stick", HUB)
    backup = a_backup(source, stamp_of(0))
    (tmp_path / "a" / "evil.db").write_bytes(b"* * * * * root true")
    text = (backup / MANIFEST).read_text()
    assert told in text
    (backup / MANIFEST).write_text(text.replace(told, other))
    with pytest.raises(CommandFailed, match="no manifest"):
        carry(backup, stick, lambda _done, _total: None)
    assert not stick.path.exists()


def test_what_is_carried_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A medium that does not give back what was written is found out, and keeps no backup."""
    source, stick = Folder(tmp_path / "here", HUB), Folder(tmp_path / "stick", HUB)
    backup = a_backup(source, stamp_of(0))
    copied = folders.copy_durably

    def forgetful(reading: Path, writing: Path) -> int:
        size = copied(reading, writing)
        with writing.open("r+b") as opened:
            opened.seek(17)
            opened.write(b"?")
        return size

    monkeypatch.setattr(folders, "copy_durably", forgetful)
    with pytest.raises(CommandFailed, match="not what was written"):
        carry(backup, stick, lambda _done, _total: None)
    assert stick.all() == []
    monkeypatch.setattr(folders, "copy_durably", copied)
    lies_in = carry(backup, stick, lambda _done, _total: None)
    assert read_manifest(lies_in) == read_manifest(backup)


def test_which_backup_is_meant(tmp_path: Path) -> None:
    """A backup itself, or the newest below a folder; of two hubs' the operator says which."""
    folder = Folder(tmp_path, HUB)
    older, newer = (a_backup(folder, stamp_of(moment)) for moment in (0, 1_000))
    assert find_backup(older) == older
    assert find_backup(tmp_path) == find_backup(folder.path) == newer
    with pytest.raises(CommandFailed, match="no backup in"):
        find_backup(tmp_path / "elsewhere")
    other = a_backup(Folder(tmp_path, CLINIC), stamp_of(0))
    manifest = read_manifest(other).model_copy(update={"hub_id": CLINIC})
    (other / MANIFEST).write_text(manifest.model_dump_json())
    with pytest.raises(CommandFailed, match="2 hubs"):
        find_backup(tmp_path)


def test_a_note_that_is_lost_is_an_empty_one(tmp_path: Path) -> None:
    """What was noted is read again; a note that is damaged says nothing and stops nothing."""
    file = tmp_path / "backup.json"
    assert read_note(file) == BackupNote()
    note = BackupNote(made_at="2026-11-22T12:00:00.000Z", ops=7)
    write_note_file(file, note)
    assert read_note(file) == note
    file.write_bytes(b"\xff{")
    assert read_note(file) == BackupNote()
