"""One handler for each endpoint of the table: HTTP on one side, one call of a service on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz.endpoints import ENDPOINTS
from medxz.web.downloads import Downloads
from medxz.web.handlers.backups import BackupsRoom
from medxz.web.handlers.clinic import ClinicRoom
from medxz.web.handlers.entities import EntitiesRoom
from medxz.web.handlers.fleet import FleetRoom
from medxz.web.handlers.identity import IdentityRoom
from medxz.web.handlers.releases import ReleasesRoom
from medxz.web.handlers.server import ServerRoom
from medxz.web.handlers.sync import SyncRoom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medxz.service import Services
    from medxz.web.answers import Answers
    from medxz.web.body import Bodies
    from medxz.web.handlers.room import Handler
    from medxz.web.lasting import Lasting
    from medxz.web.pages import Pages
    from medxz.web.pushes import Pushes


def handlers_of(
    services: Services,
    bodies: Bodies,
    answers: Answers,
    lasting: Lasting,
    pages: Pages,
    *,
    pushes: Pushes,
    sent_as_made: Mapping[str, Handler],
) -> dict[str, Handler]:
    """Every endpoint's handler, by its name; the program does not start where one is missing."""
    downloads = Downloads(lasting)
    handlers = {
        **sent_as_made,
        **SyncRoom(services, bodies, answers, lasting, pushes).table(),
        **EntitiesRoom(services, bodies, answers).table(),
        **ClinicRoom(services, bodies, answers).table(),
        **IdentityRoom(services, bodies, answers).table(),
        **ReleasesRoom(services, bodies, answers, downloads).table(),
        **BackupsRoom(services, bodies, answers, downloads).table(),
        **FleetRoom(services, bodies, answers).table(),
        **ServerRoom(services, bodies, answers, pages).table(),
    }
    names = {endpoint.name for endpoint in ENDPOINTS}
    assert handlers.keys() == names, f"handlers and table differ: {sorted(handlers.keys() ^ names)}"
    return handlers
