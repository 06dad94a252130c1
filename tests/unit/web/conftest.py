from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
import uvloop

from medxz.clock import SystemClock
from medxz.ids import RandomIds
from medxz.web import App, Serving, make_log, serve
from medxz.work import ThreadWorker
from tests.unit.web.fakes import FakeServices

TOKEN = {"Authorization": "Bearer good"}


@dataclass
class Face:
    """A served HTTP face over fake services, and a client of it."""

    services: FakeServices
    app: App
    serving: Serving
    client: httpx.AsyncClient
    log: io.BytesIO = field(default_factory=io.BytesIO)

    @property
    def port(self) -> int:
        return int(self.serving.url.rsplit(":", 1)[1])

    def log_lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.log.getvalue().splitlines()]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the programs run on: its sockets behave in their own way."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def face() -> AsyncIterator[Face]:
    stream = io.BytesIO()
    clock = SystemClock()
    worker = ThreadWorker("web-codec")
    services = FakeServices()
    app = App(services, make_log(stream, clock), ids=RandomIds(), clock=clock, worker=worker)  # type: ignore[arg-type]
    serving = await serve(app, host="127.0.0.1")
    async with httpx.AsyncClient(base_url=serving.url, headers=TOKEN, timeout=20) as client:
        yield Face(services, app, serving, client, stream)
    await serving.stop(2)
    worker.close()
