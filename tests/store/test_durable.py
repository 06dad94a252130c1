"""What is written beside the databases, step by step: whatever step a power cut comes at, it is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medxz.device.keyfile import read_or_make_key
from medxz.errors import StoreError
from medxz.program.keys import make_key, read_key
from medxz.store.durable import make_directory, put_in_place, write_new

Steps = list[tuple[str, Path]]


class PowerCut(BaseException):
    """Nothing of the program runs after it, as far as Python lets it."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Every step by which a file or a name becomes durable, in order; the step after the last one allowed is a cut."""
    taken: Steps = []

    def noted(name: str, path_of: Callable[..., Path]) -> None:
        native = getattr(os, name)

        def step(*arguments, **options):
            taken.append((name, path_of(*arguments)))
            return native(*arguments, **options)

        monkeypatch.setattr(os, name, step)

    noted("fsync", lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink())
    noted("link", lambda _, to: Path(to))
    noted("rename", lambda _, to: Path(to))
    noted("mkdir", lambda path, *_: Path(path))
    return taken


def test_a_new_file_is_synced_then_named_then_its_name_is_synced(tmp_path: Path, steps: Steps) -> None:
    """The content is on the disk before it has its name, and the name before the caller goes on."""
    write_new(tmp_path / "key", b"content")
    assert [name for name, _ in steps] == ["fsync", "link", "fsync"]
    assert steps[0][1].parent == tmp_path
    assert steps[0][1] != tmp_path / "key"
    assert steps[1:] == [("link", tmp_path / "key"), ("fsync", tmp_path)]
    assert (tmp_path / "key").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "link"])
def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever step fails, nothing has the name, and making it again succeeds."""

    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    monkeypatch.setattr(os, {"open": "open", "write": "fchmod"}.get(step, step), cut)
    with pytest.raises(PowerCut):
        write_new(tmp_path / "key", b"content")
    monkeypatch.undo()
    assert not (tmp_path / "key").exists()
    write_new(tmp_path / "key", b"content")


def test_a_file_is_never_put_over_another(tmp_path: Path) -> None:
    """A file that is there stays as it is, and nothing else is left behind."""
    write_new(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "key", b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"key": b"first"}


def test_keys_of_programs_and_devices_are_written_so(tmp_path: Path, steps: Steps) -> None:
    """Key files are on the disk with their names before anything is encrypted with them; half of one is never found."""
    for make, file in (
        (lambda: make_key(tmp_path / "hub.key"), tmp_path / "hub.key"),
        (lambda: read_or_make_key(tmp_path / "device", None), tmp_path / "device.key"),
    ):
        steps.clear()
        make()
        assert [name for name, _ in steps] == ["fsync", "link", "fsync"]
        assert steps[1:] == [("link", file), ("fsync", tmp_path)]
        assert file.stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "hub.key", {})


def test_a_database_that_is_whole_gets_its_name_durably(tmp_path: Path, steps: Steps) -> None:
    """It is renamed, and the name is on the disk then."""
    (tmp_path / "hub.new").write_bytes(b"database")
    (tmp_path / "hub.new-wal").write_bytes(b"")
    put_in_place(tmp_path / "hub.new", tmp_path / "hub.db")
    assert steps == [("rename", tmp_path / "hub.db"), ("fsync", tmp_path)]


def test_a_database_is_not_taken_from_its_write_ahead_log(tmp_path: Path) -> None:
    """One whose log could not be copied into it keeps its name: alone it would lack what was committed last."""
    (tmp_path / "hub.new").write_bytes(b"database")
    (tmp_path / "hub.new-wal").write_bytes(b"the rest of it")
    with pytest.raises(StoreError, match="disk full"):
        put_in_place(tmp_path / "hub.new", tmp_path / "hub.db")
    assert not (tmp_path / "hub.db").exists()


def test_every_directory_that_is_made_has_its_name_synced(tmp_path: Path, steps: Steps) -> None:
    """Of a path that is missing, each name is on the disk in the directory above it."""
    make_directory(tmp_path / "a" / "b")
    assert steps == [
        ("mkdir", tmp_path / "a"), ("fsync", tmp_path), ("mkdir", tmp_path / "a" / "b"), ("fsync", tmp_path / "a"),
    ]  # fmt: skip
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    make_directory(tmp_path / "a" / "b")
    assert len(steps) == 4
