"""`medxz-cloud rollout …` and `ring …`: which hubs run what, and how another version comes to them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cloud.commands.device import Span
from cloud.options import At, at_cloud
from medxz.commandline import FAILED, Example, Examples, Uuid
from medxz.program.listing import table

if TYPE_CHECKING:
    from cloud.fleet.hubs import Hubs
    from cloud.fleet.rollout import Verb
    from cloud.fleet.rollouts import Releases, Rollouts
    from cloud.office import Office
    from medxz.wire import RolloutAnswer

T = TypeVar("T")

LOOK_EVERY_S: Final = 2.0  # a rollout is told when asked: it moves by what hubs report meanwhile
_STATES: Final = ("total", "waiting", "offered", "settling", "away", "done", "failed", "skipped")
_SETTINGS: Final = ("log_level", "requests_per_s", "ops_per_s")

which_option = click.option(
    "--rollout", "rollout_id", type=Uuid(), help="Which one. [default: the one begun last]"
)
watch_option = click.option(
    "--watch", is_flag=True, help="Stay until it is over or pauses; status 1 unless it is done."
)


@click.group(cls=Examples, example="medxz-cloud rollout status --data /var/lib/medxz-cloud --watch")
def rollout() -> None:
    """A release on its way to the hubs, ring by ring."""


@rollout.command(
    cls=Example,
    example="medxz-cloud rollout start --data /var/lib/medxz-cloud --version 0.2.0 --watch\n"
    "medxz-cloud rollout start --data DIR --version 0.2.0 --ring canary --ring all --serial 5 --max-failures 0",
)
@at_cloud
@click.option("--version", required=True, help="A version that was added: `medxz-cloud release add --hold`.")
@click.option("--ring", "rings", multiple=True, help="The rings in order. [default: canary, early, all]")
@click.option("--serial", help="So many hubs of a ring at a time: 5, or 25%. [default: 25%]")
@click.option(
    "--max-failures", help="More failed hubs of a ring than this pause it: 0, or 10%. [default: 10%]"
)
@click.option(
    "--wait-for-away", type=Span(), help="How long hubs that are away are waited for. [default: 1d]"
)
@click.option("--take-within", type=Span(), help="Who has not taken it by then has failed. [default: 12h]")
@click.option("--settle-within", type=Span(), help="Who runs it and is not well by then too. [default: 1h]")
@watch_option
@click.pass_context
def start(context: click.Context, /, at: At, *, watch: bool, rings: tuple[str, ...], **said: Any) -> None:
    """Begin to bring a version to the hubs.

    Each ring's hubs are offered it some at a time; the next follow when those run it, are well and have handed up what
    they had. Hubs take it when nobody is pushing there, so a ring takes hours. The running cloud brings it on.
    """
    request = _request(said, rings)
    told = at.run(lambda office: rollouts_of(at, office).begin(request))
    _show(context, at, told, watch=watch)


@rollout.command(cls=Example, example="medxz-cloud rollout status --data /var/lib/medxz-cloud --json")
@at_cloud
@which_option
@watch_option
@click.pass_context
def status(context: click.Context, /, at: At, rollout_id: str | None, watch: bool) -> None:
    """How far it is, ring by ring, and on which hubs it failed."""
    told = at.run(lambda office: _named(rollouts_of(at, office), rollout_id, None))
    _show(context, at, told, watch=watch)


@rollout.command(cls=Example, example="medxz-cloud rollout pause --data /var/lib/medxz-cloud")
@at_cloud
@which_option
@click.pass_context
def pause(context: click.Context, /, at: At, rollout_id: str | None) -> None:
    """No other hub begins; those that run it keep it."""
    _change(context, at, rollout_id, "pause")


@rollout.command(cls=Example, example="medxz-cloud rollout resume --data /var/lib/medxz-cloud")
@at_cloud
@which_option
@click.pass_context
def resume(context: click.Context, /, at: At, rollout_id: str | None) -> None:
    """Go on. What has failed so far is forgiven; those hubs stay with what they ran before."""
    _change(context, at, rollout_id, "resume")


@rollout.command(cls=Example, example="medxz-cloud rollout abort --data /var/lib/medxz-cloud")
@at_cloud
@which_option
@click.pass_context
def abort(context: click.Context, /, at: At, rollout_id: str | None) -> None:
    """End it. Rings get back the version that they had, and hubs that took this one go back to what they ran."""
    _change(context, at, rollout_id, "abort")


@click.group(cls=Examples, example="medxz-cloud ring list --data /var/lib/medxz-cloud")
def ring() -> None:
    """Rings of hubs: what each is to run."""


@ring.command("list", cls=Example, example="medxz-cloud ring list --data /var/lib/medxz-cloud --json")
@at_cloud
def list_rings(at: At) -> None:
    """Each ring, its version and settings, and how many hubs it has."""
    told = at.run(lambda office: hubs_of(at, office).rings()).model_dump()
    at.tell(
        told, table([row | row["settings"] for row in told["rings"]], "ring", "version", "hubs", *_SETTINGS)
    )


@ring.command(
    "set",
    cls=Example,
    example="medxz-cloud ring set canary --data /var/lib/medxz-cloud --setting log_level=debug\n"
    "medxz-cloud ring set all --data /var/lib/medxz-cloud --version 0.2.0",
)
@click.argument("name", metavar="RING")
@at_cloud
@click.option(
    "--version", help="What its hubs are to run, without a rollout; `newest`: whatever is the newest."
)
@click.option(
    "--setting", "settings", multiple=True, help="NAME=VALUE, of log_level, requests_per_s, ops_per_s."
)
@click.option("--no-settings", is_flag=True, help="None at all from here: each hub has its own.")
def set_ring(at: At, name: str, *, version: str | None, settings: tuple[str, ...], no_settings: bool) -> None:
    """What a ring's hubs are to run. --setting replaces all settings; they count from a hub's next start."""
    from medxz.wire import RING_PATTERN, RingRequest

    if re.fullmatch(RING_PATTERN, name) is None:
        raise click.UsageError("RING is a name in small letters, digits and -")
    body: dict[str, Any] = {} if version is None else {"version": None if version == "newest" else version}
    if settings or no_settings:
        body["settings"] = dict(map(_setting, settings))
    request = _read(RingRequest, body)
    told = at.run(lambda office: hubs_of(at, office).set_ring(name, request)).model_dump()
    at.tell(told, f"{name}: {told['version'] or 'the newest version'}, {told['hubs']} hubs")


def hubs_of(at: At, office: Office) -> Hubs:
    from cloud.fleet.hubs import Hubs

    return Hubs(office.store.authority, _releases(at))


def rollouts_of(at: At, office: Office) -> Rollouts:
    from cloud.fleet.rollouts import Rollouts

    return Rollouts(office.store.authority, _releases(at))


def _releases(at: At) -> Releases:
    from cloud.releases import Release, Shelf

    async def releases() -> list[Release]:
        return Shelf(at.settings().places.data).all()

    return releases


async def _named(
    rollouts: Rollouts,
    rollout_id: str | None,
    act: Callable[[str], Awaitable[RolloutAnswer]] | None,
) -> RolloutAnswer:
    from medxz.errors import NotFound

    found = rollout_id or await rollouts.newest()
    if found is None:
        raise NotFound("there was no rollout yet")
    return await (act or rollouts.get)(found)


def _change(context: click.Context, at: At, rollout_id: str | None, verb: Verb) -> None:
    async def act(office: Office) -> RolloutAnswer:
        rollouts = rollouts_of(at, office)
        return await _named(rollouts, rollout_id, lambda found: rollouts.change(found, verb))

    _show(context, at, at.run(act), watch=False)


def _show(context: click.Context, at: At, told: RolloutAnswer, *, watch: bool) -> None:
    if not watch:
        at.tell(told.model_dump(), _in_words(told))
        return
    before = None
    with _bars(told, quiet=at.as_json) as show:
        while True:
            show(told)
            if at.as_json and told != before:
                click.echo(json.dumps(told.model_dump()))
            if told.state != "running":
                break
            before = told
            time.sleep(LOOK_EVERY_S)
            rollout_id = told.rollout_id
            told = at.run(lambda office: rollouts_of(at, office).get(rollout_id))  # noqa: B023  run at once
    if not at.as_json:
        click.echo(_in_words(told))
    if told.state != "done":
        context.exit(FAILED)


@contextmanager
def _bars(told: RolloutAnswer, *, quiet: bool) -> Iterator[Callable[[RolloutAnswer], None]]:
    """A bar for each ring, on a terminal; nothing anywhere else."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _told: None
        return
    from rich.progress import Progress

    with Progress(console=console) as bars:
        tasks = {ring.ring: bars.add_task(ring.ring) for ring in told.progress}

        def show(told: RolloutAnswer) -> None:
            for ring in told.progress:
                hubs = ring.hubs
                over, failed = (
                    hubs.done + hubs.failed + hubs.skipped,
                    f", {hubs.failed} failed" if hubs.failed else "",
                )
                words = f"{ring.ring} {hubs.done}/{hubs.total}{failed}"
                bars.update(tasks[ring.ring], completed=over, total=hubs.total or 1, description=words)

        yield show


