"""Where an operator's commands are done: the open store, and what may be decided with it.

Decisions are made and noted by medxz/accounts; a running cloud of the same database hears of them by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cloud.doors import open_passwords
from cloud.store import CloudStore, make_store, open_store
from medxz.accounts.cloud import Administration, assemble
from medxz.clock import SystemClock
from medxz.errors import Invalid, NotFound
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.service.audit import entries_of, verified
from medxz.store.authority import clinics
from medxz.store.authority.audit import Entry
from medxz.store.authority.known import Directories
from medxz.wire import CloudPlace

if TYPE_CHECKING:
    from cloud.config import Settings
    from medxz.store.authority.base import Tx

_BY_OPERATOR: Final = {"by": "operator"}


@dataclass(frozen=True, slots=True)
class Founding:
    """What a clinic begins with: its sites, and its first administrator."""

    name: str
    sites: Sequence[str]
    admin_email: str
    admin_name: str
    password: str
    clinic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Office:
    """One command's."""

    store: CloudStore
    admin: Administration

    async def clinic(self, clinic_id: str | None) -> str:
        """The one that was named; the one that there is, where none was."""
        held = [clinic.clinic_id for clinic in await self.admin.clinics.list()]
        if clinic_id is None and len(held) == 1:
            return held[0]
        if clinic_id is None:
            raise Invalid(f"there are {len(held)} clinics: name one with --clinic ID", field="clinic")
        if clinic_id not in held:
            raise NotFound(f"there is no clinic {clinic_id}; `medxz-cloud clinic list` shows those there are")
        return clinic_id

    async def found(self, founding: Founding) -> dict[str, Any]:
        """A new clinic, told as `init` and `clinic add` tell it."""
        made = await self.admin.clinics.add(
            founding.name,
            founding.sites,
            founding.admin_email,
            founding.admin_name,
            founding.password,
            founding.clinic_id,
        )
        return {
            "clinic_id": made.clinic_id,
            "sites": [{"site_id": site.site_id, "name": site.name} for site in made.sites],
            "admin_user_id": made.admin_user_id,
        }

    async def audit_page(
        self, clinic_id: str, query: Mapping[str, str], before: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of entries, and the place to go on at. That an operator looked is noted first."""
        await self._note(clinic_id, Entry("audit_read", detail={**query, **_BY_OPERATOR}))
        entries, after = await entries_of(self.store.transactions, clinic_id, query, before, limit)
        return [entry.model_dump() for entry in entries], after

    async def audit_verify(self, clinic_id: str) -> dict[str, Any]:
        """Every chain of a clinic, held against itself and the others."""
        await self._note(clinic_id, Entry("audit_verified", detail=_BY_OPERATOR))
        return (await verified(self.store.transactions, clinic_id)).model_dump()

    async def _note(self, clinic_id: str, entry: Entry) -> None:
        async def note(tx: Tx) -> None:
            await self.store.authority.trail.append(tx, clinic_id, entry)

        await self.store.authority.decide(note)


@asynccontextmanager
async def open_office(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Office]:
    """That of a cloud which was made, running or not."""
    async with (
        open_store(settings, environ, SystemClock(), RandomIds()) as store,
        _office(settings, store) as office,
    ):
        yield office


async def make_cloud(settings: Settings, environ: Mapping[str, str], founding: Founding) -> dict[str, Any]:
    """A cloud with one clinic; CommandFailed where it was made already."""
    async with make_store(settings, environ, SystemClock(), RandomIds()) as store:
        if await store.transactions.read(clinics.everyone):
            raise CommandFailed(
                f"there is a cloud in {store.transactions.place} already",
                "run it; `medxz-cloud clinic add` adds a clinic to it",
            )
        async with _office(settings, store) as office:
            return await office.found(founding)


@asynccontextmanager
async def _office(settings: Settings, store: CloudStore) -> AsyncIterator[Office]:
    passwords = open_passwords()
    directories = Directories(store.transactions, store.authority.clock)
    place = CloudPlace(server_id=store.server.server_id, url=url_of(settings))
    try:
        yield Office(store, assemble(store.authority, passwords, directories, place).administration)
    finally:
        await directories.close()
        passwords.close()


def url_of(settings: Settings) -> str:
    """Where the cloud is found: as it is set, as the running one says, or as it would serve on this machine."""
    if settings.public_url is not None:
        return settings.public_url
    try:
        return settings.places.url_file.read_text("utf-8").strip()
    except OSError:
        scheme = "http" if settings.plain_http else "https"
        return f"{scheme}://{settings.host or '127.0.0.1'}:{settings.port}"
