"""What the operator of a hub alone decides about people and devices: `medxz-hub user …` and `device …`.

Refused on a hub that was claimed: there the cloud decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hub.arguments import Arguments
from medxz import limits
from medxz.program.errors import CommandFailed
from medxz.program.listing import page
from medxz.program.people import told_device, told_user
from medxz.wire import Uuid

if TYPE_CHECKING:
    from hub.alone.office import Accounts, Office
    from hub.ask import Json
    from hub.identity import HubIdentity

_Email = Annotated[str, Field(max_length=limits.EMAIL_CHARS_MAX)]
_Password = Annotated[str, Field(max_length=limits.PASSWORD_CHARS_MAX, repr=False)]


class NewUser(Arguments):
    email: _Email
    name: str
    roles: list[str]
    password: _Password


class Page(Arguments):
    limit: Annotated[int, Field(ge=1, le=limits.LIST_PAGE_MAX)] = limits.LIST_PAGE_DEFAULT
    cursor: str | None = None


class Disabling(Arguments):
    """`user` is an address or an id, here and below."""

    user: _Email
    disabled: bool


class NewPassword(Arguments):
    user: _Email
    password: _Password


class NewRoles(Arguments):
    user: _Email
    roles: list[str]


class OneDevice(Arguments):
    device_id: Uuid


@dataclass(frozen=True, slots=True)
class LoneDesk:
    """One hub's; without an office on one that was claimed."""

    identity: HubIdentity
    office: Office | None

    def table(self) -> dict[str, Callable[[Json], Awaitable[Json]]]:
        return {
            "user_add": self.add_user,
            "user_list": self.list_users,
            "user_disable": self.disable_user,
            "user_passwd": self.set_password,
            "user_roles": self.set_roles,
            "device_list": self.list_devices,
            "device_revoke": self.revoke_device,
        }

    async def add_user(self, arguments: Json) -> Json:
        new, accounts = NewUser.read(arguments), await self._accounts()
        user_id = await accounts.users.add(self._clinic, new.email, new.name, new.roles, new.password)
        return {"user_id": user_id}

    async def list_users(self, arguments: Json) -> Json:
        asked, accounts = Page.read(arguments), await self._accounts()
        rows = [told_user(user) for user in await accounts.users.list(self._clinic)]
        return page("users", rows, "user_id", asked.limit, asked.cursor)

    async def disable_user(self, arguments: Json) -> Json:
        asked, accounts = Disabling.read(arguments), await self._accounts()
        await accounts.users.disable(self._clinic, asked.user, disabled=asked.disabled)
        return {"disabled": asked.disabled}

    async def set_password(self, arguments: Json) -> Json:
        asked, accounts = NewPassword.read(arguments), await self._accounts()
        await accounts.users.set_password(self._clinic, asked.user, asked.password)
        return {"changed": True}

    async def set_roles(self, arguments: Json) -> Json:
        asked, accounts = NewRoles.read(arguments), await self._accounts()
        await accounts.users.set_roles(self._clinic, asked.user, asked.roles)
        return {"roles": sorted(set(asked.roles))}

    async def list_devices(self, arguments: Json) -> Json:
        asked, accounts = Page.read(arguments), await self._accounts()
        rows = [told_device(device) for device in await accounts.devices.list(self._clinic)]
        return page("devices", rows, "device_id", asked.limit, asked.cursor)

    async def revoke_device(self, arguments: Json) -> Json:
        asked, accounts = OneDevice.read(arguments), await self._accounts()
        await accounts.devices.revoke(self._clinic, asked.device_id)
        return {"revoked": True}

    @property
    def _clinic(self) -> str:
        return self.identity.clinic_id

    async def _accounts(self) -> Accounts:
        if self.office is None:
            claim = self.identity.claim
            where = f" at {claim.cloud_url}" if claim is not None else ""
            raise CommandFailed(
                f"this hub was claimed: the cloud{where} decides who may come in",
                "there: medxz-cloud user …, medxz-cloud device …",
                "claimed",
            )
        return await self.office.accounts()
