"""One slice of a courier: whole, unaltered, from whom it says and for whom it is, or nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medxz.clock import format_time
from medxz.courier.envelope import Header, Slice, SliceWriter, read_slice
from medxz.errors import CourierRefused
from medxz.ids import RandomIds

IDS = RandomIds()
CLOUD, HUB, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
CONTENTS = [b"first", b"", b"x" * 5_000]


def header(**changes: object) -> Header:
    ids = {name: IDS.uuid7() for name in ("clinic_id", "hub_id", "cloud_id", "set_id")}
    told = {"way": "up", "number": 1, "made_at": format_time(0), **ids, **changes}
    return Header(**told)  # type: ignore[arg-type]


def written(path: Path, **changes: object) -> Slice:
    with path.open("wb") as file:
        writer = SliceWriter(file, header(**changes), CLOUD.public_key(), HUB)
        for content in CONTENTS[:-1]:
            writer.add(content)
        writer.close(CONTENTS[-1])
    return read_slice(path)


def taken(path: Path) -> list[bytes]:
    """What who is meant reads of it."""
    found = read_slice(path)
    if not found.signed_by(HUB.public_key()):
        raise CourierRefused("signed by somebody else")
    return list(found.unlocked([CLOUD]).frames())


def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    """Who it is for reads what was written, in its order, and knows who wrote it."""
    found = written(tmp_path / "slice")
    assert found.signed_by(HUB.public_key())
    assert not found.signed_by(OTHER.public_key())
    assert list(found.unlocked([OTHER, CLOUD]).frames()) == CONTENTS


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """With any other key nothing comes out, and the refusal says so; nothing stands in the file in the clear."""
    found = written(tmp_path / "slice")
    with pytest.raises(CourierRefused, match="a key that is not here"):
        found.unlocked([OTHER, HUB])
    assert b"xxxxx" not in found.path.read_bytes()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_altered_slice_gives_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bit is turned and wherever it is cut, what comes out is refused: never other content, never less."""
    path = tmp_path / "slice"
    if not path.exists():
        written(path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        other = whole[:at]
    else:
        other = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
    changed = tmp_path / "changed"
    changed.write_bytes(other)
    with pytest.raises(CourierRefused):
        taken(changed)


def test_frames_of_two_slices_do_not_mix(tmp_path: Path) -> None:
    """A frame of one slice in the place of another's is refused, and so is one slice behind the other."""
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    first, second = one.path.read_bytes(), two.path.read_bytes()
    (tmp_path / "mixed").write_bytes(first[: one.begins_at] + second[two.begins_at :])
    (tmp_path / "behind").write_bytes(first + second)
    for name in ("mixed", "behind"):
        with pytest.raises(CourierRefused):
            taken(tmp_path / name)


def test_what_is_no_courier_file_is_told(tmp_path: Path) -> None:
    """A file of something else is refused by what it is, in a line."""
    (tmp_path / "letter.txt").write_text("dear cloud")
    with pytest.raises(CourierRefused, match=r"letter\.txt: it is no file of a courier"):
        read_slice(tmp_path / "letter.txt")
