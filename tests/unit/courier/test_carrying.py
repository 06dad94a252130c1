"""`medxz-hub export` and `import`, given as root at a hub that was broken into: it chooses nothing of what root touches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hub.cli import cli
from hub.courier import command
from medxz.ids import RandomIds

IDS = RandomIds()
NAME = f"medxz-up-{IDS.uuid7()}-{IDS.uuid7()}-0001.courier"


def exported(data: Path, stick: Path, out: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    """What the command does with a hub that says that it made these files there."""
    told = {"files": names, "bytes": 1, "ops": 0, "dead_letters": 0}

    def ask(asked: str, _arguments: Any) -> dict[str, Any]:
        if asked == "courier_export":
            return {"begun": True, "in": "", "out": str(out)}
        return {"busy": False, "done": 1, "total": 1, "answer": told, "hub_id": IDS.uuid7()}

    @contextmanager
    def a_hub(_places: object) -> Iterator[Any]:
        yield ask

    monkeypatch.setattr(command, "_hub", a_hub)
    monkeypatch.setattr(command, "_tidy", lambda *_: None)
    return CliRunner().invoke(cli, ["export", "--data", str(data), "--to", str(stick), "--json"])


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "media" / "stick"
    folder.mkdir(parents=True)
    return folder


def test_a_name_leads_nowhere_else(tmp_path: Path, stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads out of the folders is refused: nothing is written beside the stick, nothing taken away."""
    evil = tmp_path / "evil" / "deep"
    evil.mkdir(parents=True)
    (tmp_path / "evil" / "cron").write_text("* * * * * root true")
    ended = exported(tmp_path / "hub", stick, evil, ["../cron"], monkeypatch)
    assert ended.exit_code != 0
    assert not (tmp_path / "media" / "cron").exists()
    assert (tmp_path / "evil" / "cron").exists()


def test_files_come_from_the_hubs_own_folder(
    tmp_path: Path, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the hub says that they lie: from its own folder, and not what a link there leads to."""
    out = tmp_path / "hub" / "courier" / "out"
    out.mkdir(parents=True)
    (tmp_path / "secret").write_text("of root")
    (out / NAME).symlink_to(tmp_path / "secret")
    assert exported(tmp_path / "hub", stick, tmp_path, [NAME], monkeypatch).exit_code != 0
    assert not list(stick.iterdir())
    (out / NAME).unlink()
    (out / NAME).write_text("ops")
    ended = exported(tmp_path / "hub", stick, tmp_path, [NAME], monkeypatch)
    assert ended.exit_code == 0, ended.output
    assert (stick / NAME).read_text() == "ops"
    assert not (out / NAME).exists()


def test_what_is_brought_in_follows_no_link(tmp_path: Path, stick: Path) -> None:
    """A link that waits where a file is to be written is no way to another one."""
    victim, incoming = tmp_path / "victim", tmp_path / "in"
    victim.write_text("of root")
    incoming.mkdir()
    (stick / NAME).write_text("from the stick")
    (incoming / f"{NAME}.unfinished").symlink_to(victim)
    command._copied(stick / NAME, incoming / NAME, lambda _done, _total: None)
    assert victim.read_text() == "of root"
    assert (incoming / NAME).read_text() == "from the stick"
