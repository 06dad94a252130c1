"""Who lives in a world: parties and whose they are, and the machines that they stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.disk.disks import Disk
from tests.simulation.clocks import SimClock
from tests.simulation.machine import Machine
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Pusher, Reader
from tests.simulation.parties.hub import HubParty

if TYPE_CHECKING:
    from tests.simulation.parties.clinic import Clinic

SomeParty = CloudParty | HubParty | TabletParty


@dataclass(eq=False)
class Resident:
    """A party and whose it is. `is_gone`: it never comes back. `twin_of`: it runs from a copy of that one's card."""

    party: SomeParty
    clinic: Clinic | None
    is_gone: bool = False
    twin_of: Resident | None = None

    @property
    def site(self) -> str:
        return "" if isinstance(self.party, CloudParty) else self.party.site


@dataclass(eq=False)
class Foreigner:
    """A client that is none of ours, and the server that it talks to."""

    client: Pusher | Reader
    at: Resident


def machine_of(party: SomeParty) -> Machine:
    """The simulated machine that it stands on."""
    assert isinstance(party.machine, Machine)
    return party.machine


def clock_of(party: SomeParty) -> SimClock:
    return machine_of(party).clock


def disk_of(party: SomeParty) -> Disk:
    """The disk that it writes to now."""
    disk = machine_of(party).disk
    assert isinstance(disk, Disk)
    return disk
