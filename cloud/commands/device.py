"""`medxz-cloud code`, `device …` and `hub …`: what lets devices and hubs in, and takes them out again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from cloud.options import At, at_clinic, at_cloud, clinic_option
from medxz.clock import format_time
from medxz.commandline import Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, more_text, page, table
from medxz.program.people import device_commands

if TYPE_CHECKING:
    from cloud.office import Office
    from medxz.scope import Scope
    from medxz.store.authority.codes import CodeKind

CODES_MAX: Final = 1_000
_UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400}
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")


class Span(click.ParamType[int]):
    """A time as people write it: 10m, 12h, 30d. It is passed on in seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        fits = _SPAN.fullmatch(str(value))
        if fits is None:
            self.fail(f"{value!r} is no time: minutes, hours or days as 10m, 12h, 30d", param, ctx)
        return int(fits[1]) * _UNITS[fits[2]]


@click.command(
    cls=Example,
    example="medxz-cloud code --data /var/lib/medxz-cloud --for hub --site North\n"
    "medxz-cloud code --data /var/lib/medxz-cloud --for device --site North --scope front_desk --count 12 --json",
)
@at_cloud
@clinic_option
@click.option(
    "--for", "kind", type=click.Choice(["hub", "device"]), required=True, help="What it lets in, once."
)
@click.option("--site", required=True, help="The site where it will stand, by name or id.")
@click.option(
    "--scope", type=click.Choice(["full", "front_desk"]), help="What a device holds. [default: full]"
)
@click.option(
    "--expires", type=Span(), help="How long it is good: 10m, 12h, 30d. [default: device 10m, hub 30d]"
)
@click.option("--count", type=click.IntRange(1, CODES_MAX), help="So many at once.")
@click.option("--replaces", type=Uuid(), help="The hub whose place the new one takes; that one is revoked.")
def code(
    at: At,
    *,
    clinic: str | None,
    kind: CodeKind,
    site: str,
    scope: Scope | None,
    expires: int | None,
    count: int | None,
    replaces: str | None,
) -> None:
    """A pairing code, which lets in one device or hub."""

    async def act(office: Office) -> list[dict[str, Any]]:
        made = await office.admin.codes.make(
            await office.clinic(clinic),
            kind,
            site,
            scope=scope,
            expires_ms=None if expires is None else expires * 1_000,
            count=count or 1,
            replaces=replaces,
        )
        return [
            {"code": new.code, "expires_at": format_time(new.expires_at_ms), "url": new.url, "fp": new.fp}
            for new in made
        ]

    made = at.run(act)
    lines = "\n".join(
        f"{each['code']}  until {each['expires_at']}  {each['url']}\n{_compared_text(each)}" for each in made
    )
    at.tell(made[0] if count is None else {"codes": made}, lines)


def _compared_text(made: dict[str, Any]) -> str:
    """What whoever types the code at a hub holds against what the device shows."""
    from medxz.trust.certificates import to_compare

    return f"    the clinic's CA: {to_compare(made['fp'])}"


device = device_commands("medxz-cloud", "/var/lib/medxz-cloud", at_clinic)


@click.group(cls=Examples, example="medxz-cloud hub list --data /var/lib/medxz-cloud")
def hub() -> None:
    """The hubs of a clinic."""


@hub.command("list", cls=Example, example="medxz-cloud hub list --data /var/lib/medxz-cloud --json")
@at_cloud
@clinic_option
@limit_option
@cursor_option
def list_hubs(at: At, clinic: str | None, limit: int, cursor: str | None) -> None:
    """Every hub that was ever claimed, the revoked too, and when it was last heard of."""

    async def act(office: Office) -> list[dict[str, Any]]:
        return [
            {
                "hub_id": row.hub_id,
                "name": row.name,
                "site_id": row.site_id,
                "url": row.url,
                "revoked": row.revoked,
                "last_seen_at": None if row.last_seen_ms is None else format_time(row.last_seen_ms),
            }
            for row in await office.admin.hubs.list(await office.clinic(clinic))
        ]

    answer = page("hubs", at.run(act), "hub_id", limit, cursor)
    text = table(answer["hubs"], "hub_id", "name", "site_id", "url", "revoked", "last_seen_at")
    at.tell(answer, text + more_text(answer))


@hub.command(
    "revoke",
    cls=Example,
    example="medxz-cloud hub revoke --data /var/lib/medxz-cloud --hub 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10",
)
@at_cloud
@clinic_option
@click.option("--hub", "hub_id", type=Uuid(), required=True, help="Which one.")
def revoke_hub(at: At, clinic: str | None, hub_id: str) -> None:
    """Shut a hub out for good. What it has sent stays; devices sync with another hub, or with the cloud."""

    async def act(office: Office) -> None:
        await office.admin.hubs.revoke(await office.clinic(clinic), hub_id)

    at.run(act)
    at.tell({"revoked": True}, f"The hub {hub_id} is out.")


@hub.command(
    cls=Example,
    example="medxz-cloud hub ring 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10 canary --data /var/lib/medxz-cloud",
)
@click.argument("hub_id", metavar="HUB_ID", type=Uuid())
@click.argument("ring", metavar="RING")
@at_cloud
@click.option("--clinic", type=Uuid(), help="Its clinic, where two have a hub of that id.")
def ring(at: At, hub_id: str, ring: str, clinic: str | None) -> None:
    """Put a hub into a ring: canary, early, all, or another one. Rings say which version a hub runs."""
    from cloud.commands.rollout import hubs_of
    from medxz.wire import HubRingRequest

    try:
        request = HubRingRequest(ring=ring, clinic_id=clinic)
    except ValueError:
        raise click.UsageError("RING is a name in small letters, digits and -") from None
    told = at.run(lambda office: hubs_of(at, office).put_into_ring(hub_id, request)).model_dump()
    at.tell(told, f"{told['name']} is of ring {told['ring']}.")
