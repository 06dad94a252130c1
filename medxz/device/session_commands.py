"""`medxz enroll`, `login`, `logout`: who this device is, and who uses it.

A password comes from a file or the standard input, never as an argument, which everybody on the machine could read.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medxz.commandline import Example
from medxz.device.commanding import PATH, common, hearing, read_text, tell_result, with_device

if TYPE_CHECKING:
    from medxz.device.device import Device

PASSWORD_BYTES_MAX: Final = 4_096


@click.command(
    cls=Example,
    example="""medxz enroll --store tablet --code 'https://medxz.local:8443/#c=7KQ2M9XF&fp=9f2c…'
medxz enroll --store tablet --code 7KQ2M9XF --server https://cloud.example""",
)
@common
@click.option("--code", required=True, help="The pairing code, or the whole text of its QR.")
@click.option(
    "--server",
    help="The server's address, https://host:port. [default: the QR's, or the only hub on this LAN]",
)
@click.option(
    "--fp",
    help="The fingerprint of the clinic's CA, which a hub must show, or the 16 characters by the code. [default: the QR's]",
)
@click.option("--ca", type=PATH, help="A PEM file: the server's certificate must be of this CA.")
@click.option("--name", default="device", show_default=True, help="What this device is called.")
def enroll(
    store: Path, key_file: Path | None, as_json: bool, *, code: str, server: str | None, fp: str | None,
    ca: Path | None, name: str,
) -> None:  # fmt: skip
    """Become a device of the clinic, by a pairing code.

    A code that was typed in goes to a hub once you have compared 16 characters with those that stand by the code.

    The store is encrypted with the key in DIR.key, which is made where there is none. Interrupted, the same command
    may be given again with the same code.
    """
    from medxz.device.device import Device, Machine
    from medxz.device.invitation import read_invitation
    from medxz.device.keyfile import key_file_of, read_or_make_key

    ca_pem = read_text(ca) if ca is not None else None
    may_ask = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    machine = Machine(hear=hearing())
    read_invitation(code, server, fp, may_hear=machine.hear is not None)
    key = read_or_make_key(store, key_file)  # now that nothing else is wrong

    async def run() -> None:
        device = await Device.enrol(
            store, key=key, code=code, server=server, fingerprint=fp, name=name, ca_pem=ca_pem,
            compare=_compare if may_ask else None, machine=machine,
        )  # fmt: skip
        async with device:
            status = await device.status()
        answer = {
            "device_id": status.device_id, "clinic_id": status.clinic_id, "site_id": status.site_id,
            "target": status.target,
        }  # fmt: skip
        tell_result(
            as_json, answer,
            f"{store} is device {status.device_id}; its key is {key_file_of(store, key_file)}: keep a copy elsewhere."
            f"\nNow log in: medxz login --store {store} --email E --password-file F",
        )  # fmt: skip

    asyncio.run(run())


@click.command(
    cls=Example, example="medxz login --store tablet --email nora@clinic.example --password-file -"
)
@common
@click.option("--email", required=True, help="Who logs in.")
@click.option(
    "--password-file",
    required=True,
    help="A file with the password on its first line; -: the standard input.",
)
@click.option("--totp", metavar="N", help="The six digits of the authenticator app, where it is used.")
def login(
    store: Path, key_file: Path | None, as_json: bool, *, email: str, password_file: str, totp: str | None
) -> None:
    """Log in on this device: what is recorded from now on is this user's, and `medxz sync` goes by this session."""
    password = read_password(password_file)
    if totp is not None and not (len(totp) == 6 and totp.isascii() and totp.isdigit()):
        raise click.BadParameter("six digits are wanted", param_hint="--totp")

    async def work(device: Device) -> None:
        who = await device.login(email, password, totp)
        answer = {
            "user_id": who.user_id, "name": who.name, "email": who.email, "clinic_id": who.clinic_id,
            "clinic": who.clinic_name, "roles": list(who.roles),
        }  # fmt: skip
        name = who.name or who.email
        tell_result(as_json, answer, f"{name} ({', '.join(who.roles)}) is logged in at {who.clinic_name}")

    with_device(store, key_file, work)


@click.command(cls=Example, example="medxz logout --store tablet")
@common
def logout(store: Path, key_file: Path | None, as_json: bool) -> None:
    """End the session on this device. What was recorded stays; the next who logs in carries it on."""

    async def work(device: Device) -> None:
        told = await device.logout()
        later = "" if told else "; the server could not be told: there it ends when it is not used"
        tell_result(as_json, {"logged_out": True, "server_told": told}, f"logged out{later}")

    with_device(store, key_file, work)


async def _compare(characters: str) -> bool:
    """There is nothing else to be done meanwhile: the code waits for the answer."""
    click.echo(f"the hub shows a CA whose fingerprint begins with\n\n    {characters}\n", err=True)
    return click.confirm("do the same 16 characters stand by the code?", default=False, err=True)


def read_password(file: str) -> str:
    """The first line of it."""
    try:
        raw = sys.stdin.buffer.readline(PASSWORD_BYTES_MAX) if file == "-" else _first_line(Path(file))
        password = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.BadParameter("the password is not UTF-8", param_hint="--password-file") from None
    if not password:
        raise click.BadParameter(f"{file} has no password on its first line", param_hint="--password-file")
    return password


def _first_line(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.readline(PASSWORD_BYTES_MAX)


SESSION_COMMANDS: Final = (enroll, login, logout)
