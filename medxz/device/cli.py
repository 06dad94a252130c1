"""`medxz`: a device on the command line. Status 0 done, 1 failed, 2 wrong usage, 3 needs the cloud.

Whatever fails is told on stderr in a line and a hint, with `--json` as one object; never as a stack trace. A payload
is shown where ops are asked for, and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medxz.commandline import DONE, FAILED, NEEDS_THE_CLOUD, WRONG_USAGE, Example, Examples, Uuid
from medxz.device.commanding import PATH, common, compact_json, read_text, tell_result, with_device
from medxz.device.discovery_commands import DISCOVERY_COMMANDS
from medxz.device.entity_commands import ENTITY_COMMANDS
from medxz.device.lock_commands import LOCK_COMMANDS
from medxz.device.session_commands import SESSION_COMMANDS
from medxz.errors import (
    ConfigurationError,
    DeviceLocked,
    LoginNeeded,
    MedxzError,
    OpInvalid,
    PayloadInvalid,
    PeerRefused,
    PeerUnreachable,
    RoleForbids,
    UnlockRefused,
)

if TYPE_CHECKING:
    from medxz.device.device import Device

LOG_LIMIT: Final = 100
LOG_LIMIT_MAX: Final = 10_000
OPS: Final = ("create", "update", "amend", "retract")

_HINTS: Final = {
    401: "log in: `medxz login --store DIR --email E --password-file F`; without a cloud, give a token by `medxz init`",
    403: "this device or its user may not do that there; ask the clinic's admin",
    404: "is the address of the server right? see `medxz status`",
    429: "wait a moment, then try again",
    503: "the server is busy: wait a moment, then try again",
    507: "the server's disk is full; what was recorded is kept here",
}
_HINTS_BY_CODE: Final = {
    "session_revoked": "a server has ended this session: log in again; what is recorded meanwhile is kept here",
    "credentials_invalid": "is the email right, and the password? an administrator can set a new one",
    "totp_required": "give the six digits of the authenticator app: --totp N",
    "code_invalid": "a code works once and not for long: ask the clinic's admin for a new one",
    "cloud_required": "the hub can't reach its cloud: try again later; what is recorded meanwhile is kept here",
}


@click.group(
    cls=Examples,
    example="medxz sync --store tablet",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="medxz-hub", prog_name="medxz")
def cli() -> None:
    """A clinician's device: records at once, and comes into step when it can."""


@cli.command(
    cls=Example, example="medxz init --store tablet --server https://medxz.local:8443 --token @token.txt"
)
@common
@click.option("--server", required=True, help="The server's address: https://host:port.")
@click.option("--token", required=True, help="The access token, or @FILE.")
@click.option("--name", default="device", show_default=True, help="What this device is called.")
@click.option(
    "--ca",
    type=PATH,
    help="The PEM file of the CA that the server's certificate is of; it must name the token's server.",
)
def init(
    store: Path, key_file: Path | None, as_json: bool, *, server: str, token: str, name: str, ca: Path | None
) -> None:
    """Make a device's store, or give a new token to the one that is there.

    The store is encrypted with the key in DIR.key, which is made where there is none.
    """
    from medxz.device.device import Device
    from medxz.device.keyfile import key_file_of, read_or_make_key
    from medxz.device.reach import trusting
    from medxz.device.token import read_claims, server_address

    ca_pem = read_text(ca) if ca is not None else None
    token = read_text(Path(token[1:])).strip() if token.startswith("@") else token
    claims = read_claims(token)
    server_address(server)
    if ca_pem is not None:
        trusting(ca_pem, claims)
    key = read_or_make_key(store, key_file)  # now that nothing else is wrong
    device = Device.create(store, key=key, server=server, token=token, name=name, ca_pem=ca_pem)
    try:
        status = asyncio.run(device.status())
    finally:
        device.close()
    answer = {"clinic_id": status.clinic_id, "device_id": status.device_id, "user_id": status.user_id}
    tell_result(
        as_json, answer | {"target": status.target},
        f"{store} is device {status.device_id}; its key is {key_file_of(store, key_file)}: keep a copy elsewhere.",
    )  # fmt: skip


