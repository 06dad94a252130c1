"""The limit of the HTTP face: aiohttp on uvloop answering the same requests with no work behind.

It is a process of its own. What it answers is put there first: `PUT /answers/NAME`. A POST is read whole and gets the
answer named `push`; a page is looked up by its cursor. Prints its port on one line when it serves.
"""

from __future__ import annotations

import asyncio
import gc
import signal

import uvloop
from aiohttp import web

BODY_BYTES_MAX = 64 * 1024 * 1024


def make_app() -> web.Application:
    """Three routes over a dict of bytes."""
    answers: dict[str, bytes] = {}

    async def put(request: web.Request) -> web.Response:
        answers[request.match_info["name"]] = await request.read()
        return web.Response(body=b"{}", content_type="application/json")

    async def push(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answers["push"], content_type="application/json")

    async def pull(request: web.Request) -> web.Response:
        page = answers[request.query.get("cursor", "first")]
        return web.Response(body=page, content_type="application/json")

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_put("/answers/{name}", put)
    app.router.add_post("/v1/sync/push", push)
    app.router.add_get("/v1/sync/pull", pull)
    return app


async def serve() -> None:
    """Serve on a free port of loopback until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.AppRunner(make_app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    gc.freeze()
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve())
