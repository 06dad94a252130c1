"""Clinics and their sites, as an operator makes them: a clinic begins with a CA, its sites and an administrator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medxz import limits
from medxz.accounts.base import Authority, clinic_of
from medxz.accounts.clinic_cas import ClinicCas
from medxz.accounts.users import NewUser, Users
from medxz.errors import Invalid
from medxz.ids import is_uuid
from medxz.store.authority import clinics
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.clinics import Clinic, Site


@dataclass(frozen=True, slots=True)
class NewClinic:
    """What became of it."""

    clinic_id: str
    sites: tuple[Site, ...]
    admin_user_id: str


class Clinics:
    """The use cases about clinics."""

    def __init__(self, authority: Authority, cas: ClinicCas, users: Users) -> None:
        self._authority: Final = authority
        self._cas: Final = cas
        self._users: Final = users

    async def add(
        self,
        name: str,
        sites: Sequence[str],
        admin_email: str,
        admin_name: str,
        password: str,
        clinic_id: str | None = None,
    ) -> NewClinic:
        """A new clinic; Invalid where a value is not lawful, two sites have one name, or the id is taken."""
        name, site_names = check_name(name, "clinic"), [check_name(site, "site") for site in sites]
        if not site_names or len(set(site_names)) != len(site_names):
            raise Invalid("a clinic has one site or more, each with a name of its own", field="site")
        if clinic_id is not None and not is_uuid(clinic_id):
            raise Invalid("a clinic's id is a UUID in lower case", field="clinic_id")
        admin = NewUser(admin_email, admin_name, frozenset({"admin"}))
        hashed = await self._users.check_and_hash(admin, password, name)
        made_id = clinic_id or self._authority.ids.uuid7()

        async def add(tx: Tx) -> NewClinic:
            now_ms = self._authority.clock.now_ms()
            if not await clinics.add(tx, made_id, name, now_ms):
                raise Invalid(f"there is a clinic {made_id} already", field="clinic_id")
            await self._authority.trail.append(tx, made_id, Entry("clinic_added"))
            await self._cas.make(tx, made_id)
            for site in site_names:
                await clinics.add_site(tx, made_id, self._authority.ids.uuid7(), site, now_ms)
            admin_id = await self._users.add_hashed(tx, made_id, admin, hashed)
            in_order = {site.name: site for site in await clinics.sites(tx, made_id)}
            return NewClinic(made_id, tuple(in_order[site] for site in site_names), admin_id)

        return await self._authority.decide(add)

    async def list(self) -> list[Clinic]:
        return await self._authority.transactions.read(clinics.everyone)


class Sites:
    """The use cases about sites."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def add(self, clinic_id: str, name: str) -> Site:
        """A new site; Invalid where the clinic has one of that name."""
        name = check_name(name, "site")

        async def add(tx: Tx) -> Site:
            await clinic_of(tx, clinic_id)
            site = Site(self._authority.ids.uuid7(), name)
            if not await clinics.add_site(tx, clinic_id, site.site_id, name, self._authority.clock.now_ms()):
                raise Invalid(f"the clinic has a site {name!r} already", field="site")
            entry = Entry("site_added", detail={"site_id": site.site_id})
            await self._authority.trail.append(tx, clinic_id, entry)
            return site

        return await self._authority.decide(add)

    async def list(self, clinic_id: str) -> list[Site]:
        async def read(tx: Tx) -> list[Site]:
            await clinic_of(tx, clinic_id)
            return await clinics.sites(tx, clinic_id)

        return await self._authority.transactions.read(read)


def check_name(text: str, field: str) -> str:
    """A name as people write it, without the space around it; Invalid where nothing or too much is left."""
    name = text.strip()
    if not 1 <= len(name) <= limits.NAME_CHARS_MAX or not name.isprintable():
        raise Invalid(f"a name has 1 to {limits.NAME_CHARS_MAX} characters that can be printed", field=field)
    return name
