"""What somebody of one clinic asks about another: of every endpoint, each way in which it can be told a name.

A probe is asked twice: with names of the other clinic, and with names of nobody. The two answers must be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.making import as_json, make_op
from tests.protocol.two_clinics import Clinic, Names, assertion_of, request_of


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and with which of our tokens it is asked; without one where the role is None."""

    role: str | None
    method: str
    path: str
    json: Any = None
    params: dict[str, Any] = field(default_factory=dict)


Probe = Callable[[Clinic, Names], Iterator[Request]]
READERS: Final = ("admin", "clinician", "hub")


def _get(path: str, *roles: str | None, **params: str) -> Probe:
    """A GET; `{…}` in the path and in what is asked for stands for a name, `cursor` for a cursor of that list."""

    def probe(_ours: Clinic, names: Names) -> Iterator[Request]:
        told = {name: getattr(names, name) for name in Names.__slots__}
        query = {
            name: names.cursors[text] if name == "cursor" else text.format(**told)
            for name, text in params.items()
        }
        for role in roles:
            yield Request(role, "GET", path.format(**told), params=query)

    return probe


def _push(ours: Clinic, names: Names) -> Iterator[Request]:
    """Their clinic's ops, their op_id, their entities, their parents, their device, their author."""

    def op(**changes: Any) -> dict[str, Any]:
        return ours.op({"status": "final"}, **changes)

    patient = {"entity_type": "Patient", "entity_id": names.patient_id}
    ops = [
        op(clinic_id=names.clinic_id),
        op(clinic_id=names.clinic_id, op_id=names.op_id, **patient),
        op(op_id=names.op_id),
        op(entity_id=names.observation_id),
        op(**patient),
        op(op_type="update", parents=(names.op_id,), **patient),
        op(op_type="resolve", parents=(names.op_id,), **patient),
        op(user_id=names.user_id),
        op(device_id=names.device_id),
    ]
    for role in ("clinician", "hub"):
        for one in ops:
            yield Request(role, "POST", "/v1/sync/push", {"ops": [one]})
    letter = {"device_id": names.device_id, "device_seq": 1, "op_id": names.op_id, "code": "invalid"}
    yield Request("hub", "POST", "/v1/sync/push", {"ops": [], "dead_letters": [letter]})
    theirs = make_op(2, clinic_id=names.clinic_id, device_id=names.device_id, user_id=names.user_id)
    yield Request("hub", "POST", "/v1/sync/push", {"ops": [as_json(theirs)]})


def _resume(_ours: Clinic, names: Names) -> Iterator[Request]:
    for role in READERS:
        for have in ({names.device_id: 5}, {names.device_id: [[1, 2], [4, 9]]}):
            yield Request(role, "POST", "/v1/sync/resume", {"have": have})


def _login(ours: Clinic, names: Names) -> Iterator[Request]:
    """Our person at their device, their person at ours, with a right password and with a wrong one; through our hub."""
    for role in (None, "hub"):
        for password in ("a long enough walk by the river", "another password altogether"):
            for email, device_id in ((ours.email, names.device_id), (names.email, ours.device_id)):
                body = {"email": email, "password": password, "device_id": device_id}
                yield Request(role, "POST", "/v1/auth/login", body)


def _refresh(_ours: Clinic, names: Names) -> Iterator[Request]:
    for role in (None, *READERS):
        yield Request(role, "POST", "/v1/auth/refresh", {"refresh_token": names.refresh_token})


def _logout(_ours: Clinic, names: Names) -> Iterator[Request]:
    for role in (None, "hub"):
        yield Request(role, "POST", "/v1/auth/logout", {"refresh_token": names.refresh_token})


def _hub_token(ours: Clinic, names: Names) -> Iterator[Request]:
    yield Request(None, "POST", "/v1/auth/hub", {"assertion": assertion_of(ours, names.hub_id)})


def _code(_ours: Clinic, names: Names) -> Iterator[Request]:
    for site in (names.site_id, names.site_name):
        for kind in ("device", "hub"):
            yield Request("admin", "POST", "/v1/codes", {"for": kind, "site": site})
        yield Request("hub", "POST", "/v1/codes", {"for": "device", "site": site})
    replacing = {"for": "hub", "site": "North", "replaces": names.hub_id}
    yield Request("admin", "POST", "/v1/codes", replacing)


def _enroll(_ours: Clinic, names: Names) -> Iterator[Request]:
    """With a key that their device has; and by no code of theirs, through our hub."""
    again = {"name": "tablet", "public_key": names.device_key}
    yield Request("clinician", "POST", "/v1/enroll", again)
    for role in (None, "hub"):
        yield Request(role, "POST", "/v1/enroll", again | {"code": "ABCD2345"})


def _hub_claim(ours: Clinic, names: Names) -> Iterator[Request]:
    """By no code: neither their hub's name nor what it would bring is looked at."""
    body: dict[str, Any] = {
        "code": "ABCDE23456ABCDE23456",
        "csr": request_of(ours, names.hub_id),
        "name": "hub",
    }
    yield Request(None, "POST", "/v1/hubs/claim", body)


def _hub_renew(ours: Clinic, names: Names) -> Iterator[Request]:
    yield Request("hub", "POST", "/v1/hubs/renew", {"csr": request_of(ours, names.hub_id)})


def _hub_backup(_ours: Clinic, _names: Names) -> Iterator[Request]:
    asked = {"backup": "20261122T010000Z", "file": "hub.db", "offset": 0}
    yield from (Request(caller, "POST", "/v1/hubs/backups", asked) for caller in READERS)


