"""What is kept of damaged files: noted so that a power cut loses nothing, named by the time, and bounded in number."""

from __future__ import annotations

from pathlib import Path

from hub.recovery.incidents import SET_ASIDE_MAX, Incident, Incidents
from hub.recovery.keepsake import Kept, KeptShape, read_keepsake, write_keepsake

KEY = bytes(range(32))
AT_MS = 1_763_714_415_250
KEPT = Kept(
    server_id="s",
    clinic_id="c",
    secrets={"ca": "00ff"},
    shapes={"hub.db": KeptShape(salt="aa", roots={"op": 4})},
)


def some(incidents: Incidents, count: int) -> list[Incident]:
    """Done one after the other."""
    made = []
    for number in range(count):
        incident = incidents.begin("hub.db", "a test", AT_MS + number * 1_000)
        (incidents.folder_of(incident) / "hub.db").write_bytes(b"x" * 100)
        made.append(incident.model_copy(update={"state": "done"}))
        incidents.note(made[-1])
    return made


def test_the_oldest_are_let_go(tmp_path: Path) -> None:
    """So many are kept: the newest of them; one that is still read is kept whatever its age."""
    incidents = Incidents(tmp_path)
    made = some(incidents, SET_ASIDE_MAX + 3)
    incidents.note(made[1].model_copy(update={"state": "refilling"}))
    gone = incidents.let_go()
    assert [incident.name for incident in gone] == [made[0].name, made[2].name, made[3].name]
    assert [incident.name for incident in incidents.all()] == [made[1].name, made[4].name, made[5].name]
    assert incidents.let_go() == []


def test_nothing_is_let_go_while_there_is_room(tmp_path: Path) -> None:
    """No more than so many: all stay."""
    incidents = Incidents(tmp_path)
    some(incidents, SET_ASIDE_MAX)
    assert incidents.let_go() == []


def test_a_file_is_begun_once(tmp_path: Path) -> None:
    """Found again before it was set aside, it is the same incident; two of one second have two names."""
    incidents = Incidents(tmp_path)
    first = incidents.begin("hub.db", "a test", AT_MS)
    assert incidents.begin("hub.db", "again", AT_MS + 5) == first
    assert first.name == "20251121T084015Z-hub.db"
    incidents.note(first.model_copy(update={"state": "done"}))
    assert incidents.begin("hub.db", "a test", AT_MS).name != first.name


def test_a_note_that_is_damaged_hides_nothing_else(tmp_path: Path) -> None:
    """What lies beside a note that can't be read stays, and the others are told."""
    incidents = Incidents(tmp_path)
    first, second = some(incidents, 2)
    (incidents.folder_of(first) / "incident.json").write_text("{")
    assert incidents.all() == [second]
    assert (incidents.folder_of(first) / "hub.db").is_file()


def test_a_keepsake_tells_nothing_and_opens_with_its_key_alone(tmp_path: Path) -> None:
    """What was kept comes back; another key, a flipped bit and a missing file are no keepsake."""
    file = tmp_path / "keepsake"
    assert read_keepsake(file, KEY) is None
    write_keepsake(file, KEY, KEPT)
    assert read_keepsake(file, KEY) == KEPT
    assert read_keepsake(file, bytes(32)) is None
    assert b"hub.db" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    assert read_keepsake(file, KEY) is None
