"""The first page in a real browser, without JavaScript: it can be read and used by keyboard, and loads nothing."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from hub.boot.claiming import Claiming
from hub.boot.records import Found
from hub.claim import Order
from hub.config import HubPlaces
from hub.console.first_run import FirstRun
from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from medxz.web import make_log
from medxz.web.plain import serve_pages
from tests.browser.chromium import chromium

# one browser for all of them: it takes longer to start than to be used
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.asyncio(loop_scope="module"),
]

# a name of somebody else's that leads to the box, as an attacker's DNS would have it
FOREIGN_NAMES = "--host-resolver-rules=MAP *.example 127.0.0.1"
CODE = "7KQM-2R9T-WXYZ-3456-HJKM"
IDS = {"hub_id": "h", "clinic_id": "c", "site_id": "s"}
PROBLEMS = ((7, "hostnam is no setting of [system]; did you mean hostname?"), (9, "x" * 200))


@dataclass
class Box:
    """A page that is served, and a cloud that answers as it was told to."""

    port: int
    answers: list[Exception | dict[str, str]] = field(default_factory=list)
    asked: list[Order] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def claim(self, places, order, environ, clock, ids) -> dict[str, str]:
        self.asked.append(order)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest_asyncio.fixture(loop_scope="module")
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    clock = SystemClock()
    bound = socket.create_server(("127.0.0.1", 0))
    box = Box(bound.getsockname()[1])
    claiming = Claiming(HubPlaces(tmp_path / "hub"), {}, clock, RandomIds(), lambda _: None, box.claim)
    found = Found(has_card=True, has_file=True, problems=PROBLEMS)
    page = FirstRun(claiming, found, None, clock, lambda: None)
    serving = await serve_pages(page.show, make_log(io.BytesIO(), clock), [bound])
    running = asyncio.create_task(claiming.run())
    yield box
    running.cancel()
    await asyncio.wait([running])
    await serving.stop(2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium(FOREIGN_NAMES) as browser:
        yield browser


async def opened(browser: Browser, url: str, **options: object) -> tuple[BrowserContext, Page, list[str]]:
    """The page, and what went wrong while it was made: console messages, foreign requests."""
    wrong: list[str] = []
    context = await browser.new_context(**{"java_script_enabled": False, **options})  # type: ignore[arg-type]
    page = await context.new_page()
    page.on("console", lambda message: wrong.append(message.text))
    page.on(
        "request", lambda asked: None if asked.url.startswith((url, "data:")) else wrong.append(asked.url)
    )
    await page.goto(url)
    return context, page, wrong


async def test_a_box_is_claimed_by_keyboard_alone(browser, box) -> None:
    """A mistake is told at its field, which has the focus; a refused code is told; the right one ends it. No JavaScript."""
    box.answers = [
        CommandFailed("the cloud refused: no such code", "ask for a new code", "code_invalid"),
        IDS,
    ]
    _, page, wrong = await opened(browser, box.url)
    assert "line 7: hostnam is no setting" in await page.inner_text("main")
    await page.focus("#cloud")
    for text in ("https://cloud.example", "7KQM", "Reception"):
        await page.keyboard.type(text)
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#code[aria-invalid]")
    assert await page.input_value("#cloud") == "https://cloud.example"
    assert await page.input_value("#name") == "Reception"
    assert await page.input_value("#code") == ""
    assert await page.evaluate("document.activeElement.id") == "code"
    assert (await page.title()).startswith("Mistake: ")
    for expected in ("The pairing code was refused", "is a hub of its clinic"):
        await page.fill("#cloud", "https://cloud.example")
        await page.fill("#code", CODE)
        await page.fill("#name", "Reception")
        await page.press("#code", "Enter")
        await page.wait_for_selector(f"text={expected}")
        assert CODE not in await page.content()
    assert [order.name for order in box.asked] == ["Reception", "Reception"]
    assert [text for text in wrong if "422" not in text] == []


async def test_every_field_says_what_it_is(browser, box) -> None:
    """As a screen reader hears it: each field has a name and a description, and the state is announced."""
    _, page, _ = await opened(browser, box.url)
    for label in ("The cloud's address", "Pairing code", "Name of this hub"):
        assert await page.get_by_label(label, exact=True).count() == 1
    assert await page.get_by_role("button", name="Claim this box").count() == 1
    assert await page.get_by_role("status").count() == 1
    assert await page.get_by_role("heading", level=1).count() == 1
    assert await page.locator("html[lang=en]").count() == 1
    described = await page.get_attribute("#code", "aria-describedby")
    assert await page.locator(f"#{described}").count() == 1


@pytest.mark.parametrize("colour", ["light", "dark"])
async def test_on_a_telephone(browser, box, colour) -> None:
    """On a narrow screen nothing runs out at the side, in either colour scheme, and what is pressed is large enough."""
    options = {"viewport": {"width": 360, "height": 740}, "color_scheme": colour, "has_touch": True}
    _, page, wrong = await opened(browser, box.url, java_script_enabled=True, **options)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for what in ("button", "#code"):
        box_of = await page.locator(what).bounding_box()
        assert box_of is not None
        assert box_of["height"] >= 44
    assert await page.evaluate(CONTRAST) >= 4.5
    assert wrong == []


# the least contrast of text against what lies behind it, as WCAG 2 reckons it
CONTRAST = """() => {
  const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
  const behind = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return canvas; };
  return Math.min(...[...document.querySelectorAll('p,h1,h2,label,button,pre,a')].map(e => {
    const [x, y] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
    return (x + 0.05) / (y + 0.05); }));
}"""


async def test_a_page_of_the_internet_can_not_claim_it(browser, box) -> None:
    """A form of another site is refused by what the browser says of it; a foreign name that leads here gets no page."""
    context, page, _ = await opened(browser, box.url)
    evil = f"http://evil.example:{box.port}/"
    answer = await page.goto(evil)
    assert answer is not None
    assert answer.status == 421
    assert "token" not in await page.content()
    form = (
        f'<form method="post" action="{box.url}/"><input name="code" value="{CODE}"><input name="name" value="x">'
        f'<input name="cloud" value="https://theirs.example"><button>win</button></form>'
    )
    await context.route(
        "http://trap.example/", lambda route: route.fulfill(body=form, content_type="text/html")
    )
    await page.goto("http://trap.example/")
    await page.click("button")
    await page.wait_for_selector("text=The form did not come from this page")
    assert box.asked == []
    # nor in a frame of theirs
    frame = f'<iframe src="{box.url}/"></iframe>'
    await context.route(
        "http://frame.example/", lambda route: route.fulfill(body=frame, content_type="text/html")
    )
    await page.goto("http://frame.example/")
    inner = page.frames[1]
    assert "Pairing code" not in await inner.content()


async def test_the_page_is_small(browser, box) -> None:
    """Everything that the page needs is one answer of less than 10 KiB."""
    sizes: list[int] = []
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()

    async def measure(response) -> None:
        if response.url.startswith("http"):
            sizes.append(len(await response.body()))

    page.on("response", measure)
    await page.goto(box.url)
    await page.wait_for_load_state("networkidle")
    assert len(sizes) == 1
    assert sizes[0] < 10_240
