"""`medxz-cloud release …`: the bundles that hubs are offered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.commands.rollout import rollouts_of
from cloud.options import PATH, At, at_cloud
from medxz.commandline import Example, Examples
from medxz.program.listing import table

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.releases import Release, Shelf


@click.group(cls=Examples, example="medxz-cloud release list --data /var/lib/medxz-cloud")
def release() -> None:
    """The hubs' software: what they are offered."""


@release.command(
    cls=Example,
    example="medxz-cloud release add --data /var/lib/medxz-cloud --bundle medxz-hub-0.2.0-arm64.raucb",
)
@at_cloud
@click.option(
    "--bundle", type=PATH, required=True, help="The bundle; the .json that was made with it lies beside it."
)
@click.option(
    "--hold", is_flag=True, help="Offer it to nobody before a rollout, or a ring, names its version."
)
def add(at: At, bundle: Path, hold: bool) -> None:
    """Offer a bundle to every hub that it is for. They take it within the hour, when nobody is pushing.

    A hub installs what is signed by a key that its image knows, and nothing else, whatever the cloud offers.
    """
    from cloud.releases import Description
    from medxz.clock import SystemClock, format_time
    from medxz.program.bars import progress_bar

    told, now = Description.beside(bundle), format_time(SystemClock().now_ms())
    with progress_bar("copying", quiet=at.as_json) as progress:
        made = _shelf(at).add(bundle, told, now, progress, held=hold)
    text = f"Hubs of kind {made.compatible} are offered {made.version} now."
    if made.held:
        text = f"{made.version} waits: medxz-cloud rollout start --version {made.version}"
    at.tell(_told(made), text)


@release.command("list", cls=Example, example="medxz-cloud release list --data /var/lib/medxz-cloud --json")
@at_cloud
def list_releases(at: At) -> None:
    """What there is, the newest of each kind first: that one is offered."""
    rows = [_told(row) for row in _shelf(at).all()]
    at.tell({"releases": rows}, table(rows, "compatible", "version", "held", "size", "added_at", "sha256"))


@release.command(
    cls=Example,
    example="medxz-cloud release remove --data /var/lib/medxz-cloud --version 0.2.0 --compatible medxz-hub-arm64",
)
@at_cloud
@click.option("--version", required=True, help="Which one.")
@click.option("--compatible", required=True, help="For which kind of machine.")
def remove(at: At, version: str, compatible: str) -> None:
    """Offer it no more. Hubs that run it already go on: a hub goes back only by itself or by --force.

    Refused while a rollout brings it to hubs, or may have to take some back to it.
    """
    at.run(lambda office: rollouts_of(at, office).let_go(version, compatible))
    gone = _shelf(at).remove(compatible, version)
    at.tell({"removed": True, "sha256": gone.sha256}, f"{version} is offered no more.")


def _told(release: Release) -> dict[str, Any]:
    return release.model_dump(exclude={"go_back"})


def _shelf(at: At) -> Shelf:
    from cloud.releases import Shelf

    return Shelf(at.settings().places.data)
