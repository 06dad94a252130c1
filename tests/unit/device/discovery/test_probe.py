"""Who is taken and who is refused, by real TLS on loopback; what each verdict says."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from medxz.device.discovery.candidates import Candidate, Known
from medxz.device.discovery.probe import probe, refused_unasked
from medxz.device.discovery.verdicts import Probed
from medxz.lan.interfaces import running_interfaces
from medxz.trust import certificates
from tests.unit.device.discovery.places import (
    CA,
    CA_PEM,
    FINGERPRINT,
    HUB,
    KNOWN,
    NOW_MS,
    OTHER_HUB,
    THEIR_CA,
    credential,
    place,
)

YEARS_MS = 3 * 365 * 86_400_000


async def ask(candidate: Candidate, known: Known = KNOWN, deadline_s: float = 20) -> Probed:
    return await probe(candidate, known, deadline_s=deadline_s)


async def test_the_hub_that_is_expected() -> None:
    """A certificate of the clinic's CA that names the expected id, and an answer that says the same: taken."""
    async with place() as hub:
        probed = await ask(hub.expecting(HUB))
        assert (probed.taken, probed.code, probed.server_id) == (True, "taken", HUB)
        assert probed.rtt_s is not None
        assert 0 < probed.rtt_s < 20
        assert hub.asked == ["/v1/info"]


async def test_any_hub_of_the_clinic() -> None:
    """Where nobody in particular is expected, the id that is told must be the certificate's."""
    async with place(OTHER_HUB) as hub, place(HUB, shown=credential(OTHER_HUB)) as two_faced:
        assert (await ask(hub.expecting(None))).server_id == OTHER_HUB
        refused = await ask(two_faced.expecting(None))
        assert (refused.taken, refused.code) == (False, "wrong_id")


async def test_a_look_alike_gets_no_byte() -> None:
    """Who shows another CA's certificate for the right id is refused, and has read nothing."""
    async with place(HUB, shown=credential(HUB, THEIR_CA)) as look_alike:
        for expected in (HUB, None):
            probed = await ask(look_alike.expecting(expected))
            assert (probed.taken, probed.code, probed.server_id) == (False, "untrusted", None)
        assert look_alike.asked == []


async def test_another_hub_of_the_clinic() -> None:
    """Who has another id than the one that is expected there is refused before it is asked, or by what it says."""
    async with (
        place(HUB, shown=credential(OTHER_HUB)) as other,
        place(OTHER_HUB, shown=credential(HUB)) as says_so,
    ):
        assert (await ask(other.expecting(HUB))).code == "wrong_id"
        assert other.asked == []
        assert (await ask(says_so.expecting(HUB))).code == "wrong_id"


async def test_a_hubs_own_root_proves_that_hub_alone() -> None:
    """The CA of a hub that began alone is no proof of another hub."""
    own = certificates.make_root(OTHER_HUB, NOW_MS)
    known = Known(hub_cas=CA_PEM + own.certificate_pem.decode())
    async with (
        place(HUB, shown=credential(HUB, own)) as posing,
        place(OTHER_HUB, shown=credential(OTHER_HUB, own)) as hub,
    ):
        for expected in (HUB, None):
            assert (await ask(posing.expecting(expected), known)).code == "untrusted"
        assert posing.asked == []
        assert (await ask(hub.expecting(None), known)).taken


async def test_out_of_its_time() -> None:
    """A certificate that has ended, or not begun, is refused, and the words ask for this device's clock."""
    for shift_ms in (-YEARS_MS, YEARS_MS):
        shown = certificates.issue_server(CA, HUB, NOW_MS + shift_ms)
        async with place(shown=shown) as hub:
            probed = await ask(hub.expecting(HUB))
        assert (probed.code, "clock" in probed.why) == ("untrusted", True)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "cloud"}, "not_a_hub"),
        ({"protocol": ["2.0"]}, "other_protocol"),
        ({"protocol": []}, "other_protocol"),
        ({"protocol": ["2.0", "1.7"]}, "taken"),
        ({"answer": web.Response(text="hello")}, "not_a_hub"),
        ({"answer": web.Response(text="{}")}, "not_a_hub"),
        ({"answer": web.Response(status=404)}, "not_a_hub"),
        (
            {"answer": web.Response(status=302, headers={"Location": "http://elsewhere.example/"})},
            "not_a_hub",
        ),
    ],
)
async def test_what_it_says(changes: dict, code: str) -> None:
    """A server with the right certificate that is no hub, or of another protocol, is told apart."""
    async with place(**changes) as hub:
        assert (await ask(hub.expecting(HUB))).code == code