@cli.command(
    cls=Example,
    example="""medxz record --store tablet --type Patient --op create --payload '{"active":true}'""",
)
@common
@click.option("--type", "entity_type", required=True, help="The FHIR resource type, such as Observation.")
@click.option("--id", "entity_id", type=Uuid(), help="The entity. [default, for a create: a new one]")
@click.option("--op", type=click.Choice(OPS), required=True, help="What kind of change it is.")
@click.option("--payload", required=True, help="The change as JSON, kept byte for byte, or @FILE.")
@click.option("--user", type=Uuid(), help="The author. [default: who is logged in]")
def record(
    store: Path, key_file: Path | None, as_json: bool, *, entity_type: str, entity_id: str | None, op: str,
    payload: str, user: str | None,
) -> None:  # fmt: skip
    """Record one change. It is durable here when this ends; `medxz sync` carries it on."""
    text = (
        compact_json(Path(payload[1:]))
        if payload.startswith("@")
        else payload.encode(errors="surrogateescape")
    )

    async def work(device: Device) -> None:
        done = await device.record(entity_type, text, entity_id=entity_id, op=op, user_id=user)
        answer = {"op_id": done.op_id, "entity_id": done.entity_id, "device_seq": done.device_seq}
        tell_result(as_json, answer, f"recorded {done.op_id} of {entity_type}/{done.entity_id}")

    with_device(store, key_file, work)


@cli.command(cls=Example, example="medxz log --store tablet --limit 20 --after 120")
@common
@click.option(
    "--limit",
    type=click.IntRange(1, LOG_LIMIT_MAX),
    default=LOG_LIMIT,
    show_default=True,
    help="So many at most.",
)
@click.option("--after", type=click.IntRange(min=0), default=0, help="Go on after this position.")
def log(store: Path, key_file: Path | None, as_json: bool, limit: int, after: int) -> None:
    """Show the ops that are here, in the order in which they came, payloads included."""
    from medxz.device import show

    async def work(device: Device) -> None:
        levels = await device.levels()
        page = [held async for held in device.ops(after=after, limit=limit + 1)]
        page, more = page[:limit], len(page) > limit
        if as_json:
            ops = [show.op_members(held, levels, payload=True) for held in page]
            show.json_line({"ops": ops, "next_cursor": str(page[-1].position) if more else None})
            return
        for held in page:
            click.echo(show.op_line(held, levels, payload=True))
        if more:
            click.echo(f"there is more: --after {page[-1].position}", err=True)

    with_device(store, key_file, work, only_reads=True)


@cli.command(cls=Example, example="medxz sync --store tablet")
@common
def sync(store: Path, key_file: Path | None, as_json: bool) -> None:
    """Push what is new here, pull what is new there."""
    from medxz.device import show

    async def work(device: Device) -> None:
        with show.progress_shown(quiet=as_json) as progress:
            report = await device.sync(progress=progress)
        tell_result(as_json, show.sync_members(report), "\n".join(show.sync_lines(report)))

    with_device(store, key_file, work)


@cli.command(cls=Example, example="medxz watch --store tablet --json")
@common
@click.option("--payload", is_flag=True, help="Show the payloads too.")
def watch(store: Path, key_file: Path | None, as_json: bool, payload: bool) -> None:
    """Stay in step and show ops as they arrive, until interrupted.

    With --json, each is an object on a line, with "event": "op"; "live" and "offline" tell of the connection.
    """
    from medxz.device import show

    async def work(device: Device) -> None:
        async for held in device.watch(
            tell=lambda standing, why: show.standing(device.at, standing, why, as_json)
        ):
            if as_json:
                show.json_line({"event": "op"} | show.op_members(held, None, payload=payload))
            else:
                click.echo(show.op_line(held, None, payload=payload))

    with_device(store, key_file, work, until_interrupted=True)


