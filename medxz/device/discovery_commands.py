"""`medxz discover`: which hubs there are, and why each was taken or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medxz.commandline import DONE, FAILED, Example
from medxz.device.commanding import PATH, hearing, tell_result, with_device

if TYPE_CHECKING:
    from medxz.device.device import Device
    from medxz.device.discovery import Probed
    from medxz.device.discovery.calls import Discovered

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
    is_taken = False

    def tell(discovered: Discovered) -> None:
        nonlocal is_taken
        is_taken = any(probed.taken for probed in discovered.found)
        answer = {"found": [_members(probed) for probed in discovered.found], "deaf": discovered.deaf}
        tell_result(as_json, answer, "\n".join(_lines(discovered)))

    async def work(device: Device) -> None:
        tell(await device.discover(servers, wait_s=wait_s))

    if store is not None:
        with_device(store, key_file, work, only_reads=True)
    else:
        tell(asyncio.run(_without_a_store(servers, wait_s)))
    return DONE if is_taken else FAILED


async def _without_a_store(servers: Sequence[str], wait_s: float) -> Discovered:
    from medxz.device.discovery import Known, look
    from medxz.device.discovery.calls import NOT_HEARD, Discovered
    from medxz.device.token import server_address

    known = Known(typed=[server_address(url) for url in servers])
    hear = hearing()
    if hear is None:
        return Discovered(await look(known), NOT_HEARD)
    async with hear() as browser:
        return Discovered(await look(known, browser=browser, hearing_s=wait_s), browser.problem)


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


def _lines(discovered: Discovered) -> Iterator[str]:
    for probed in discovered.found:
        at = probed.candidate
        who = probed.server_id or at.server_id or "somebody"
        took = "" if probed.rtt_s is None else f", {probed.rtt_s * 1_000:.0f} ms"
        host = f" ({at.host})" if at.host else ""
        yield f"{_word(probed):7}  {at.url}{host}  {at.kind} {who}"
        yield f"         {_SOURCES[at.source]}{took}; {probed.code}: {probed.why}"
    if discovered.deaf is not None:
        yield f"nobody could be heard on this network: {discovered.deaf}"
    elif not discovered.found:
        yield "nobody was found: is the hub on, and on this network?"
    if not discovered.found:
        yield "mDNS crosses no router: where the hub is on another network, give its address (--server URL)"


def _word(probed: Probed) -> str:
    return {"taken": "taken", "no_ca": "found", "no_answer": "silent"}.get(probed.code, "refused")


DISCOVERY_COMMANDS: Final = (discover,)
