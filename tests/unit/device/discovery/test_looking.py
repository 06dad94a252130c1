"""A search over many candidates: who is asked when, how often, and what is listed."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing
from dataclasses import replace

from medxz.device.discovery import Candidate, Known, Probed, look, looking
from medxz.device.discovery.candidates import ADDRESSES_MAX, REMEMBERED_MAX, announced, of_name, remembered
from medxz.lan.announcement import Announcement
from tests.unit.device.discovery.places import (
    CA_PEM,
    FINGERPRINT,
    HUB,
    KNOWN,
    OTHER_HUB,
    SITE,
    THEIR_CA,
    Ears,
    credential,
    place,
)

NOWHERE = Candidate("hub", "https://127.0.0.1:1", HUB, "last")


def codes(found: list[Probed]) -> list[tuple[str, str]]:
    return [(probed.candidate.source, probed.code) for probed in found]


def test_what_is_remembered() -> None:
    """Last good addresses come first, then what a person typed, the clinic's targets, its names; each once."""
    last, target = NOWHERE, replace(NOWHERE, source="config")
    known = Known(
        last=[last], typed=["https://h:1", "https://h:1"], targets=[target, replace(target, server_id=OTHER_HUB)],
        names=["hub.example", "hub.example:8444", "[fd00::2]", "[fd00::2]:1"],
    )  # fmt: skip
    asked = [(one.source, one.url, one.server_id) for one in remembered(known)]
    assert asked == [
        ("last", NOWHERE.url, HUB), ("typed", "https://h:1", None), ("config", NOWHERE.url, OTHER_HUB),
        ("name", "https://hub.example:8443", None), ("name", "https://hub.example:8444", None),
        ("name", "https://[fd00::2]:8443", None), ("name", "https://[fd00::2]:1", None),
    ]  # fmt: skip
    assert of_name("10.0.0.2") == "https://10.0.0.2:8443"
    assert len(remembered(Known(typed=[f"https://h{n}" for n in range(99)]))) == REMEMBERED_MAX


def test_what_is_heard() -> None:
    """An announcement is a candidate with its addresses in order, and no more than a few of them."""
    many = tuple(f"192.0.2.{n}" for n in range(30))
    candidate = announced(Announcement(HUB, SITE, FINGERPRINT, 8443, True, "medxz.local", many))
    assert candidate is not None
    assert len(candidate.urls) == ADDRESSES_MAX
    assert (candidate.server_id, candidate.source, candidate.host) == (HUB, "mdns", "medxz.local")
    assert announced(Announcement(HUB, SITE, FINGERPRINT, 1, False, "medxz.local", ("192.0.2.1",))) is None


async def test_everybody_gets_a_verdict() -> None:
    """Each candidate is listed with what came of it, the taken ones first; one address is asked once."""
    async with place() as hub, place(HUB, shown=credential(HUB, THEIR_CA)) as look_alike:
        known = Known(
            hub_cas=CA_PEM, last=[NOWHERE], typed=[look_alike.url], names=[f"127.0.0.1:{hub.port}"],
            targets=[hub.expecting(HUB), Candidate("hub", "http://192.0.2.1", HUB, "config")],
        )  # fmt: skip
        ears = Ears(
            hub.announcing(), look_alike.announcing(OTHER_HUB), look_alike.announcing(OTHER_HUB, "0" * 64)
        )
        found = await look(known, browser=ears, hearing_s=0.1)
        assert [code for _, code in codes(found)[:3]] == ["taken"] * 3
        assert {source for source, _ in codes(found)[:3]} == {"config", "name", "mdns"}
        assert sorted(codes(found)[3:]) == [
            ("config", "plain_http"), ("last", "no_answer"), ("mdns", "other_clinic"), ("mdns", "untrusted"),
            ("typed", "untrusted"),
        ]  # fmt: skip
        heard = next(probed for probed in found if probed.taken and probed.candidate.source == "mdns")
        assert (heard.candidate.site_id, heard.candidate.host, heard.server_id) == (SITE, "medxz.local", HUB)
        assert look_alike.asked == []
        # by its id once for two candidates, and as anybody's and under its id for the name
        assert len(hub.asked) == 3


