"""`medxz-hub` on a disk that loses what was not synced: every change of its files is written down before it is made.

    python -m tests.powercut.hub '{"journal": PATH, …}' run --data DIR …

Nothing of the program is changed but the size at which its log is checkpointed, so that a checkpoint is under way
often. `plant` puts in the mistake that a power cut must find.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from medxz import limits
from medxz.store import cipher
from tests.disk.disks import disks
from tests.powercut.journal import Journal, Kind

_CHECKPOINT_BYTES: Final = 98_304
# a memory card's
_SYNC_S: Final = (0.001, 0.008)


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """`die_at`: die at the so-many-th entry of that kind for the file of that name; a sync with nothing to do is no entry."""

    journal: str
    data: str
    die_at: tuple[str, Kind, int] | None = None
    plant: str | None = None
    """`no-sync`: acknowledge without waiting for the disk."""


@dataclass(slots=True)
class Death:
    """Waits for syncs as long as a memory card does, and kills the process where it was told to."""

    die_at: tuple[str, Kind, int] | None
    seen: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    unsynced: set[str] = field(default_factory=set)
    chance: random.Random = field(default_factory=random.Random)

    def told(self, kind: Kind, name: str) -> None:
        if kind == Kind.WRITE:
            self.unsynced.add(name)
        # a checkpoint begins with a sync of what its last commit has synced
        self.seen[name, kind] += kind != Kind.SYNC_BEGUN or name in self.unsynced
        if self.die_at == (name, kind, self.seen[name, kind]):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == Kind.SYNCED:
            self.unsynced.discard(name)
        if kind == Kind.SYNC_BEGUN:
            time.sleep(self.chance.uniform(*_SYNC_S))


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    sys.argv[1:] = sys.argv[2:]
    limits.CHECKPOINT_BYTES = _CHECKPOINT_BYTES  # type: ignore[misc]  # for this process alone
    if orders.plant == "no-sync":
        cipher.open_database = _unsynced(cipher.open_database)
    disks().watch(Path(orders.data), Journal(Path(orders.journal), Death(orders.die_at).told))

    from hub.cli import main as hub  # takes hold of what stands there by now

    hub()


def _unsynced(open_database: Callable[..., Any]) -> Callable[..., Any]:
    def opened(*arguments: Any, **options: Any) -> Any:
        connection = open_database(*arguments, **options)
        connection.execute("PRAGMA synchronous = OFF").fetchall()
        return connection

    return opened


if __name__ == "__main__":
    main()
