"""The page of a box that belongs to nobody yet: who may use it, and what it never shows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from hub.boot.claiming import Claiming
from hub.boot.records import ClaimOrder, Found
from hub.claim import Order
from hub.config import HubPlaces
from hub.console.first_run import LOCK_S, LOCK_S_MAX, PATIENCE_S, REFUSED_FREE, FirstRun, Guard, is_own_host
from medxz.errors import CloudRequired
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.web.plain import Asked, Shown
from tests.making import HandClock

HOST = "medxz.local"
CODE = "7KQM-2R9T-WXYZ-3456-HJKM"
REFUSED = CommandFailed("the cloud refused: no such code", "ask for a new code", "code_invalid")
IDS = {"hub_id": "h", "clinic_id": "c", "site_id": "s"}


class Box:
    """A box with its page, and a cloud that answers as it was told to."""

    def __init__(
        self, folder: Path, *answers: Exception | dict[str, str], card: ClaimOrder | None = None
    ) -> None:
        self.clock = HandClock()
        self.answers, self.asked = list(answers), list[Order]()
        self.claiming = Claiming(
            HubPlaces(folder / "hub"), {}, self.clock, RandomIds(), lambda _: None, self.claim
        )
        self.seen = 0
        self.page = FirstRun(self.claiming, Found(has_card=True), card, self.clock, self.see)
        self.running = asyncio.create_task(self.claiming.run())

    async def claim(self, places, order, environ, clock, ids) -> dict[str, str]:
        self.asked.append(order)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def see(self) -> None:
        self.seen += 1

    async def get(self, host: str = HOST, path: str = "/") -> Shown:
        return await self.page.show(Asked("GET", path, host))

    async def token(self) -> str:
        found = re.search('name="token" value="([^"]+)"', (await self.get()).body)
        assert found is not None
        return found[1]

    async def post(
        self, origin: str | None = f"http://{HOST}", site: str | None = "same-origin", **form: str
    ) -> Shown:
        fields = {
            "token": self.page._token,
            "cloud": "https://cloud.example",
            "code": CODE,
            "name": "Reception",
        }
        return await self.page.show(Asked("POST", "/", HOST, origin, site, {**fields, **form}))


@pytest.fixture
async def make_box(tmp_path: Path):
    boxes: list[Box] = []

    def make(*answers: Exception | dict[str, str], card: ClaimOrder | None = None) -> Box:
        boxes.append(Box(tmp_path, *answers, card=card))
        return boxes[-1]

    yield make
    for box in boxes:
        box.running.cancel()
        await asyncio.wait([box.running])


async def test_a_code_that_is_typed_claims_the_box(make_box) -> None:
    """Cloud, code and name as somebody types them; then the page says that it is done, once more."""
    box = make_box(IDS)
    assert await box.token() == box.page._token
    answer = await box.post(code=CODE.lower(), name=" Reception ")
    assert (answer.status, answer.location) == (303, "/")
    [order] = box.asked
    assert (order.cloud_url, order.code, order.name) == (
        "https://cloud.example", CODE.replace("-", ""), "Reception",
    )  # fmt: skip
    assert "is a hub of its clinic" in (await box.get()).body
    assert box.seen == 1
    assert await box.running == IDS


async def test_the_whole_text_of_a_code_says_the_cloud_too(make_box) -> None:
    """What a QR of the code says can be pasted as it is."""
    box = make_box(IDS)
    await box.post(cloud="", code=f"https://cloud.example:8443/#c={CODE}&fp={'a' * 64}")
    assert (box.asked[0].cloud_url, box.asked[0].code) == (
        "https://cloud.example:8443",
        CODE.replace("-", ""),
    )


@pytest.mark.parametrize(
    "host",
    [
        "medxz.local",
        "medxz.local:80",
        "MEDXZ-2.local",
        "192.168.1.20",
        "[fe80::1]:80",
        "localhost:8080",
        "reception",
    ],
)
def test_names_of_this_box(host: str) -> None:
    """By its names of mDNS, a bare name and any address it is met."""
    assert is_own_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "medxz.local.evil.example", "192.168.1.20.evil.example", "a.b.local", "x" * 300, "[::1", "evil.example:80"],
)  # fmt: skip
async def test_a_foreign_name_that_points_here_is_refused(make_box, host: str) -> None:
    """A page of the internet that has its own name lead to this box gets neither the form nor its token."""
    box = make_box()
    assert not is_own_host(host)
    for asked in (
        Asked("GET", "/", host),
        Asked("GET", "/state", host),
        Asked("POST", "/", host, None, None, {}),
    ):
        answer = await box.page.show(asked)
        assert answer.status == 421
        assert box.page._token not in answer.body


@pytest.mark.parametrize(
    ("origin", "site", "token"),
    [
        ("http://evil.example", None, None),
        ("null", None, None),
        ("http://192.168.1.20", "same-origin", None),
        ("https://medxz.local", None, None),
        (None, "cross-site", None),
        (None, "same-site", None),
        (None, "none", None),
        (f"http://{HOST}", "same-origin", ""),
        (f"http://{HOST}", "same-origin", "guessed"),
        (f"http://{HOST}", "same-origin", "é"),
    ],
)  # fmt: skip
async def test_a_form_of_another_site_is_refused(make_box, origin, site, token) -> None:
    """Whatever the browser says of where a form came from must be this page, and the form must have its token."""
    box = make_box()
    answer = await box.post(origin, site, **({} if token is None else {"token": token}))
    assert answer.status == 403
    assert box.asked == []


async def test_an_old_browser_that_says_nothing_may_send_it(make_box) -> None:
    """Without Origin and Sec-Fetch-Site the form's token is enough."""
    box = make_box(IDS)
    assert (await box.post(None, None)).status == 303
    assert len(box.asked) == 1


