"""A hub's use cases, put together: one clinic, one log, and whoever the hub lets in."""

from __future__ import annotations

from collections.abc import Callable

from hub.care.care import Care
from hub.config import Settings
from hub.doors import Doors, Surroundings
from hub.recovery.refilling import Refilling
from hub.storage import Storage
from medxz.service import (
    ClinicParts,
    ClinicServices,
    Gate,
    Rates,
    ServerParts,
    Services,
    Throttle,
    Upstream,
    assemble,
    assemble_clinic,
    only,
    only_clinic,
)
from medxz.service.health import Checking, health_of
from medxz.service.metrics import gauges_of, no_results
from medxz.store.dictionaries import shipped_dictionary
from medxz.store.views.follower import Follower
from medxz.work import ThreadWorker


def hub_services(
    storage: Storage,
    follower: Follower,
    doors: Doors,
    around: Surroundings,
    refilling: Refilling,
    *,
    care: Care,
    version: str,
) -> tuple[Services, ClinicServices]:
    """Those of the server, and those of its one clinic."""
    log, registry, settings = storage.log, storage.registry, around.settings
    clock, ids = around.clock, around.ids
    gate, throttle = Gate(doors.verifier, only_clinic(registry), clock), Throttle(_rates(settings), clock)
    upstream = Upstream("hub", log, registry, doors.link)
    results = no_results()
    clinic = assemble_clinic(
        ClinicParts(
            log=log,
            known=registry,
            upstream=upstream,
            follower=follower,
            gate=gate,
            throttle=throttle,
            begin_epoch=log.begin_epoch,
            clock=clock,
            ids=ids,
            worker=ThreadWorker("hashing"),
            reading=ThreadWorker("entities"),
            notes=doors.notes,
            audit=doors.audit,
            counts=results,
            cloud_ca_certificates=doors.cloud_ca_certificates,
            hubs_push=doors.neighbours is None,
        )
    )
    more = {**_gauges(doors), **refilling.gauges(), **care.gauges()}
    server = assemble(
        ServerParts(
            kind="hub",
            version=version,
            server_id=log.server_id,
            epoch=lambda: log.epoch,
            gate=gate,
            throttle=throttle,
            accounts=doors.accounts,
            clinic=only(clinic),
            health=health_of(
                log,
                follower,
                upstream,
                settings.places.data,
                _checks(storage, doors, around, refilling, care),
            ),
            gauges=gauges_of(log, follower, clinic.pull, clinic.snapshot, results, doors.link, more=more),
            dictionaries=[shipped_dictionary()],
            clock=clock,
        )
    )
    return server, clinic


def _checks(
    storage: Storage, doors: Doors, around: Surroundings, refilling: Refilling, care: Care
) -> list[Checking]:
    """The hub's own."""
    return [
        refilling.check,
        storage.clock.check,
        around.presence.check,
        *([doors.neighbours.check] if doors.neighbours is not None else []),
        *care.checks(),
    ]


def _gauges(doors: Doors) -> dict[str, tuple[str, Callable[[], float]]]:
    neighbours = doors.neighbours
    if neighbours is None:
        return {}
    return {
        "neighbours": ("Other hubs of the site.", lambda: len(neighbours.states())),
        "neighbours_online": ("Those of them that can be reached.", lambda: neighbours.online),
    }


def _rates(settings: Settings) -> Rates:
    return Rates(
        requests_per_s=settings.requests_per_s,
        requests_burst=2 * settings.requests_per_s,
        ops_per_s=settings.ops_per_s,
        ops_burst=2 * settings.ops_per_s,
    )
