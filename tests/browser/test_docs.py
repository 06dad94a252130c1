"""/docs in a real browser: it works with no internet, and says all that the table of endpoints says."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from medxz.clock import SystemClock
from medxz.endpoints import ENDPOINTS
from medxz.errors import REFUSALS
from medxz.ids import RandomIds
from medxz.web import App, Serving, make_log, serve
from medxz.work import InlineWorker
from tests.browser.chromium import chromium
from tests.unit.web.fakes import FakeServices

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    clock = SystemClock()
    log = make_log(io.BytesIO(), clock)
    app = App(FakeServices(), log, ids=RandomIds(), clock=clock, worker=InlineWorker())  # type: ignore[arg-type]
    serving = await serve(app, host="127.0.0.1")
    yield serving
    await serving.stop(2)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def opened(
    browser: Browser, serving: Serving, path: str = "/docs", **options: object
) -> tuple[Page, list[str]]:
    """The page, and what went wrong while it was made: console errors, refused content, foreign requests."""
    wrong: list[str] = []
    page = await browser.new_page(**options)  # type: ignore[arg-type]
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((serving.url, "data:")) else wrong.append(request.url),
    )
    await page.goto(serving.url + path)
    await page.wait_for_selector("main:not([aria-busy])")
    return page, wrong


async def test_every_endpoint_and_error_is_there(browser, serving):
    """The page lists each endpoint with its parameters and each error, with anchors, and asks no other origin."""
    page, wrong = await opened(browser, serving)
    for endpoint in ENDPOINTS:
        article = page.locator(f"#endpoint-{endpoint.name}")
        text = await article.inner_text()
        assert endpoint.path in text
        assert endpoint.method in text
        for parameter in endpoint.parameters:
            assert parameter.name in text
        for refusal in endpoint.all_refusals():
            assert refusal.code in text
        assert await page.locator(f"#contents a[href='#endpoint-{endpoint.name}']").count() == 1
    for refusal in REFUSALS:
        assert refusal.title in await page.locator(f"#error-{refusal.code}").inner_text()
    assert wrong == []


async def test_every_link_inside_leads_somewhere(browser, serving):
    """No anchor of the page is dangling."""
    page, wrong = await opened(browser, serving)
    dangling = await page.evaluate(
        "[...document.querySelectorAll(\"a[href^='#']\")].map(a => a.getAttribute('href').slice(1))"
        ".filter(id => !document.getElementById(id))"
    )
    assert dangling == []
    assert wrong == []


async def test_an_error_s_type_leads_to_its_explanation(browser, serving):
    """The `type` of a problem document, opened, shows that error."""
    page, wrong = await opened(browser, serving, "/docs#error-bad_cursor")
    assert await page.locator("#error-bad_cursor").is_visible()
    assert await page.evaluate(
        "document.getElementById('error-bad_cursor').getBoundingClientRect().top < innerHeight"
    )
    assert wrong == []


async def test_filtering(browser, serving):
    """Typing into the filter leaves what fits."""
    page, wrong = await opened(browser, serving)
    await page.fill("#filter", "PUSH")
    assert await page.locator("#contents li[data-text]:visible").all_inner_texts() == ["POST /v1/sync/push"]
    assert wrong == []


@pytest.mark.parametrize("colour", ["light", "dark"])
async def test_on_a_tablet_held_upright(browser, serving, colour):
    """On a narrow screen nothing runs out at the side, in either colour scheme."""
    page, wrong = await opened(
        browser, serving, viewport={"width": 768, "height": 1024}, color_scheme=colour, has_touch=True
    )
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert wrong == []
