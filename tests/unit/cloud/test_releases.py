"""The shelf of releases: what is taken in, what is offered, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloud.releases import Description, Shelf
from medxz import limits
from medxz.errors import NotFound
from medxz.program.errors import CommandFailed

KIND = "medxz-hub-arm64"


def bundle(folder: Path, number: str, content: bytes = b"bundle", **said: Any) -> Path:
    file = folder / f"{number}.raucb"
    file.write_bytes(content + number.encode())
    whole = file.read_bytes()
    told = {
        "version": number,
        "compatible": KIND,
        "size": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    file.with_name(file.name + ".json").write_text(json.dumps(told | {"schemas": "log=5/5"} | said))
    return file


def added(shelf: Shelf, file: Path) -> Any:
    return shelf.add(file, Description.beside(file), "2026-11-22T00:00:00.000Z", lambda _done, _size: None)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "data")


def test_the_newest_is_offered(shelf: Shelf, tmp_path: Path) -> None:
    """Of each kind of machine the newest by its version, in whatever order they came; removed, the one before."""
    for version in ("0.9.0", "0.10.0", "0.10.0-rc.1"):
        added(shelf, bundle(tmp_path, version))
    added(shelf, bundle(tmp_path, "1.0.0", b"other", compatible="medxz-hub-amd64"))
    newest = next(release for release in shelf.all() if release.compatible == KIND)
    assert newest.version == "0.10.0"
    assert shelf.bundle(newest.sha256)[0].read_bytes() == b"bundle0.10.0"
    shelf.remove(KIND, "0.10.0")
    assert [release.version for release in shelf.all()] == ["1.0.0", "0.10.0-rc.1", "0.9.0"]
    with pytest.raises(NotFound):
        shelf.bundle(newest.sha256)


def test_once_is_enough(shelf: Shelf, tmp_path: Path) -> None:
    """The same bundle again is the one that is there; another of the same version is refused."""
    first = added(shelf, bundle(tmp_path, "0.2.0"))
    assert added(shelf, bundle(tmp_path, "0.2.0")) == first
    with pytest.raises(CommandFailed, match="another"):
        added(shelf, bundle(tmp_path, "0.2.0", b"other"))


def test_what_is_not_what_it_says(shelf: Shelf, tmp_path: Path) -> None:
    """A bundle that was changed, or whose description is none, is not taken in, and leaves nothing behind."""
    changed = bundle(tmp_path, "0.2.0")
    changed.write_bytes(b"changed")
    longer = bundle(tmp_path, "0.3.0")
    longer.write_bytes(longer.read_bytes() + b"!" * 3 * limits.MIB)
    for file in (changed, longer):
        with pytest.raises(CommandFailed, match="not what"):
            added(shelf, file)
    for said in ({"version": "newest"}, {"sha256": "x"}, {"size": 0}, {"compatible": "../up"}):
        with pytest.raises(CommandFailed, match="describe"):
            Description.beside(bundle(tmp_path, "0.4.0", **said))
    (tmp_path / "0.4.0.raucb.json").unlink()
    with pytest.raises(CommandFailed, match="can't be read"):
        Description.beside(tmp_path / "0.4.0.raucb")
    assert shelf.all() == []
    assert list((tmp_path / "data" / "releases").iterdir()) == []


def test_a_full_shelf(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are so many and no more."""
    monkeypatch.setattr(limits, "RELEASES_MAX", 1)
    added(shelf, bundle(tmp_path, "0.2.0"))
    with pytest.raises(CommandFailed, match="1 releases"):
        added(shelf, bundle(tmp_path, "0.3.0"))


def test_what_a_power_cut_left_goes(shelf: Shelf, tmp_path: Path) -> None:
    """What was begun a day ago and is no release is gone with the next one; what is being added now is left alone."""
    folder = tmp_path / "data" / "releases"
    first = added(shelf, bundle(tmp_path, "0.1.0"))
    old, new = (folder / f".{name}.part" for name in ("old", "new"))
    orphan = folder / f"{'ab' * 32}.raucb"
    for file in (old, new, orphan):
        file.write_bytes(b"half")
    for file in (old, orphan, folder / f"{first.sha256}.raucb"):
        os.utime(file, (0, 0))
    added(shelf, bundle(tmp_path, "0.2.0"))
    assert not old.exists()
    assert not orphan.exists()
    assert new.exists()
    assert [release.version for release in shelf.all()] == ["0.2.0", "0.1.0"]