async def test_the_cloud() -> None:
    """A cloud is proven by the CA that is given for it, at its address; a hub's certificate is none of it."""
    known = Known(hub_cas=CA_PEM, cloud_cas=THEIR_CA.certificate_pem.decode())
    async with place(HUB, shown=credential(HUB, THEIR_CA), kind="cloud") as cloud, place() as hub:
        assert (await ask(Candidate("cloud", cloud.url, HUB, "config"), known)).taken
        assert (await ask(Candidate("cloud", hub.url, HUB, "config"), known)).code == "untrusted"
        assert (await ask(Candidate("cloud", cloud.url, OTHER_HUB, "config"), known)).code == "wrong_id"
        assert (await ask(Candidate("cloud", cloud.url, HUB, "config"), KNOWN)).code == "untrusted"


async def test_silence() -> None:
    """Nobody there, a name that leads nowhere, and somebody who says nothing within the deadline: no answer."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"https://127.0.0.1:{mute.getsockname()[1]}"
        probed = await ask(Candidate("hub", silent, HUB, "last"), deadline_s=0.2)
        assert (probed.code, probed.why) == ("no_answer", "no answer within 0.2 s")
    for url in (silent, "https://nowhere.invalid:8443", "https://xn--a.example:8443"):
        assert (await ask(Candidate("hub", url, HUB, "last"))).code == "no_answer"


async def test_no_tls_behind_https() -> None:
    """A server that speaks plain HTTP where TLS is expected is something else than a hub."""
    async with place(plain=True) as plain:
        probed = await ask(Candidate("hub", plain.url.replace("http:", "https:"), HUB, "mdns"))
        assert (probed.code, plain.asked) == ("not_a_hub", [])


async def test_ipv6_of_one_link() -> None:
    """IPv6 is asked at as IPv4 is, with its interface where it holds on one link alone."""
    links = [
        f"{text}%{one.name}" for one in running_interfaces() for text in one.ipv6 if text.startswith("fe80:")
    ]
    async with place(host="::") as hub:
        for address in ("::1", *links):
            assert (await ask(Candidate("hub", f"https://[{address}]:{hub.port}", HUB, "mdns"))).taken


async def test_without_a_connection() -> None:
    """Another clinic's announcement, no TLS where it must be, no CA: clear before anybody is connected to."""

    def code(
        known: Known, url: str, source: str = "mdns", fingerprint: str | None = FINGERPRINT
    ) -> str | None:
        probed = refused_unasked(Candidate("hub", url, HUB, source, fingerprint=fingerprint), known)  # type: ignore[arg-type]
        return None if probed is None else probed.code

    assert code(KNOWN, "https://192.0.2.1:8443") is None
    assert code(KNOWN, "https://192.0.2.1:8443", fingerprint="0" * 64) == "other_clinic"
    assert code(KNOWN, "http://192.0.2.1:8443") == "plain_http"
    assert code(KNOWN, "http://127.example:8443", "last") == "plain_http"
    assert code(KNOWN, "http://127.0.0.1:8443") == "plain_http"
    assert code(KNOWN, "http://127.0.0.1:8443", "last") is None
    assert code(Known(), "http://127.0.0.1:8443") is None
    assert code(Known(), "https://192.0.2.1:8443", "typed") == "no_ca"


async def test_it_can_be_let_go() -> None:
    """A probe that is cancelled ends."""
    async with place() as hub:
        hub.gate = asyncio.Event()
        asking = asyncio.create_task(ask(hub.expecting(HUB)))
        while not hub.asked:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
