"""`medxz-cloud`: what an operator types. How a command ends: medxz/program/outcome.py.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from cloud.commands.audit import audit
from cloud.commands.clinic import clinic, founding, site
from cloud.commands.courier import give, take
from cloud.commands.device import code, device, hub
from cloud.commands.health import health
from cloud.commands.key import ca, key
from cloud.commands.operator import operator
from cloud.commands.release import release
from cloud.commands.rollout import ring, rollout
from cloud.commands.session import session
from cloud.commands.user import user
from cloud.options import PATH, At, at_cloud
from medxz.commandline import Example, Examples
from medxz.program.outcome import outcome
from medxz.program.passwords import read_password

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    cls=Examples,
    example="medxz-cloud run --data /var/lib/medxz-cloud",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="medxz-hub", prog_name="medxz-cloud")
def cli() -> None:
    """The cloud: the relay across the sites of clinics, and the authority on who may write where."""


@cli.command(
    cls=Example,
    example="medxz-cloud init --data /var/lib/medxz-cloud --clinic Riverside --site North --site South \\\n"
    "  --admin-email ada@clinic.example --admin-password-file -",
)
@at_cloud
@click.option("--clinic", "name", required=True, help="The name of the first clinic.")
@founding
def init(
    at: At,
    *,
    name: str,
    sites: tuple[str, ...],
    admin_email: str,
    admin_name: str,
    admin_password_file: str,
) -> None:
    """Make a cloud with one clinic.

    It is encrypted with the key in DIR.key, which is made where there is none. Keep a copy of it away from this
    machine: without it nobody can read the cloud.
    """
    import asyncio

    from cloud.office import Founding, make_cloud

    password = read_password(admin_password_file)
    settings = at.settings()
    answer = asyncio.run(
        make_cloud(settings, os.environ, Founding(name, sites, admin_email, admin_name, password))
    )
    place, key_file = settings.places.data, settings.places.key_file
    at.tell(answer, f"A cloud was made in {place}; its key is {key_file}: keep a copy elsewhere.")


@cli.command(
    cls=Example,
    example="medxz-cloud run --data /var/lib/medxz-cloud --public-url https://cloud.example\n"
    "medxz-cloud run --data /tmp/cloud --port 0 --plain-http --json",
)
@click.option("--data", type=PATH, help="The cloud's directory.  [env var: MEDXZ_CLOUD_DATA]")
@click.option("--config", type=PATH, help="The settings' file. [default: DIR/cloud.toml]")
@click.option("--host", help="Address to serve on. [default: every interface; loopback with --plain-http]")
@click.option("--port", type=int, help="Port to serve on; 0: a free one. [default: 8443]")
@click.option("--plain-http/--no-plain-http", default=None, help="Serve without TLS, on loopback alone.")
@click.option("--key-file", type=PATH, help="The key of the cloud. [default: DIR.key]")
@click.option(
    "--tls-cert", type=PATH, help="A PEM chain to serve with. [default: one by the cloud's own root]"
)
@click.option("--tls-key", type=PATH, help="The PEM key of --tls-cert.")
@click.option("--database", help="A PostgreSQL, as postgresql://…; several relays may serve one.")
@click.option("--database-connections", type=int, help="Connections to it at most. [default: 16]")
@click.option("--public-url", help="Where devices and hubs find the cloud. [default: where it serves]")
@click.option("--cors-origin", "cors_origins", multiple=True, help="An origin whose pages may ask; several.")
@click.option("--clinics-open", type=int, help="Clinics that are open at a time at most.")
@click.option("--connections", type=int, help="Connections of devices and hubs at most.")
@click.option("--streams", type=int, help="How many of them may be streams.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.option("--requests-per-s", type=int, help="Requests a second of one device.")
@click.option("--ops-per-s", type=int, help="Ops a second that one device may push.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object.")
def run(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Serve until SIGTERM or SIGINT.

    Every flag can stand in DIR/cloud.toml, in the environment (MEDXZ_CLOUD_…) and in systemd credentials too:
    docs/configuration.md. Logs go to stderr. With --json, one line on stdout tells when and where it serves.
    """
    from medxz.program.memory import start_lightly

    start_lightly()
    from cloud.config import load_settings

    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    settings = load_settings(given, os.environ, config)
    from cloud.app import run_cloud

    run_cloud(settings, announce_json=as_json)


for command in (
    code, user, session, site, device, hub, clinic, key, ca, audit, health, release, take, give, operator, ring, rollout,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and ends with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(outcome(cli, "medxz-cloud", arguments, as_json="--json" in arguments))
