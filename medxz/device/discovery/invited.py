"""The server that an invitation means: at its address; or, where that is silent or missing, announced on the LAN.

Whose CA is known by its fingerprint is taken only when it proves itself by that CA. A code that was typed alone goes to
the only hub that announces itself here: where there are several, a person says which. Nobody is sent the code here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from medxz.device.discovery.candidates import Candidate, Known, announced
from medxz.device.discovery.looking import DEADLINE_S
from medxz.device.discovery.probe import probe
from medxz.device.invitation import CONNECT_TIMEOUT_S, Invitation, Shown, look_at
from medxz.errors import ConfigurationError, PeerUnreachable, PeerUntrusted

if TYPE_CHECKING:
    from medxz.device.discovery.looking import Hear, Heard
    from medxz.work import Worker

HEARING_S: Final = 6.0
"""How long is listened for a hub when nobody is met otherwise."""
FIRST_LOOK_S: Final = 4.0
"""How long the address of an invitation may keep silent while there is somebody else to listen to."""


async def met(invitation: Invitation, worker: Worker, hear: Hear | None) -> tuple[Invitation, Shown]:
    """The invitation with the address that is meant, and what is shown there. PeerUnreachable where nobody is met."""
    if not invitation.server_url:
        return await _heard(invitation, worker, hear)
    is_known = invitation.fingerprint is not None and hear is not None
    patience_s = FIRST_LOOK_S if is_known else CONNECT_TIMEOUT_S
    try:
        return invitation, await worker.run(look_at, invitation.server_url, patience_s)
    except PeerUntrusted:
        raise
    except PeerUnreachable as silent:
        if not is_known:
            raise
        try:
            return await _heard(invitation, worker, hear)
        except PeerUnreachable:
            raise silent from None  # the address is what a person knows of


async def _heard(invitation: Invitation, worker: Worker, hear: Hear | None) -> tuple[Invitation, Shown]:
    found = None
    if hear is not None:
        async with hear() as browser:
            if invitation.fingerprint is None:
                found = await _only(invitation, worker, browser)
            else:
                found = await _of_fingerprint(invitation, worker, browser)
    if found is not None:
        return found
    whose = " of that fingerprint" if invitation.fingerprint is not None else ""
    unheard = PeerUnreachable(f"no hub{whose} was found on this LAN")
    unheard.hint = "give its address (--server https://host:port); what announces itself crosses no router"
    raise unheard


async def _only(invitation: Invitation, worker: Worker, browser: Heard) -> tuple[Invitation, Shown] | None:
    """The one hub that is heard; ConfigurationError where there are several."""
    await browser.settle(HEARING_S)
    hubs = _announced(invitation, browser)
    if len({hub.server_id for hub in hubs}) > 1:
        listed = "; ".join(f"{hub.url} ({hub.host}, {hub.server_id})" for hub in hubs)
        raise ConfigurationError([f"several hubs are here, give the one that is meant (--server): {listed}"])
    return await _first_met(hubs, invitation, worker)


async def _of_fingerprint(
    invitation: Invitation, worker: Worker, browser: Heard
) -> tuple[Invitation, Shown] | None:
    """The first that proves itself, however many others are heard before."""
    tried: set[Candidate] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARING_S):
            while True:
                new = [hub for hub in _announced(invitation, browser) if hub not in tried]
                tried.update(new)
                found = await _first_met(new, invitation, worker)
                if found is not None:
                    return found
                await browser.next_change()
    return None


def _announced(invitation: Invitation, browser: Heard) -> list[Candidate]:
    """With TLS, and of that fingerprint where one is known."""
    hubs = [announced(announcement) for announcement in browser.found().values()]
    return [
        hub
        for hub in hubs
        if hub is not None
        and hub.url.startswith("https:")
        and (hub.fingerprint or "").startswith(invitation.fingerprint or "")
    ]


async def _first_met(
    hubs: Sequence[Candidate], invitation: Invitation, worker: Worker
) -> tuple[Invitation, Shown] | None:
    for hub in hubs:
        for url in hub.urls:
            shown = await _proven(replace(hub, url=url, others=()), invitation, worker)
            if shown is not None:
                return replace(invitation, server_url=url), shown
    return None


async def _proven(hub: Candidate, invitation: Invitation, worker: Worker) -> Shown | None:
    """What it shows; None where nobody answers, it is no hub, or not by the CA of that fingerprint."""
    try:
        shown = await worker.run(look_at, hub.url, FIRST_LOOK_S)
    except PeerUnreachable:
        return None
    if invitation.fingerprint is None:
        # who is heard and says to be no hub would be taken by what the system trusts, and nobody would be asked to compare
        return shown if shown.is_hub else None
    root = shown.root(invitation.fingerprint)
    if root is None:
        return None
    known = Known(hub_cas=root.public_bytes(Encoding.PEM).decode())
    return shown if (await probe(hub, known, deadline_s=DEADLINE_S)).taken else None