@cli.command(cls=Example, example="medxz status --store tablet --watch")
@common
@click.option(
    "--watch", "is_live", is_flag=True, help="Stay in step, and show each change until interrupted."
)
def status(store: Path, key_file: Path | None, as_json: bool, is_live: bool) -> None:
    """Show how safe this device's ops are, each at the safest place that it has reached, and which servers there are.

    With --watch and --json, each change is an object on a line, with "event": "status".
    """
    from medxz.device import show

    async def work(device: Device) -> None:
        if is_live:
            from medxz.device.live_status import show_live

            await show_live(device, as_json=as_json)
            return
        standing, parked = await device.status(), await device.parked()
        text = "\n".join(show.status_lines(standing, parked))
        tell_result(as_json, show.status_members(standing, parked), text)

    with_device(store, key_file, work, only_reads=True, until_interrupted=is_live)


for _command in (*SESSION_COMMANDS, *LOCK_COMMANDS, *DISCOVERY_COMMANDS, *ENTITY_COMMANDS):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and ends with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(outcome(arguments, as_json="--json" in arguments))


def outcome(arguments: list[str], *, as_json: bool) -> int:
    """Run it; tell what fails."""
    try:
        result = cli.main(arguments, prog_name="medxz", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _complain(as_json, "interrupted", "interrupted", "", FAILED)
    except click.UsageError as error:
        return _wrong_usage(as_json, error)
    except MedxzError as error:
        problems = error.problems if isinstance(error, PayloadInvalid) else ()
        return _complain(as_json, *_described(error), problems=problems)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us went away: there is nobody to tell
        return FAILED
    except OSError as error:
        about = f"{error.filename or 'medxz'}: {error.strerror or error}"
        return _complain(as_json, "failed", about, "", FAILED)
    except Exception as error:  # noqa: BLE001  the root of the program: no stack trace in a clinician's face
        return _complain(
            as_json, "internal", f"a mistake of ours: {type(error).__name__}", "please report it", FAILED
        )
    return result if isinstance(result, int) else DONE


def _complain(
    as_json: bool,
    code: str,
    message: str,
    hint: str,
    status: int,
    *,
    problems: Sequence[tuple[str, str]] = (),
) -> int:
    """What failed and what to do, on stderr; with --json, what is wrong with a payload also path by path."""
    if as_json:
        more = {"problems": [{"path": path, "message": what} for path, what in problems]} if problems else {}
        click.echo(json.dumps({"code": code, "message": message, "hint": hint} | more), err=True)
    else:
        click.echo(f"medxz: {message}" + (f"\nhint: {hint}" if hint else ""), err=True)
    return status


def _wrong_usage(as_json: bool, error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return WRONG_USAGE
    hint = f"{error.ctx.command_path} --help" if error.ctx is not None else "medxz --help"
    return _complain(as_json, "usage", error.format_message(), hint, WRONG_USAGE)


def _described(error: MedxzError) -> tuple[str, str, str, int]:
    match error:
        case ConfigurationError():
            return "configuration", "; ".join(error.problems), error.hint, WRONG_USAGE
        case OpInvalid():
            return "invalid", str(error), error.hint, WRONG_USAGE
        case PeerRefused():
            hint = error.hint or _HINTS_BY_CODE.get(error.code) or _HINTS.get(error.status, "")
            return error.code, str(error), hint, NEEDS_THE_CLOUD if error.code == "cloud_required" else FAILED
        case DeviceLocked() | UnlockRefused() | RoleForbids():
            return error.code, str(error), error.hint, FAILED
        case LoginNeeded():
            return "login_needed", str(error), error.hint, FAILED
        case PeerUnreachable():
            return (
                "unreachable",
                str(error),
                error.hint or "what was recorded is kept here; try again later",
                FAILED,
            )
        case _:
            return "failed", str(error), error.hint, FAILED