def _in_words(told: RolloutAnswer) -> str:
    why = f" ({told.why})" if told.why else ""
    rings = table([{"ring": ring.ring} | ring.hubs.model_dump() for ring in told.progress], "ring", *_STATES)
    failed = [f"failed: {hub.name} {hub.hub_id}, ring {hub.ring}: {hub.why}" for hub in told.failed]
    return "\n".join([f"{told.version} is {told.state}{why}: rollout {told.rollout_id}", rings, *failed])


def _request(said: dict[str, Any], rings: tuple[str, ...]) -> Any:
    from medxz.wire import RolloutRequest

    names = {
        "wait_for_away": "wait_for_away_s",
        "take_within": "take_within_s",
        "settle_within": "settle_within_s",
    }
    body = {names.get(name, name): value for name, value in said.items() if value is not None}
    for name in ("serial", "max_failures"):
        if str(body.get(name, "")).isdecimal():
            body[name] = int(body[name])
    return _read(RolloutRequest, body | ({"rings": rings} if rings else {}))


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, int(value) if value.isdecimal() else value


def _read(model: Callable[..., T], body: dict[str, Any]) -> T:
    """What was typed, as the message that it stands for; wrong usage where it is none."""
    from pydantic import ValidationError

    try:
        return model(**body)
    except ValidationError as error:
        [problem, *_] = error.errors()
        name = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
        raise click.UsageError(f"{name}: {problem['msg']}") from None
