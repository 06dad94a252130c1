"""The `Accounts` that a cloud serves, and what its operator's commands call. Both are put together here.

`CloudAccounts` only hands on: what is decided stands in the files that are named for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medxz.accounts.base import Authority
from medxz.accounts.clinic_cas import ClinicCas
from medxz.accounts.clinics import Clinics, Sites
from medxz.accounts.codes import Codes
from medxz.accounts.config import Config
from medxz.accounts.courier import Couriers
from medxz.accounts.devices import Devices
from medxz.accounts.directory import Mirrored
from medxz.accounts.enrolment import Enrolment
from medxz.accounts.hubs import Hubs
from medxz.accounts.key_ring import KeyRing, Keys
from medxz.accounts.passwords import Passwords
from medxz.accounts.server import Server
from medxz.accounts.sessions import Sessions
from medxz.accounts.totp import Totp
from medxz.accounts.users import Users
from medxz.service.accounts import Origin
from medxz.service.gate import Caller
from medxz.store.authority.known import Directories
from medxz.wire import (
    AssertionRequest,
    ClaimAnswer,
    ClaimRequest,
    CloudPlace,
    CodeAnswer,
    CodeRequest,
    DirectoryAnswer,
    EnrolAnswer,
    EnrolRequest,
    HubTokenAnswer,
    JwksAnswer,
    LoginRequest,
    LogoutRequest,
    ReenrolAnswer,
    ReenrolRequest,
    RefreshRequest,
    RenewAnswer,
    RenewRequest,
    SessionAnswer,
)


@dataclass(frozen=True, slots=True)
class Administration:
    """What an operator may do, beside a running cloud or within it."""

    server: Server
    clinics: Clinics
    sites: Sites
    users: Users
    totp: Totp
    devices: Devices
    hubs: Hubs
    sessions: Sessions
    codes: Codes
    config: Config
    keys: Keys
    cas: ClinicCas
    couriers: Couriers


class CloudAccounts:
    """Accounts (medxz/service/accounts.py), decided here."""

    def __init__(
        self, admin: Administration, enrolment: Enrolment, mirrored: Mirrored, ring: KeyRing
    ) -> None:
        self._admin: Final = admin
        self._enrolment: Final = enrolment
        self._mirrored: Final = mirrored
        self._ring: Final = ring

    async def login(self, request: LoginRequest, origin: Origin) -> SessionAnswer:
        return await self._admin.sessions.login(request, origin)

    async def refresh(self, request: RefreshRequest, origin: Origin) -> SessionAnswer:
        return await self._admin.sessions.refresh(request, origin)

    async def logout(self, caller: Caller | None, request: LogoutRequest) -> None:
        await self._admin.sessions.logout(caller, request)

    async def enrol(self, request: EnrolRequest, origin: Origin) -> EnrolAnswer:
        return await self._enrolment.enrol(request, origin)

    async def reenrol(self, caller: Caller, request: ReenrolRequest) -> ReenrolAnswer:
        return await self._enrolment.reenrol(caller, request)

    async def make_code(self, caller: Caller, request: CodeRequest) -> CodeAnswer:
        return await self._admin.codes.make_for(caller, request)

    async def claim(self, request: ClaimRequest, origin: Origin) -> ClaimAnswer:
        return await self._admin.hubs.claim(request, origin)

    async def renew(self, caller: Caller, request: RenewRequest) -> RenewAnswer:
        return await self._admin.hubs.renew(caller, request)

    async def hub_token(self, request: AssertionRequest, origin: Origin) -> HubTokenAnswer:
        return await self._admin.hubs.token(request, origin)

    def keys(self) -> JwksAnswer:
        return self._ring.jwks()

    async def directory(self, caller: Caller, after: int | None) -> DirectoryAnswer | None:
        return await self._mirrored.directory(caller, after)


@dataclass(frozen=True, slots=True)
class Assembled:
    """`ring` is kept fresh by whoever runs a server: `ring.refresh()` at the start, then `ring.follow()` as a task."""

    administration: Administration
    accounts: CloudAccounts
    ring: KeyRing


def assemble(
    authority: Authority, passwords: Passwords, directories: Directories, place: CloudPlace
) -> Assembled:
    """Everything of a cloud whose id, and whose address for others, is `place`."""
    cas, ring = ClinicCas(authority), KeyRing(authority, place.server_id)
    users = Users(authority, passwords)
    administration = Administration(
        server=Server(authority),
        clinics=Clinics(authority, cas, users),
        sites=Sites(authority),
        users=users,
        totp=Totp(authority),
        devices=Devices(authority),
        hubs=Hubs(authority, cas, ring, directories, place),
        sessions=Sessions(authority, passwords, ring),
        codes=Codes(authority, place.url),
        config=Config(authority),
        keys=Keys(authority),
        cas=cas,
        couriers=Couriers(authority, cas, ring, place),
    )
    accounts = CloudAccounts(administration, Enrolment(authority, ring, directories), Mirrored(ring), ring)
    return Assembled(administration, accounts, ring)
