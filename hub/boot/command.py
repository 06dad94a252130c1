"""`medxz-hub first-boot`: what a flashed box does before it is a hub. The units call it; so can an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hub.options import PATH, data_option, json_option
from medxz.commandline import DONE, FAILED, Example, Examples
from medxz.program.outcome import tell

root_option = click.option(
    "--root", type=PATH, default=Path("/"), help="Where the box's files are. [default: /]"
)


@click.group(
    "first-boot",
    cls=Examples,
    example="medxz-hub first-boot check /media/you/MEDXZ-CARD/medxz-hub.toml",
    invoke_without_command=True,
)
@click.option("--data", type=PATH, help="The hub's directory: wait until it is claimed.")
@json_option
@click.pass_context
def first_boot(context: click.Context, data: Path | None, as_json: bool) -> None:
    """The first start of a flashed box, and the file medxz-hub.toml on its card.

    With --data and no command it waits to be claimed.
    """
    if context.invoked_subcommand is not None:
        return
    if data is None:
        raise click.exceptions.NoArgsIsHelpError(context)
    context.invoke(wait, data=data, as_json=as_json)


@first_boot.command(cls=Example, example="medxz-hub first-boot wait --data /var/lib/medxz/hub")
@data_option
@click.option("--port", type=click.IntRange(0, 65_535), default=80, help="The page's port. [default: 80]")
@click.option("--host", help="The address of the page. [default: every interface]")
@click.option("--mdns/--no-mdns", default=True, help="Make medxz.local known on the LAN.")
@root_option
@json_option
def wait(data: Path, port: int, host: str | None, mdns: bool, root: Path, as_json: bool) -> None:
    """Wait until this box is claimed: by the card's file, or by a code that is typed on its page.

    Ends at once where it is a hub already. Meanwhile `http://medxz.local` shows how it is.
    """
    from hub.boot.places import BootPlaces
    from hub.boot.waiting_room import Room, wait_for_claim
    from hub.config import HubPlaces

    places = HubPlaces(data)
    if places.store.is_file() or places.keepsake.exists():
        tell({"claimed": False, "is_hub": True}, as_json, f"{places.data} is a hub already.")
        return
    told = wait_for_claim(Room(places, BootPlaces(root), port, host, mdns))
    if told is None:
        tell({"claimed": False, "is_hub": False}, as_json, "Stopped before it was claimed.")
        return
    tell({"claimed": True, "is_hub": True, **told}, as_json, f"This box is the hub {told['hub_id']}.")


@first_boot.command(cls=Example, example="medxz-hub first-boot apply")
@click.option("--group", default="medxz", help="The group that may read the code. [default: medxz]")
@root_option
@json_option
def apply(root: Path, group: str, as_json: bool) -> None:
    """Put into effect for this start what the card's file says; as root, before the network.

    Ends with status 0 though the file has mistakes: the rest of it counts, and they are told on the card.
    """
    from hub.boot.applying import apply_card, group_id
    from hub.boot.places import BootPlaces
    from hub.boot.reporting import of_the_card

    places = BootPlaces(root)
    applied = apply_card(places, group=group_id(group))
    tell(applied.found.model_dump(mode="json"), as_json, "\n".join(of_the_card(applied.found)))


@first_boot.command(cls=Example, example="medxz-hub first-boot report --screen")
@click.option("--screen/--no-screen", default=False, help="Show it on the box's screen too.")
@root_option
@json_option
def report(root: Path, screen: bool, as_json: bool) -> None:
    """Write how the first start is onto the card, as medxz-hub-report.txt; as root."""
    from hub.boot.applying import write_reports
    from hub.boot.places import BootPlaces

    text, written = write_reports(BootPlaces(root), screen=screen)
    tell({"report": text, "written": written}, as_json, text.rstrip())


@first_boot.command(cls=Example, example="medxz-hub first-boot done")
@root_option
@json_option
def done(root: Path, as_json: bool) -> None:
    """Take the used code out of the card's file, now that the box is claimed; as root."""
    from hub.boot.applying import forget_code
    from hub.boot.places import BootPlaces

    removed = forget_code(BootPlaces(root))
    tell(
        {"removed": removed}, as_json, "The code was taken out." if removed else "There was none to take out."
    )


@first_boot.command(cls=Example, example="medxz-hub first-boot check medxz-hub.toml --json")
@click.argument("file", type=PATH)
@json_option
@click.pass_context
def check(context: click.Context, file: Path, as_json: bool) -> None:
    """Say what is wrong in a file for the card, line by line; nothing is changed.

    Ends with status 1 where something is.
    """
    from hub.boot.file import FILE_BYTES_MAX, check_bytes

    with file.open("rb") as stream:
        checked = check_bytes(stream.read(FILE_BYTES_MAX + 1), file.absolute().parent)
    problems = [{"line": one.line, "message": one.message} for one in checked.problems]
    answer: dict[str, Any] = {"ok": not problems, "problems": problems}
    lines = [str(one) for one in checked.problems] or ["All of it can be used."]
    tell(answer, as_json, "\n".join(lines))
    context.exit(FAILED if problems else DONE)


@first_boot.command(cls=Example, example="medxz-hub first-boot template > medxz-hub.toml")
@json_option
def template(as_json: bool) -> None:
    """The file for the card, with every setting in it as a comment."""
    from importlib.resources import files

    text = (files("hub.boot") / "medxz-hub.toml").read_text("utf-8")
    tell({"template": text}, as_json, text.rstrip())
