"""A clinic of a world: its people, sites, hubs and tablets, and everything that is decided about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from medxz.scope import Scope
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.hub import HubParty
from tests.simulation.parties.standing import Machine

PASSWORD: Final = "a long walk by the river"

MakeMachine = Callable[[str], Machine]
"""A machine of that name, new, switched on, with an empty directory."""


@dataclass
class Clinic:
    """One clinic. `clinic_id` is "" until it is founded. Without a cloud it began alone, until its hub is adopted."""

    name: str
    cloud: CloudParty
    make_machine: MakeMachine
    clinic_id: str = ""
    sites: dict[str, str] = field(default_factory=dict)  # name -> site_id
    users: dict[str, str] = field(default_factory=dict)  # role or name -> address
    user_ids: dict[str, str] = field(default_factory=dict)  # address -> user_id
    hubs: list[HubParty] = field(default_factory=list)
    tablets: list[TabletParty] = field(default_factory=list)
    is_alone: bool = False

    # ------------------------------------------------------------------------------------------- founding

    async def found(self, sites: Sequence[str]) -> None:
        """In the cloud, with an administrator, two clinicians and a front desk."""
        raise NotImplementedError

    async def found_alone(self, site: str) -> HubParty:
        """On a hub that no cloud knows, with the same people."""
        raise NotImplementedError

    async def add_user(self, name: str, role: str) -> str:
        """A further person; their address."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- machines

    async def add_hub(self, name: str, site: str, *, replaces: HubParty | None = None) -> HubParty:
        """A new box for a site, claimed and serving. The one that it replaces is revoked, and may still run."""
        raise NotImplementedError

    async def add_tablet(
        self,
        name: str,
        site: str,
        *,
        user: str = "clinician",
        scope: Scope = "full",
        at: HubParty | None = None,
    ) -> TabletParty:
        """Enrolled at a hub (the site's first, else the cloud), logged in, and in step."""
        raise NotImplementedError

    async def adopt(self, hub: HubParty) -> None:
        """The hub that began alone gets a cloud, and brings what it has."""
        raise NotImplementedError

    async def copy_hub(self, hub: HubParty, name: str) -> HubParty:
        """A second box from the same card: both run."""
        raise NotImplementedError

    async def clone_tablet(self, tablet: TabletParty, name: str) -> TabletParty:
        """A second tablet from the same storage: both run."""
        raise NotImplementedError

    async def move_site(self, tablet: TabletParty, site: str) -> None:
        """The tablet is carried to another site's building."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------- what is decided

    async def revoke_tablet(self, tablet: TabletParty) -> None:
        raise NotImplementedError

    async def revoke_hub(self, hub: HubParty) -> None:
        raise NotImplementedError

    async def disable_user(self, name: str, *, disabled: bool = True) -> None:
        raise NotImplementedError

    async def rotate_key(self, *, at_once: bool = False) -> None:
        """The cloud signs with its next key from now on."""
        raise NotImplementedError
