"""Debian's chromium, which talks to nobody but the page that is opened."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """One that runs until this is left, with these flags beside the usual ones."""
    program = shutil.which("chromium")
    assert program is not None, "scripts/system-packages installs it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*_FLAGS, *flags])
        yield browser
        await browser.close()
