"""`medxz-hub`: what an operator types. How a command ends: medxz/program/outcome.py.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hub.audit_command import audit
from hub.backup.command import backup
from hub.backup.restore_command import restore
from hub.boot.command import first_boot
from hub.courier.command import give as export
from hub.courier.command import take as import_
from hub.options import PATH, asked_or_opened, data_option, json_option, key_option, places_of, settings_for
from hub.people import device, pair, user
from hub.renewal import renew
from hub.update.command import update
from medxz.commandline import DONE, FAILED, Example, Examples, Uuid
from medxz.program.outcome import outcome, tell


@click.group(
    cls=Examples,
    example="medxz-hub status --data /var/lib/medxz",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="medxz-hub", prog_name="medxz-hub")
def cli() -> None:
    """The hub of a clinic's network: keeps its medical records in step."""


@cli.command(
    cls=Example, example="medxz-hub init --data /var/lib/medxz --clinic 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10"
)
@data_option
@click.option("--clinic", type=Uuid(), required=True, help="The clinic that the hub serves.")
@key_option
@json_option
def init(data: Path, clinic: str, key_file: Path | None, as_json: bool) -> None:
    """Make a hub by itself, before any cloud.

    The store is encrypted with the key in DIR.key, which is made where there is none. Keep a copy of it away from
    this machine: without it nobody can read the store.
    """
    import asyncio

    from hub.making import existing_key, make_hub
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    places = settings_for(data, key_file).places
    key = existing_key(places, dict(os.environ))
    made = asyncio.run(make_hub(places, clinic, SystemClock(), RandomIds(), key))
    tell(
        made,
        as_json,
        f"A hub was made in {places.data}; its key is {places.key_file}: keep a copy elsewhere.",
    )


@cli.command(
    cls=Example,
    example="medxz-hub claim --data /var/lib/medxz --cloud https://cloud.example --code 7KQM-2R9T --name 'Box in room 1'",
)
@data_option
@click.option("--cloud", "cloud_url", required=True, help="The cloud's address, https://host:port.")
@click.option("--code", required=True, help="A pairing code for a hub: `medxz-cloud code --for hub`.")
@click.option("--name", required=True, help="What people call this hub.")
@click.option("--cloud-ca", type=PATH, help="PEM of the cloud's CA. [default: the system's CAs]")
@key_option
@json_option
def claim(data: Path, key_file: Path | None, as_json: bool, cloud_ca: Path | None, **said: str) -> None:
    """Make this box a hub of a clinic, by a pairing code of the clinic's cloud.

    Makes the hub where there is none; one that began alone brings its people, devices and ops. Repeat it as often as
    it was interrupted. Ends with status 3 where the cloud can't be reached.
    """
    import asyncio

    from hub.claim import Order, claim_hub, read_ca
    from medxz.clock import SystemClock
    from medxz.ids import RandomIds

    order = Order(**said, cloud_ca=read_ca(cloud_ca) if cloud_ca is not None else None)
    places = settings_for(data, key_file).places
    told = asyncio.run(claim_hub(places, order, dict(os.environ), SystemClock(), RandomIds()))
    tell(
        told,
        as_json,
        f"This is hub {told['hub_id']} of clinic {told['clinic_id']} now; `medxz-hub run` serves it.",
    )


