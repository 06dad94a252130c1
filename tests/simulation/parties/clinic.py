"""A clinic of a world: its people, sites, hubs and tablets, and everything that is decided about them.

What it decides, its cloud decides; while it has none, the hub that it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from medxz.errors import Invalid
from medxz.scope import Scope
from tests.simulation.parties.cloud import CloudParty
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Pusher, Reader
from tests.simulation.parties.hub import HubParty
from tests.simulation.parties.standing import Machine

T = TypeVar("T")
PASSWORD: Final = "a long walk by the river"

MakeMachine = Callable[[str], Machine]
"""A machine of that name, new, switched on, with an empty directory."""

PEOPLE: Final = {"admin": "admin", "nora": "clinician", "dan": "clinician", "rita": "front_desk"}
"""Who works at every clinic, by the name in their address, and as what."""


@dataclass
class Clinic:
    """One clinic. `clinic_id` is "" until it is founded."""

    name: str
    cloud: CloudParty
    make_machine: MakeMachine
    clinic_id: str = ""
    sites: list[str] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)  # name -> user_id
    hubs: list[HubParty] = field(default_factory=list)
    tablets: list[TabletParty] = field(default_factory=list)
    pushers: list[Pusher] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    is_alone: bool = False

    def email(self, name: str) -> str:
        return f"{name}@{self.name}.example"

    # ------------------------------------------------------------------------------------------- founding

    async def found(self, sites: Sequence[str]) -> None:
        """In the cloud, with its people."""
        founded = self.cloud.admin.clinics.add(self.name, sites, self.email("admin"), "admin", PASSWORD)
        made = await self.in_cloud(founded)
        self.clinic_id, self.sites = made.clinic_id, list(sites)
        self.users["admin"] = made.admin_user_id
        for name, role in PEOPLE.items():
            if name not in self.users:
                await self.add_user(name, role)

    async def found_alone(self, name: str, site: str) -> HubParty:
        """On a hub that no cloud knows, with the same people."""
        hub = HubParty(self.make_machine(name))
        self.clinic_id, self.sites, self.is_alone = hub.machine.ids.uuid7(), [site], True
        await hub.make_alone(self.clinic_id)
        hub.site = site
        await hub.start()
        self.hubs.append(hub)
        for person, role in PEOPLE.items():
            await self.add_user(person, role)
        return hub

    async def add_user(self, name: str, role: str) -> str:
        """A further person, by the name of their address; their id."""
        email = self.email(name)
        if self.is_alone:
            told = await self.hubs[0].decide(
                "user_add", email=email, name=name, roles=[role], password=PASSWORD
            )
            self.users[name] = told["user_id"]
        else:
            adding = self.cloud.admin.users.add(self.clinic_id, email, name, [role], PASSWORD)
            self.users[name] = await self.in_cloud(adding)
        return self.users[name]

    # ------------------------------------------------------------------------------------------- machines

    async def add_hub(self, name: str, site: str, *, replaces: HubParty | None = None) -> HubParty:
        """A new box for a site, claimed and serving. The one that it replaces is revoked, and may still run."""
        hub = HubParty(self.make_machine(name))
        code = await self.code("hub", site, replaces=replaces.server_id if replaces is not None else None)
        await hub.claim(self.cloud.url, code)
        hub.site = site
        self.hubs.append(hub)
        if replaces is not None:
            replaces.is_revoked = True
        await hub.start()
        return hub

    async def add_tablet(
        self, name: str, site: str, *, user: str = "nora", scope: Scope = "full", at: HubParty | None = None
    ) -> TabletParty:
        """Enrolled at a hub (the site's first, else the cloud), logged in, and in step."""
        tablet = TabletParty(self.make_machine(name))
        tablet.site, tablet.scope = site, scope
        url, code = await self._invitation(site, scope, at)
        await tablet.enrol(url, code)
        await tablet.login(self.email(user), PASSWORD)
        self.tablets.append(tablet)
        return tablet

    async def add_pusher(
        self, name: str, site: str, *, user: str = "dan", signs: bool = False, at: HubParty | None = None
    ) -> Pusher:
        """A device that somebody else wrote."""
        url, code = await self._invitation(site, "full", at)
        pusher = Pusher(self.make_machine(name), url, signs=signs)
        await pusher.enrol(code, self.email(user), PASSWORD)
        self.pushers.append(pusher)
        return pusher

    def add_reader(self, pusher: Pusher, server_url: str) -> Reader:
        """Somebody who follows a server's log, as the pusher's device."""
        reader = Reader(pusher.machine, server_url, pusher)
        self.readers.append(reader)
        return reader

    async def adopt(self, hub: HubParty) -> None:
        """The hub that began alone gets a cloud, and brings what it has; it serves again afterwards."""
        if not self.is_alone:
            return
        empty = self.cloud.admin.clinics.add(self.name, [hub.site], self.email("office"), "office", PASSWORD)
        made = await self.in_cloud(empty)
        making = self.cloud.admin.codes.make(made.clinic_id, "hub", hub.site)
        [code] = await self.in_cloud(making)
        await hub.stop()
        await hub.claim(self.cloud.url, code.code)
        self.is_alone = False
        await hub.start()

    async def copy_hub(self, hub: HubParty, name: str) -> HubParty:
        """A second box from the same card: both run."""
        twin = HubParty(self.make_machine(name))
        await twin.become_copy_of(hub)
        self.hubs.append(twin)
        await twin.start()
        return twin

    async def clone_tablet(self, tablet: TabletParty, name: str) -> TabletParty:
        """A second tablet from the same storage: both run."""
        twin = TabletParty(self.make_machine(name))
        await twin.become_copy_of(tablet)
        self.tablets.append(twin)
        await twin.start()
        return twin

    async def move_site(self, tablet: TabletParty, site: str) -> None:
        """The tablet is carried to another site's building, where somebody types the address of a hub."""
        tablet.site = site
        await tablet.look_around([hub.url for hub in self.hubs if hub.site == site and not hub.is_revoked])

    # ---------------------------------------------------------------------------------------- what is decided

    async def code(
        self, kind: str, site: str, *, scope: Scope | None = None, replaces: str | None = None
    ) -> str:
        """A pairing code of the cloud's."""
        making = self.cloud.admin.codes.make(
            self.clinic_id, "hub" if kind == "hub" else "device", site, scope=scope, replaces=replaces
        )
        [made] = await self.in_cloud(making)
        return made.code

    async def revoke_tablet(self, tablet: TabletParty) -> None:
        """Whatever it is called now: all ids that it had go with it."""
        await self.revoke_device(tablet.device_id)
        tablet.is_revoked = True

    async def revoke_device(self, device_id: str) -> None:
        if self.is_alone:
            await self.hubs[0].decide("device_revoke", device_id=device_id)
        else:
            await self.in_cloud(self.cloud.admin.devices.revoke(self.clinic_id, device_id))

    async def revoke_hub(self, hub: HubParty) -> None:
        await self.in_cloud(self.cloud.admin.hubs.revoke(self.clinic_id, hub.server_id))
        hub.is_revoked = True

    async def disable_user(self, name: str, *, disabled: bool = True) -> None:
        if self.is_alone:
            await self.hubs[0].decide("user_disable", user=self.email(name), disabled=disabled)
        else:
            deciding = self.cloud.admin.users.disable(self.clinic_id, self.email(name), disabled=disabled)
            await self.in_cloud(deciding)

    async def set_roles(self, name: str, roles: Sequence[str]) -> None:
        if self.is_alone:
            await self.hubs[0].decide("user_roles", user=self.email(name), roles=list(roles))
        else:
            await self.in_cloud(self.cloud.admin.users.set_roles(self.clinic_id, self.email(name), roles))

    async def configure(self, name: str, value: object) -> None:
        """What `medxz-cloud clinic config set` decides."""
        await self.in_cloud(self.cloud.admin.config.set(self.clinic_id, name, value))

    async def rotate_key(self, *, at_once: bool = False) -> bool:
        """The cloud signs with its next key from now on; False where that was published too short a while ago."""
        try:
            await self.in_cloud(self.cloud.admin.keys.rotate(at_once=at_once))
        except Invalid:
            return False
        return True

    # ------------------------------------------------------------------------------------------------ how

    async def in_cloud(self, deciding: Coroutine[Any, Any, T]) -> T:
        """On the cloud's machine, which may die of it."""
        return await self.cloud.machine.call(deciding)

    async def _invitation(self, site: str, scope: Scope, at: HubParty | None) -> tuple[str, str]:
        """Where a new device is let in, and the code for it."""
        hub = at or next(
            (hub for hub in self.hubs if hub.site == site and hub.is_up and not hub.is_revoked), None
        )
        if self.is_alone:
            return self.hubs[0].url, await self.hubs[0].pair(scope)
        url = hub.url if hub is not None else self.cloud.url
        return url, await self.code("device", site, scope=scope)
