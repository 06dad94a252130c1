"""The HTTP face of a server, on aiohttp: routes, bodies, problems, streams, health, /openapi.json and /docs.

    log = make_log(sys.stderr.buffer, clock)
    app = App(services, log, ids=ids, clock=clock, worker=ThreadWorker("web-codec"))
    serving = await serve(app, host="127.0.0.1", port=0)
    ...
    await serving.stop(deadline_s=5)

It knows HTTP and the services, and decides nothing that the services decide.
"""

from __future__ import annotations

from medxz.web.app import App
from medxz.web.log import make_log
from medxz.web.server import Serving, serve

__all__ = ["App", "Serving", "make_log", "serve"]
