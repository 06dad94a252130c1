"""Enrolling at a hub that is found: a code alone, and a QR whose address has changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from medxz.device.discovery import invited
from medxz.device.discovery.invited import met
from medxz.device.invitation import Invitation, Shown, read_invitation
from medxz.errors import ConfigurationError, PeerUnreachable
from medxz.trust.certificates import Credential, begun_server, ca_fingerprint, finished, key_text
from medxz.work import ThreadWorker
from tests.unit.device.discovery.places import (
    CA,
    FINGERPRINT,
    HUB,
    NOW_MS,
    OTHER_HUB,
    THEIR_CA,
    Ears,
    credential,
    place,
)

GONE = "https://127.0.0.1:1"
ALONE = Invitation("CODE", "", None)
QR = Invitation("CODE", GONE, FINGERPRINT)
THEIRS = ca_fingerprint(THEIR_CA.certificate)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who is not here yet will come."""
    monkeypatch.setattr(invited, "HEARING_S", 0.5)


async def both(invitation: Invitation, ears: Ears | None) -> tuple[Invitation, Shown]:
    worker = ThreadWorker("test")
    try:
        return await met(invitation, worker, None if ears is None else lambda: ears)
    finally:
        worker.close()


async def meet(invitation: Invitation, ears: Ears | None) -> str:
    return (await both(invitation, ears))[0].server_url


def test_a_code_may_come_alone() -> None:
    """Where the LAN is heard it needs no server; elsewhere it is asked for."""
    assert read_invitation("CODE", None, None, may_hear=True).server_url == ""
    with pytest.raises(ConfigurationError, match="--server"):
        read_invitation("CODE", None, None)


@pytest.mark.parametrize(
    "text",
    [
        "https://[/#c=A", "://[", "https://\x7fa:1/#c=A", "https://1.2.3.999/#c=A", "https://٣.local/#c=A",
        "https://a\\b/#c=A", "https://[fe80::1]z1/#c=A", "https://a/\x01#c=A", "https://a" + ".b" * 200 + "/#c=A", "https://a/#" + "c=A&" * 99,
    ],
)  # fmt: skip
def test_a_text_that_leads_nowhere(text: str) -> None:
    """A QR may say anything; an address that no client can ask is told, and not tried."""
    with pytest.raises(ConfigurationError):
        read_invitation(text, None, None)


async def test_the_address_that_was_given() -> None:
    """While it answers, nobody is listened to."""
    async with place() as hub, place(OTHER_HUB) as other:
        assert await meet(replace(QR, server_url=hub.url), Ears(other.announcing(OTHER_HUB))) == hub.url


async def test_the_only_hub_here() -> None:
    """A code alone goes to the one hub that announces itself; what it shows is there to be compared."""
    async with place() as hub:
        found, shown = await both(ALONE, Ears(hub.announcing()))
        assert (found.server_url, found.fingerprint, shown.is_hub) == (hub.url, None, True)
        assert ca_fingerprint(shown.chain[-1]) == FINGERPRINT
        assert hub.asked == []


@pytest.mark.usefixtures("soon")
async def test_who_announces_itself_and_is_no_hub() -> None:
    """Whoever has a certificate that the whole world trusts is not sent a code that nobody has compared."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = [x509.IPAddress(ip_address("127.0.0.1"))]
    pem = finished(begun_server(CA.certificate, HUB, key.public_key(), NOW_MS, named), CA.key_pem)
    async with place(shown=Credential(pem, key_text(key))) as other:
        with pytest.raises(PeerUnreachable, match="no hub was found"):
            await meet(ALONE, Ears(other.announcing()))
        assert other.asked == []


async def test_several_hubs_here() -> None:
    """A person says which; none is connected to. With a fingerprint it is any that proves itself by it."""
    async with place() as hub, place(OTHER_HUB, shown=credential(OTHER_HUB, THEIR_CA)) as other:
        ears = Ears(hub.announcing(), other.announcing(OTHER_HUB, THEIRS))
        with pytest.raises(ConfigurationError, match="--server") as several:
            await meet(ALONE, ears)
        assert hub.url in str(several.value)
        assert other.url in str(several.value)
        assert await meet(replace(ALONE, fingerprint=FINGERPRINT), ears) == hub.url
        assert await meet(replace(ALONE, fingerprint=THEIRS[:16]), ears) == other.url


async def test_a_qr_whose_address_is_silent() -> None:
    """The hub of its fingerprint is taken, past look-alikes that show another CA, or the right one beside their own."""
    theirs = credential(HUB, THEIR_CA)
    dressed_up = Credential(theirs.certificate_pem + CA.certificate_pem, theirs.key_pem)
    async with place(HUB, shown=theirs) as one, place(HUB, shown=dressed_up) as two, place() as hub:
        ears = Ears(one.announcing(), two.announcing(), hub.announcing())
        assert await meet(QR, ears) == hub.url
        assert await meet(replace(QR, fingerprint=FINGERPRINT[:16]), ears) == hub.url
        assert one.asked == two.asked == []


@pytest.mark.usefixtures("soon")
async def test_nobody_but_look_alikes() -> None:
    """Who can't prove himself is told nothing, also where there is nobody else."""
    async with place(HUB, shown=credential(HUB, THEIR_CA)) as other:
        with pytest.raises(PeerUnreachable, match=GONE):
            await meet(QR, Ears(other.announcing()))
        assert other.asked == []


async def test_the_hub_is_heard_after_others() -> None:
    """Whoever was heard first, the hub of that fingerprint is waited for."""
    async with place() as hub, place(HUB, shown=credential(HUB, THEIR_CA)) as other:
        ears = Ears(other.announcing(), other.announcing(OTHER_HUB, THEIRS))
        asyncio.get_running_loop().call_later(0.3, ears.say, hub.announcing())
        assert await meet(QR, ears) == hub.url


@pytest.mark.usefixtures("soon")
async def test_nobody_here() -> None:
    """Who is silent where nobody is heard, or nobody with that fingerprint, is told of by its address."""
    async with place() as hub:
        for invitation, ears in (
            (QR, None), (QR, Ears()), (replace(QR, fingerprint=THEIRS), Ears(hub.announcing())),
            (replace(QR, fingerprint=None), Ears(hub.announcing())),
        ):  # fmt: skip
            with pytest.raises(PeerUnreachable, match=GONE):
                await meet(invitation, ears)
        assert hub.asked == []
    with pytest.raises(PeerUnreachable, match="no hub was found") as nobody:
        await meet(ALONE, Ears())
    assert "--server" in nobody.value.hint
    async with place(plain=True) as plain:
        with pytest.raises(PeerUnreachable, match="no hub was found"):
            await meet(ALONE, Ears(plain.announcing()))
