"""`medxz-cloud import` and `export`: what a courier carries between this cloud and hubs that see no internet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloud.options import PATH, At, at_cloud, clinic_option
from medxz import limits
from medxz.commandline import FAILED, Example, Uuid
from medxz.errors import CourierRefused

if TYPE_CHECKING:
    from cloud.courier.round import Called, Round
    from cloud.office import Office

slice_option = click.option(
    "--slice-mb", type=click.IntRange(1, 4_000), help="How large a file becomes, in MiB. [default: 64]"
)


@click.command(
    "import", cls=Example, example="medxz-cloud import --data /var/lib/medxz-cloud/data --from /media/usb"
)
@at_cloud
@clinic_option
@click.option("--from", "folder", type=PATH, required=True, help="The folder with the hubs' files.")
@click.option("--to", "back", type=PATH, help="Where the answers go. [default: the same folder]")
@slice_option
@click.pass_context
def take(
    context: click.Context,
    at: At,
    *,
    clinic: str | None,
    folder: Path,
    back: Path | None,
    slice_mb: int | None,
) -> None:
    """Take in what hubs sent by a courier, and lay the answers beside it, which go back the same way.

    Beside a running cloud or without one. Safe to repeat: what was taken in is not taken twice, and the answers are
    made anew. Ends with status 1 where a file was refused.
    """
    place = _existing(back or folder)

    async def act(office: Office) -> Called:
        from cloud.courier.round import take_in

        async with _round(at, office, place, slice_mb) as made:
            return await take_in(made, folder, clinic)

    called = at.run(act)
    if not (called.hubs or called.refused):
        raise CourierRefused(
            f"{folder}: no hub's files lie there", "medxz-hub export --to FOLDER writes them"
        )
    lines = [_line(hub) for hub in called.hubs] + [f"left: {why}" for why in called.refused]
    at.tell({"hubs": called.hubs, "refused": called.refused}, "\n".join(lines))
    if called.refused:
        context.exit(FAILED)


@click.command(
    "export",
    cls=Example,
    example="medxz-cloud export --data /var/lib/medxz-cloud/data --to /media/usb \\\n"
    "  --hub 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10",
)
@at_cloud
@clinic_option
@click.option("--hub", "hub_id", type=Uuid(), required=True, help="Which hub it is for.")
@click.option("--to", "folder", type=PATH, required=True, help="The folder that the files go into.")
@slice_option
def give(at: At, *, clinic: str | None, hub_id: str, folder: Path, slice_mb: int | None) -> None:
    """Files for a hub that has sent none: people, configuration, and the whole log.

    A hub that has sent some is answered by `import`, with what it lacks alone.
    """
    place = _existing(folder)

    async def act(office: Office) -> dict[str, Any]:
        from cloud.courier.round import give as give_to

        async with _round(at, office, place, slice_mb) as made:
            return await give_to(made, await office.clinic(clinic), hub_id)

    answer = at.run(act)
    at.tell(answer, _line(answer))


@asynccontextmanager
async def _round(at: At, office: Office, back: Path, slice_mb: int | None) -> AsyncIterator[Round]:
    from cloud.courier.reaching import reached_cloud
    from cloud.courier.round import Round
    from medxz.program.bars import progress_bar

    couriers, authority = office.admin.couriers, office.store.authority
    size = limits.COURIER_SLICE_BYTES if slice_mb is None else slice_mb * limits.MIB
    async with reached_cloud(at.settings(), os.environ, couriers.cloud_id) as reached:
        with progress_bar("ops", quiet=at.as_json) as progress:
            yield Round(
                couriers, reached, back, authority.clock, authority.ids, size,
                lambda step: progress(step.done, step.total or step.done),
            )  # fmt: skip


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise CourierRefused(f"{folder}: there is no such folder", "is the medium mounted?")
    return folder


def _line(hub: dict[str, Any]) -> str:
    kept = hub["accepted"] + hub["conflict"]
    came = f"{kept} ops new, {hub['duplicate']} known, {hub['rejected']} refused, {hub['retry']} to be sent again"
    return f"{hub['name']}: {came}; {hub['pulled']} ops go back, in {len(hub['files'])} files"
