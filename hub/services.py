"""A hub's use cases, put together: one clinic, one log, and whoever the hub lets in."""

from __future__ import annotations

from hub.config import Settings
from hub.identity import HubIdentity
from hub.storage import Storage
from medxz.clock import Clock
from medxz.ids import Ids
from medxz.service import (
    ClinicConfig,
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
from medxz.service.alone import Alone
from medxz.service.health import health_of
from medxz.service.metrics import gauges_of, no_results
from medxz.store.dictionaries import shipped_dictionary
from medxz.store.views.follower import Follower
from medxz.trust.jwks import jwks_of
from medxz.trust.tokens import TokenVerifier, key_id
from medxz.wire import Target
from medxz.work import ThreadWorker


def hub_services(
    storage: Storage,
    identity: HubIdentity,
    follower: Follower,
    settings: Settings,
    *,
    url: str,
    version: str,
    clock: Clock,
    ids: Ids,
) -> tuple[Services, ClinicServices]:
    """Those of the server, and those of its one clinic."""
    log, registry = storage.log, storage.registry
    registry.config = _config(settings, identity, url)
    public_key = identity.token_key.public_key()
    gate = Gate(TokenVerifier({key_id(public_key): public_key}, clock), only_clinic(registry), clock)
    throttle = Throttle(_rates(settings), clock)
    upstream = Upstream("hub", log, registry)
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
            counts=results,
        )
    )
    server = assemble(
        ServerParts(
            kind="hub",
            version=version,
            server_id=log.server_id,
            epoch=lambda: log.epoch,
            gate=gate,
            throttle=throttle,
            accounts=Alone(registry, identity.signer(clock), jwks_of([public_key]), ids, clock),
            clinic=only(clinic),
            health=health_of(log, follower, upstream, settings.places.data),
            gauges=gauges_of(log, follower, clinic.pull, clinic.snapshot, results),
            dictionaries=[shipped_dictionary()],
            clock=clock,
        )
    )
    return server, clinic


def _config(settings: Settings, identity: HubIdentity, url: str) -> ClinicConfig:
    return ClinicConfig(
        keep_own_days=settings.keep_own_days,
        offline_session_hours=settings.offline_session_hours,
        require_signed_ops=settings.require_signed_ops,
        ca_certificates=[identity.root.certificate_pem.decode()],
        targets=[Target(kind="hub", url=url, server_id=identity.server_id)],
    )


def _rates(settings: Settings) -> Rates:
    return Rates(
        requests_per_s=settings.requests_per_s,
        requests_burst=2 * settings.requests_per_s,
        ops_per_s=settings.ops_per_s,
        ops_burst=2 * settings.ops_per_s,
    )