async def test_the_last_good_address_has_a_lead() -> None:
    """While it answers, nobody else is asked; who has what it wanted lets the rest go."""
    async with place() as hub, place(OTHER_HUB) as other:
        known = Known(hub_cas=CA_PEM, last=[hub.expecting(HUB, "last")], targets=[other.expecting(OTHER_HUB)])
        async with aclosing(looking(known)) as verdicts:
            async for probed in verdicts:
                assert (probed.taken, probed.candidate.url) == (True, hub.url)
                break
        assert (hub.asked, other.asked) == (["/v1/info"], [])


async def test_a_lead_is_short() -> None:
    """A last good address that keeps silent holds nobody up."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = Candidate("hub", f"https://127.0.0.1:{mute.getsockname()[1]}", HUB, "last")
        async with place(OTHER_HUB) as other:
            known = Known(hub_cas=CA_PEM, last=[silent], targets=[other.expecting(OTHER_HUB)])
            begun = time.monotonic()
            async with aclosing(looking(known, deadline_s=30)) as verdicts:
                assert (await anext(verdicts)).server_id == OTHER_HUB
            assert time.monotonic() - begun < 15


async def test_who_comes_later() -> None:
    """A hub that announces itself while the search runs is asked; one that moves is asked at its new address."""
    async with place() as hub, place(OTHER_HUB) as other:
        ears = Ears()
        async with aclosing(looking(KNOWN, browser=ears, hearing_s=30)) as verdicts:
            ears.say(replace(hub.announcing(), port=1))
            assert (await anext(verdicts)).code == "no_answer"
            ears.say(hub.announcing(), other.announcing(OTHER_HUB))
            assert {(await anext(verdicts)).server_id, (await anext(verdicts)).server_id} == {HUB, OTHER_HUB}


async def test_several_addresses() -> None:
    """Of one hub's addresses the first that answers counts, and the verdict names it; the other kept silent."""
    async with place(host="127.0.0.2") as hub:
        dead_first = replace(hub.announcing(), addresses=("127.0.0.1", "127.0.0.2"))
        [probed] = await look(KNOWN, browser=Ears(dead_first), hearing_s=0.1)
        assert (probed.taken, probed.candidate.url) == (True, hub.url)
        assert probed.candidate.others == (f"https://127.0.0.1:{hub.port}",)
        [probed] = await look(KNOWN, browser=Ears(replace(dead_first, port=1)), hearing_s=0.1)
        assert probed.code == "no_answer"


async def test_one_verdict_though_it_is_heard_twice() -> None:
    """A hub of which another address is heard later is one hub, and listed once."""
    async with place() as hub:
        hub.gate = asyncio.Event()
        ears = Ears(hub.announcing())
        searching = asyncio.create_task(look(KNOWN, browser=ears, hearing_s=0.5))
        while not hub.asked:
            await asyncio.sleep(0.01)
        ears.say(replace(hub.announcing(), addresses=("127.0.0.1", "127.0.0.2")))
        hub.gate.set()
        [probed] = await searching
        assert (probed.taken, probed.candidate.url) == (True, hub.url)


async def test_an_address_that_keeps_silent() -> None:
    """The next address of a hub is asked long before the deadline of the first is over."""
    async with place(host="127.0.0.2") as hub:
        with socket.create_server(("127.0.0.1", hub.port)):
            both = replace(hub.announcing(), addresses=("127.0.0.1", "127.0.0.2"))
            async with aclosing(looking(KNOWN, browser=Ears(both), hearing_s=0.1, deadline_s=60)) as verdicts:
                async with asyncio.timeout(30):
                    assert (await anext(verdicts)).candidate.url == hub.url


async def test_of_several_answers_the_telling_one() -> None:
    """Where no address is taken, the one that says most is told: a look-alike rather than a silence."""
    async with place(HUB, shown=credential(HUB, THEIR_CA), host="127.0.0.2") as look_alike:
        both = replace(look_alike.announcing(), addresses=("127.0.0.1", "127.0.0.2"))
        [probed] = await look(KNOWN, browser=Ears(both), hearing_s=0.1)
        assert (probed.code, probed.candidate.url) == ("untrusted", look_alike.url)


async def test_a_search_that_is_let_go() -> None:
    """Whoever stops in the middle leaves no task behind."""
    async with place() as hub:
        hub.gate = asyncio.Event()
        searching = asyncio.create_task(
            look(Known(hub_cas=CA_PEM, typed=[hub.url]), browser=Ears(), hearing_s=30)
        )
        while not hub.asked:
            await asyncio.sleep(0.01)
        searching.cancel()
        await asyncio.gather(searching, return_exceptions=True)
        hub.gate.set()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not names & {"discovery", "probe"}
