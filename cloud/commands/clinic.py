"""`medxz-cloud clinic …` and `site …`: the clinics of a cloud, their sites, and what each has decided."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cloud.options import At, at_cloud, clinic_option
from medxz.commandline import Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, more_text, page, table
from medxz.program.passwords import read_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloud.office import Office


def founding(command: Callable[..., None]) -> Callable[..., None]:
    """Options of what a clinic begins with."""
    for option in (
        click.option(
            "--admin-password-file", required=True, help="A file with their password; -: the standard input."
        ),
        click.option("--admin-name", default="Administrator", show_default=True, help="Their name."),
        click.option("--admin-email", required=True, help="The address of the first administrator."),
        click.option("--site", "sites", multiple=True, required=True, help="A site of it, by name; several."),
    ):
        command = option(command)
    return command


@click.group(cls=Examples, example="medxz-cloud clinic list --data /var/lib/medxz-cloud")
def clinic() -> None:
    """The clinics of this cloud. None sees anything of another."""


@clinic.command(
    cls=Example,
    example="medxz-cloud clinic add --data /var/lib/medxz-cloud --clinic Riverside --site North --site South \\\n"
    "  --admin-email ada@clinic.example --admin-password-file -",
)
@at_cloud
@click.option("--clinic", "name", required=True, help="The clinic's name.")
@click.option("--id", "clinic_id", type=Uuid(), help="Its id, where it has one already. [default: a new one]")
@founding
def add(
    at: At,
    *,
    name: str,
    clinic_id: str | None,
    sites: tuple[str, ...],
    admin_email: str,
    admin_name: str,
    admin_password_file: str,
) -> None:
    """Take in another clinic, with its sites, its CA and its first administrator."""
    from cloud.office import Founding

    password = read_password(admin_password_file)

    async def act(office: Office) -> dict[str, Any]:
        return await office.found(Founding(name, sites, admin_email, admin_name, password, clinic_id))

    answer = at.run(act)
    at.tell(answer, f"The clinic {name} is {answer['clinic_id']}.")


@clinic.command("list", cls=Example, example="medxz-cloud clinic list --data /var/lib/medxz-cloud --json")
@at_cloud
@limit_option
@cursor_option
def list_clinics(at: At, limit: int, cursor: str | None) -> None:
    """Every clinic of this cloud."""

    async def act(office: Office) -> list[dict[str, Any]]:
        return [{"clinic_id": row.clinic_id, "name": row.name} for row in await office.admin.clinics.list()]

    answer = page("clinics", at.run(act), "clinic_id", limit, cursor)
    at.tell(answer, table(answer["clinics"], "clinic_id", "name") + more_text(answer))


@clinic.group(
    cls=Examples, example="medxz-cloud clinic config set --data /var/lib/medxz-cloud require_signed_ops true"
)
def config() -> None:
    """What a clinic has decided. Its hubs and devices are told of a change as soon as they can be."""


@config.command(
    "get", cls=Example, example="medxz-cloud clinic config get --data /var/lib/medxz-cloud --json"
)
@at_cloud
@clinic_option
def get_config(at: At, clinic: str | None) -> None:
    """Every decision that a clinic can take, as it stands."""

    async def act(office: Office) -> dict[str, Any]:
        return await office.admin.config.get(await office.clinic(clinic))

    answer = at.run(act)
    at.tell(answer, _lines(answer, answer))


@config.command(
    "set",
    cls=Example,
    example="medxz-cloud clinic config set --data /var/lib/medxz-cloud keep_own_days 30\n"
    "medxz-cloud clinic config set --data /var/lib/medxz-cloud require_signed_ops=true keep_own_days=null",
)
@at_cloud
@clinic_option
@click.argument("decisions", nargs=-1, required=True, metavar="NAME VALUE | NAME=VALUE …")
def set_config(at: At, clinic: str | None, decisions: tuple[str, ...]) -> None:
    """Decide something anew: NAME as `get` shows it, VALUE as JSON; null takes the decision back."""
    decided = _decisions(decisions)

    async def act(office: Office) -> dict[str, Any]:
        clinic_id = await office.clinic(clinic)
        for name, value in decided.items():
            await office.admin.config.set(clinic_id, name, value)
        return await office.admin.config.get(clinic_id)

    answer = at.run(act)
    at.tell(answer, _lines(answer, decided))


def _lines(answer: dict[str, Any], names: Iterable[str]) -> str:
    """Values as `set` takes them."""
    return "\n".join(f"{name} = {json.dumps(answer[name], ensure_ascii=False)}" for name in names)


def _decisions(words: tuple[str, ...]) -> dict[str, Any]:
    pairs = (
        [words] if len(words) == 2 and "=" not in words[0] else [word.partition("=")[::2] for word in words]
    )
    if any(
        not name or (not value and "=" not in word) for (name, value), word in zip(pairs, words, strict=False)
    ):
        raise click.UsageError("a decision is NAME VALUE, or NAME=VALUE")
    return {name: _value(value) for name, value in pairs}


def _value(text: str) -> Any:
    """JSON; a word that is none stands for itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.group(cls=Examples, example="medxz-cloud site list --data /var/lib/medxz-cloud")
def site() -> None:
    """The sites of a clinic: each may have hubs and devices of its own."""


@site.command("add", cls=Example, example="medxz-cloud site add --data /var/lib/medxz-cloud --name West")
@at_cloud
@clinic_option
@click.option("--name", required=True, help="The site's name.")
def add_site(at: At, clinic: str | None, name: str) -> None:
    """Add a site to a clinic."""

    async def act(office: Office) -> dict[str, Any]:
        made = await office.admin.sites.add(await office.clinic(clinic), name)
        return {"site_id": made.site_id, "name": made.name}

    answer = at.run(act)
    at.tell(answer, f"The site {answer['name']} is {answer['site_id']}.")


@site.command("list", cls=Example, example="medxz-cloud site list --data /var/lib/medxz-cloud --json")
@at_cloud
@clinic_option
@limit_option
@cursor_option
def list_sites(at: At, clinic: str | None, limit: int, cursor: str | None) -> None:
    """Every site of a clinic."""

    async def act(office: Office) -> list[dict[str, Any]]:
        found = await office.admin.sites.list(await office.clinic(clinic))
        return [{"site_id": row.site_id, "name": row.name} for row in found]

    answer = page("sites", at.run(act), "site_id", limit, cursor)
    at.tell(answer, table(answer["sites"], "site_id", "name") + more_text(answer))