def _post(path: str, *roles: str | None, **body: object) -> Probe:
    """A POST; `{…}` in the path stands for a name."""

    def probe(_ours: Clinic, names: Names) -> Iterator[Request]:
        told = {name: getattr(names, name) for name in Names.__slots__}
        for role in roles:
            yield Request(role, "POST", path.format(**told), body)

    return probe


def _report(_ours: Clinic, _names: Names) -> Iterator[Request]:
    report = {"version": "0.1.0", "health": {"ok": True}, "backlog": 0}
    yield from (Request(caller, "POST", "/v1/hubs/report", report) for caller in READERS)


def _all(*probes: Probe) -> Probe:
    def probe(ours: Clinic, names: Names) -> Iterator[Request]:
        for one in probes:
            yield from one(ours, names)

    return probe


_PATIENT: Final = "/v1/entities/Patient/{patient_id}"
_OBSERVATION: Final = "/v1/entities/Observation/{observation_id}"
_ANYONE: Final = (None, *READERS)

PROBES: Final[dict[str, Probe]] = {
    "push": _push,
    "pull": _all(_get("/v1/sync/pull", *READERS), _get("/v1/sync/pull", *READERS, cursor="pull")),
    "resume": _resume,
    "stream": _get("/v1/sync/stream", *READERS, cursor="pull"),
    "snapshot": _get("/v1/sync/snapshot", *READERS),
    "status": _get("/v1/sync/status", "admin", "clinician"),
    "watermarks": _get("/v1/sync/watermarks", "admin", "hub"),
    "entity": _all(_get(_PATIENT, *READERS), _get(_OBSERVATION, *READERS)),
    "entities": _all(
        _get("/v1/entities/Patient", *READERS),
        _get("/v1/entities/Patient", *READERS, q="{word}"),
        _get("/v1/entities/Observation", *READERS, patient="{patient_id}"),
        _get("/v1/entities/Patient", *READERS, cursor="entities"),
    ),
    "entity_ops": _all(
        _get(_PATIENT + "/ops", *READERS), _get(_PATIENT + "/ops", *READERS, cursor="entity_ops")
    ),
    "history": _all(
        _get(_PATIENT + "/history", *READERS), _get(_PATIENT + "/history", *READERS, cursor="history")
    ),
    "conflicts": _all(*(_get("/v1/conflicts", *READERS, state=state) for state in ("open", "resolved"))),
    "conflict": _get("/v1/conflicts/{conflict_id}", *READERS),
    "reviews": _all(_get("/v1/reviews", "admin"), _get("/v1/reviews", "admin", cursor="reviews")),
    "config": _get("/v1/config", *READERS),
    "audit": _all(
        _get("/v1/audit", "admin"),
        _get("/v1/audit", "admin", patient="{patient_id}"),
        _get("/v1/audit", "admin", user="{user_id}"),
        _get("/v1/audit", "admin", device="{device_id}"),
        _get("/v1/audit", "admin", cursor="audit"),
    ),
    "audit_verify": _get("/v1/audit/verify", "admin"),
    "login": _login,
    "refresh": _refresh,
    "logout": _logout,
    "hub_token": _hub_token,
    "code": _code,
    "enroll": _enroll,
    "hub_claim": _hub_claim,
    "hub_renew": _hub_renew,
    "hub_directory": _get("/v1/hubs/directory", "hub"),
    "hub_backup": _hub_backup,
    "hub_backups": _get("/v1/hubs/backups", *READERS),
    "hub_backup_file": _get("/v1/hubs/backups/20261122T010000Z-{hub_id}", *READERS, file="manifest.json"),
    "hub_update": _get("/v1/hubs/update", *READERS, compatible="medxz-hub-arm64"),
    "hub_release": _get("/v1/hubs/releases/" + "ab" * 32, *READERS),
    "hub_report": _report,
    "fleet_hubs": _all(
        _get("/v1/fleet/hubs", *READERS), _get("/v1/fleet/hubs", *READERS, clinic="{clinic_id}")
    ),
    "fleet_hub": _post("/v1/fleet/hubs/{hub_id}", *READERS, ring="canary"),
    "fleet_rings": _get("/v1/fleet/rings", *READERS),
    "fleet_ring": _post("/v1/fleet/rings/canary", *READERS, settings={"log_level": "debug"}),
    "fleet_rollouts": _get("/v1/fleet/rollouts", *READERS),
    "fleet_rollout_begin": _post("/v1/fleet/rollouts", *READERS, version="0.2.0"),
    "fleet_rollout": _get("/v1/fleet/rollouts/{op_id}", *READERS),
    "fleet_rollout_pause": _post("/v1/fleet/rollouts/{op_id}/pause", *READERS),
    "fleet_rollout_resume": _post("/v1/fleet/rollouts/{op_id}/resume", *READERS),
    "fleet_rollout_abort": _post("/v1/fleet/rollouts/{op_id}/abort", *READERS),
    "jwks": _get("/.well-known/jwks.json", *_ANYONE),
    "info": _get("/v1/info", *_ANYONE),
    "dictionary": _get("/v1/dictionaries/" + "ab" * 32, *_ANYONE),
    "health_live": _get("/health/live", *_ANYONE),
    "health_ready": _get("/health/ready", *_ANYONE),
    "health": _get("/health", *_ANYONE),
    "metrics": _get("/metrics", *_ANYONE),
    "openapi": _get("/openapi.json", *_ANYONE),
    "docs": _get("/docs", *_ANYONE),
}
