"""A box with a hub on it: its process is killed for real, and then its power may go too."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from hub.config import HubPlaces
from medxz.errors import StoreError
from medxz.program.keys import read_key
from medxz.store.cipher import open_database
from tests.disk.images import lay_down
from tests.disk.medium import FileMedium, Medium
from tests.powercut.hub import Orders
from tests.powercut.journal import Kind, Reading
from tests.system.hub_process import HubProcess

ROOT: Final = Path(__file__).resolve().parents[2]
# of which nothing may be lost; the views can be made anew, and are
KEPT: Final = ("hub.db", "audit.db")

DieAt = tuple[str, Kind, int]


class Box:
    """`medium` is what its card holds: for certain, and perhaps."""

    def __init__(self, folder: Path, plant: str | None = None) -> None:
        folder.mkdir()
        self.folder: Final = folder
        self.hub: Final = HubProcess(folder)
        self.medium = Medium()
        self.kills = 0
        self.entries = 0
        self._plant: Final = plant
        self._launched_at = 0.0

    def launch(self, die_at: DieAt | None = None) -> None:
        orders = Orders(journal=str(self._journal), data=str(self.hub.data), die_at=die_at, plant=self._plant)
        program = (sys.executable, "-m", "tests.powercut.hub", msgspec.json.encode(orders).decode())
        self._launched_at = time.monotonic()
        self.hub.launch("--plain-http", "--no-mdns", env={"PYTHONPATH": str(ROOT)}, program=program)

    @property
    def running_s(self) -> float:
        return time.monotonic() - self._launched_at

    @property
    def has_ended(self) -> bool:
        return self.hub.process is None or self.hub.process.poll() is not None

    def kill(self) -> None:
        """End the process, where it has not ended; what it wrote and did not sync is in doubt from now on."""
        self.hub.kill()
        journal = self._journal
        self.kills += 1
        if not journal.exists():
            assert b"ready" not in self.hub.out.read_bytes(), "nothing was written down"
            return  # it was killed before it began
        reading = Reading(self.medium)
        reading.read(journal, self.hub.data)
        journal.unlink()
        assert not set(reading.strangers) & set(KEPT), reading.strangers
        self.entries += reading.entries

    def cut_power(self, chance: Random) -> None:
        """What was not synced is lost, by chance; look at what is left."""
        image = self.medium.left(chance)
        dead = self.hub.data.rename(self.folder / "dead")
        lay_down(dead, self.hub.data, self.medium, image)
        shutil.rmtree(dead)
        self.medium = Medium({name: FileMedium.holding(content) for name, content in image.items()})
        self._look()
        shutil.rmtree(self._left, ignore_errors=True)
        shutil.copytree(self.hub.data, self._left)

    def keep(self, to: Path) -> None:
        """What the last power cut left, what became of it, the key and the hub's log: for whoever looks for the mistake."""
        self.hub.kill()
        places = HubPlaces(self.hub.data)
        places.socket.unlink(missing_ok=True)
        shutil.copytree(self.folder, to)

    def stop(self) -> None:
        status, _ = self.hub.stop()
        assert status == 0, self.hub.log.read_text()
        self.kill()

    @property
    def _journal(self) -> Path:
        return self.folder / f"journal-{self.kills}"

    @property
    def _left(self) -> Path:
        return self.folder / "left"

    def _look(self) -> None:
        """Every database that is to be kept opens, and is whole: seen by a copy, so that its hub finds what was left."""
        places = HubPlaces(self.hub.data)
        key = read_key(places.key_file, {})
        look = self.folder / "look"
        shutil.copytree(self.hub.data, look)
        for name in KEPT:
            try:
                self._check(look / name, key)
            except (sqlcipher.DatabaseError, StoreError) as error:
                raise AssertionError(f"{name} does not open: {error}") from error
        shutil.rmtree(look)

    def _check(self, database: Path, key: bytes) -> None:
        """As it is read, and once more when its write-ahead log is copied: until then pages of the file may be torn."""
        connection = open_database(database, key)
        for check in (
            "integrity_check", "foreign_key_check", "wal_checkpoint(TRUNCATE)", "cipher_integrity_check", "integrity_check",
        ):  # fmt: skip
            found = connection.execute(f"PRAGMA {check}").fetchall()
            assert found in ([], [("ok",)], [(0, 0, 0)]), f"{database.name}: {check}: {found[:3]}"
        connection.close()