async def test_guessing_is_locked_out(make_box) -> None:
    """After five refused codes nobody may try for a minute, and longer after each further one; what waits is told."""
    box = make_box(*[REFUSED] * 20)
    for _ in range(REFUSED_FREE):
        assert (await box.post()).status == 303
    locked = await box.post()
    assert locked.status == 429
    assert locked.retry_after_s is not None
    assert LOCK_S - PATIENCE_S - 1 <= locked.retry_after_s <= LOCK_S + 1
    assert "Too many codes were refused" in locked.body
    assert len(box.asked) == REFUSED_FREE
    box.clock.time_ms += int(LOCK_S * 1_000) + 1_000
    assert (await box.post()).status == 303
    assert (await box.post()).retry_after_s >= 2 * LOCK_S - PATIENCE_S - 1


def test_a_start_anew_is_no_way_round(tmp_path: Path) -> None:
    """Refused codes count over a restart, whatever the clock says then; a damaged count or a full disk locks nobody out."""
    file = tmp_path / "hub.refused"
    for _ in range(REFUSED_FREE):
        assert Guard(HandClock(), file).wait_s == 0
        Guard(HandClock(), file).refused()
    clock = HandClock(now_ms=5_000)
    guard = Guard(clock, file)
    assert guard.wait_s == int(LOCK_S) + 1
    clock.time_ms += int(LOCK_S * 1_000) + 1
    assert guard.wait_s == 0
    guard.refused()
    assert Guard(HandClock(), file).wait_s == int(2 * LOCK_S) + 1
    file.write_text('{"count": -9}')
    assert Guard(HandClock(), file).wait_s == 0
    Guard(HandClock(), tmp_path / "nowhere" / "file").refused()


def test_a_lock_is_never_for_ever() -> None:
    """However many were refused, a person with the right code waits a quarter of an hour at most."""
    clock = HandClock()
    guard = Guard(clock)
    for _ in range(100):
        guard.refused()
    assert LOCK_S < guard.wait_s <= LOCK_S_MAX + 1


async def test_what_is_wrong_is_told_at_its_field(make_box) -> None:
    """All at once, each at its field and for screen readers too; nothing is asked of the cloud, and no code counts."""
    box = make_box(*[REFUSED] * 5)
    answers = [await box.post(cloud="cloud.example", code="7KQM", name="") for _ in range(10)]
    assert {answer.status for answer in answers} == {422}
    answer = answers[0]
    for field in ("cloud", "code", "name"):
        assert f'aria-describedby="{field}-note {field}-error"' in answer.body
    assert answer.body.count('aria-invalid="true"') == 3
    assert box.asked == []
    assert (await box.post()).status == 303


async def test_another_cloud_than_the_cards_is_not_to_be_had(make_box) -> None:
    """A card that names its cloud keeps it: the page takes a code for that one alone, with the card's CA."""
    box = make_box(IDS, card=ClaimOrder(cloud_url="https://ours.example", cloud_ca="PEM"))
    page = (await box.get()).body
    assert "https://ours.example" in page
    assert 'name="cloud"' not in page
    await box.post(cloud="https://theirs.example", code=f"https://theirs.example/#c={CODE}&fp=1")
    assert (box.asked[0].cloud_url, box.asked[0].cloud_ca) == ("https://ours.example", "PEM")


async def test_a_cloud_that_is_away_is_waited_for(make_box) -> None:
    """The page answers soon all the same, says what is wrong, and lets another code be typed meanwhile."""
    box = make_box(*[CloudRequired("no route to host")] * 1_000)
    assert (await box.post()).status == 303
    async with asyncio.timeout(10):
        while box.claiming.state.phase != "waiting":
            await asyncio.sleep(0)
    page = (await box.get()).body
    assert "no route to host" in page
    assert "<form" in page


@pytest.mark.parametrize("answer", [REFUSED, CloudRequired("away")])
async def test_no_page_shows_a_code(make_box, answer) -> None:
    """Neither the code of the card nor one that was typed comes back, in a page or in /state."""
    card = ClaimOrder(cloud_url="https://cloud.example", code="9" * 20, name="Reception")
    box = make_box(*[answer] * 1_000, card=card)
    shown = [await box.get(), await box.post(), await box.get(), await box.get(path="/state")]
    shown.append(await box.post(code=CODE[:-1]))
    for one in shown:
        text = one.body.upper()
        assert CODE[:-1] not in text
        assert CODE.replace("-", "")[:-1] not in text
        assert "9" * 20 not in text


async def test_what_others_say_is_text(make_box) -> None:
    """A name, an address or an error with markup in it is shown as it is, and never becomes part of the page."""
    box = make_box(CommandFailed("<script>alert(1)</script>", "<b>", "code_invalid"))
    await box.post()
    bad = await box.post(name='"><script>' + "x" * 200, cloud="<script>")
    for page in (bad.body, (await box.get()).body):
        assert "<script" not in page


async def test_every_other_path_and_method_is_refused(make_box) -> None:
    """There is one page, and its state for programs."""
    box = make_box()
    assert (await box.get(path="/admin")).status == 404
    assert (await box.page.show(Asked("DELETE", "/", HOST))).status == 405
    assert (await box.get(path="/state")).content_type == "application/json"