@cli.command(
    cls=Example,
    example="medxz-hub run --data /var/lib/medxz\nmedxz-hub run --data /tmp/hub --port 0 --plain-http --json",
)
@click.option("--data", type=PATH, help="The hub's directory.  [env var: MEDXZ_HUB_DATA]")
@click.option("--config", type=PATH, help="The settings' file. [default: DIR/hub.toml]")
@click.option("--host", help="Address to serve on. [default: every interface; loopback with --plain-http]")
@click.option("--port", type=int, help="Port to serve on; 0: a free one. [default: 8443]")
@click.option("--plain-http/--no-plain-http", default=None, help="Serve without TLS, on loopback alone.")
@click.option("--mdns/--no-mdns", default=None, help="Make the hub known on the LAN; without effect so far.")
@key_option
@click.option("--tls-cert", type=PATH, help="A PEM chain to serve with. [default: one by the hub's own CA]")
@click.option("--tls-key", type=PATH, help="The PEM key of --tls-cert.")
@click.option("--cors-origin", "cors_origins", multiple=True, help="An origin whose pages may ask; several.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.option("--keep-own-days", type=int, help="Days for which a device keeps its own ops in any case.")
@click.option(
    "--offline-session-hours", type=int, help="Hours for which a session goes on without the cloud."
)
@click.option(
    "--require-signed-ops/--no-require-signed-ops", default=None, help="Refuse ops without a signature."
)
@click.option("--requests-per-s", type=int, help="Requests a second of one device.")
@click.option("--ops-per-s", type=int, help="Ops a second that one device may push.")
@json_option
def run(config: Path | None, as_json: bool, **flags: object) -> None:
    """Serve until SIGTERM or SIGINT.

    Every flag can stand in DIR/hub.toml, in the environment (MEDXZ_HUB_…) and in systemd credentials too:
    docs/configuration.md. Logs go to stderr. With --json, one line on stdout tells when and where it serves.
    """
    from medxz.program.memory import start_lightly

    start_lightly()
    from hub.config import load_settings

    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    settings = load_settings(given, os.environ, config)
    from hub.app import run_hub

    run_hub(settings, announce_json=as_json)


@cli.command(
    cls=Example,
    example="medxz-hub token --data /tmp/hub --role clinician \\\n"
    "  --device 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10 --user 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a11",
)
@data_option
@click.option("--device", type=Uuid(), help="The device that will send it; none with --role hub.")
@click.option("--user", type=Uuid(), required=True, help="Whose token it is; the hub's id with --role hub.")
@click.option(
    "--role",
    type=click.Choice(["admin", "clinician", "front_desk", "hub"]),
    required=True,
    help="The one role that the user has from now on.",
)
@click.option("--ttl", type=int, help="Seconds for which it is good. [default: 900]")
@click.option(
    "--public-key", help="A key of the device (Ed25519, raw, base64url): its signatures are checked."
)
@click.option(
    "--scope", type=click.Choice(["full", "front_desk"]), help="What the device holds. [default: full]"
)
@key_option
@json_option
def token(data: Path, key_file: Path | None, as_json: bool, **wanted: object) -> None:
    """An access token of a hub that belongs to no cloud.

    Makes the user, with that role alone, and the device known to the hub, running or not.
    """
    arguments = {name: value for name, value in wanted.items() if value is not None}
    if arguments["role"] != "hub" and "device" not in arguments:
        raise click.UsageError("a device is needed: --device UUID")
    answer = asked_or_opened(data, key_file, "token", arguments)
    tell(answer, as_json, answer["access_token"])


@cli.command(
    cls=Example, example="curl --cacert <(medxz-hub ca --data /var/lib/medxz) https://localhost:8443/v1/info"
)
@data_option
@key_option
@json_option
def ca(data: Path, key_file: Path | None, as_json: bool) -> None:
    """The certificate of the hub's own CA, for clients that are to trust it."""
    answer = asked_or_opened(data, key_file, "ca", {})
    tell(answer, as_json, answer["ca_certificate"].rstrip())


@cli.command(cls=Example, example="medxz-hub status --data /var/lib/medxz --json")
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """What the running hub does, and how it is."""
    from hub import ask

    answer = ask.ask(places_of(data).socket, "status")
    lines = [
        f"{name:<21}{_in_words(value)}"
        for name, value in answer.items()
        if not isinstance(value, list | dict)
    ]
    lines += [
        f"{'  ok' if check['ok'] else '  BAD':<21}{check['name']}: {check['detail']}"
        for check in answer["checks"]
    ]
    tell(answer, as_json, "\n".join(lines))


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


@cli.command(cls=Example, example="medxz-hub doctor --data /var/lib/medxz")
@data_option
@key_option
@json_option
@click.pass_context
def doctor(context: click.Context, data: Path, key_file: Path | None, as_json: bool) -> None:
    """Look into everything that can be wrong with a hub, running or not, every row of its log included.

    Ends with status 1 when something is wrong; each such line says what to do.
    """
    from hub.doctor import examine
    from medxz.program.finding import lines_of

    findings = examine(data, key_file, os.environ, quiet=as_json)
    well = all(finding.ok for finding in findings)
    tell({"ok": well, "checks": [finding.told() for finding in findings]}, as_json, lines_of(findings))
    context.exit(DONE if well else FAILED)


for command in (pair, user, device, first_boot, backup, restore, renew, audit, update, export, import_):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and ends with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(outcome(cli, "medxz-hub", arguments, as_json="--json" in arguments))
