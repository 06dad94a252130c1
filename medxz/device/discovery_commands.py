"""`medxz discover`: which hubs there are, and why each was taken or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medxz.commandline import DONE, FAILED, Example
from medxz.device.commanding import PATH, hearing, tell_result, with_device

if TYPE_CHECKING:
    from medxz.device.device import Device
    from medxz.device.discovery import Probed

WAIT_S: Final = 2.0
WAIT_S_MAX: Final = 60.0


@click.command(
    cls=Example,
    example="medxz discover --store tablet\nmedxz discover --store tablet --server https://hub.clinic.example:8443",
)
@click.option(
    "--store", type=PATH, envvar="MEDXZ_STORE", show_envvar=True,
    help="The device's directory. [default: none, and nobody is asked or trusted]",
)  # fmt: skip
@click.option("--key-file", type=PATH, help="The key of the store. [default: DIR.key]")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.option(
    "--server", "servers", multiple=True, help="An address to ask too; a hub that answers there is kept."
)
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, WAIT_S_MAX), default=WAIT_S, show_default=True, metavar="S",
    help="How many seconds to listen for hubs that announce themselves.",
)  # fmt: skip
def discover(
    store: Path | None, key_file: Path | None, as_json: bool, servers: tuple[str, ...], wait_s: float
) -> int:
    """List the hubs that this device remembers, that the clinic names and that announce themselves here.

    Each is asked who it is, and taken when its certificate is of the clinic's CA and names it. Status 0: one was taken;
    1: none. Without --store it lists what announces itself.
    """
    found: list[Probed] = []

    async def work(device: Device) -> None:
        found.extend(await device.discover(servers, wait_s=wait_s))

    if store is not None:
        with_device(store, key_file, work, only_reads=True)
    else:
        found.extend(asyncio.run(_without_a_store(servers, wait_s)))
    tell_result(as_json, {"found": [_members(probed) for probed in found]}, _text(found))
    return DONE if any(probed.taken for probed in found) else FAILED


async def _without_a_store(servers: Sequence[str], wait_s: float) -> list[Probed]:
    from medxz.device.discovery import Known, look
    from medxz.device.token import server_address

    known = Known(typed=[server_address(url) for url in servers])
    hear = hearing()
    if hear is None:
        return await look(known)
    async with hear() as browser:
        return await look(known, browser=browser, hearing_s=wait_s)


def _members(probed: Probed) -> dict[str, Any]:
    at = probed.candidate
    return {
        "server_id": probed.server_id or at.server_id, "kind": at.kind, "url": at.url, "source": at.source,
        "taken": probed.taken, "code": probed.code, "why": probed.why,
        "rtt_ms": None if probed.rtt_s is None else round(probed.rtt_s * 1_000, 1),
        "site_id": at.site_id, "host": at.host,
    }  # fmt: skip


_SOURCES: Final = {
    "last": "met before", "typed": "typed", "name": "by name", "config": "named by the clinic", "mdns": "announced",
}  # fmt: skip


def _text(found: Sequence[Probed]) -> str:
    if not found:
        return "nobody was found: is the hub on, and on this network? mDNS crosses no router: --server URL"
    lines = []
    for probed in found:
        at = probed.candidate
        who = probed.server_id or at.server_id or "somebody"
        took = "" if probed.rtt_s is None else f", {probed.rtt_s * 1_000:.0f} ms"
        host = f" ({at.host})" if at.host else ""
        lines.append(f"{_word(probed):7}  {at.url}{host}  {at.kind} {who}")
        lines.append(f"         {_SOURCES[at.source]}{took}; {probed.code}: {probed.why}")
    return "\n".join(lines)


def _word(probed: Probed) -> str:
    """Without a clinic nobody can be refused."""
    return "taken" if probed.taken else "found" if probed.code == "no_ca" else "refused"


DISCOVERY_COMMANDS: Final = (discover,)
