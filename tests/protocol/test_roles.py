"""Who may do what with which type: every role, scope and type at every endpoint, as medxz/roles.py has it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from medxz.endpoints import ENDPOINTS
from medxz.op import Operation
from medxz.policy import policy_of
from medxz.roles import NONE, ROLES, SCOPES, Types
from medxz.scope import FRONT_DESK_TYPES, Scope
from medxz.trust.tokens import Role
from tests.making import OTHER_DEVICE, fixed_id, make_op
from tests.protocol.conftest import Caller, Server

TYPES = (
    *sorted(FRONT_DESK_TYPES), "Encounter", "Observation", "AuditEvent", "Condition", "MedicationRequest", "Composition",
    "SomethingNew",
)  # fmt: skip
READER = fixed_id(0xE9)
# what follows the token's roles, what follows the device's scope, what the author's roles decide
BY_ROLE = {"entity", "entities", "entity_ops", "history", "conflicts", "conflict", "status"}
BY_SCOPE = {"pull", "stream", "snapshot"}
BY_AUTHOR = {"push"}
# who may ask is all there is to these: they show nothing of a type
NO_TYPE = {
    "resume", "watermarks", "reviews", "config", "code", "hub_renew", "hub_directory", "audit", "audit_verify",
    "hub_update", "hub_release", "hub_backup", "hub_backups", "hub_backup_file", "hub_report",
    "fleet_hubs", "fleet_hub", "fleet_rings", "fleet_ring", "fleet_rollouts", "fleet_rollout_begin", "fleet_rollout",
    "fleet_rollout_pause", "fleet_rollout_resume", "fleet_rollout_abort",
}  # fmt: skip


@dataclass(slots=True)
class Clinic:
    """An entity of each type, in conflict with itself."""

    ops: dict[str, list[Operation]] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)

    def id_of(self, entity_type: str) -> str:
        return self.ops[entity_type][0].entity_id


async def clinic_of(server: Server) -> Clinic:
    """Made by an administrator, who may write everything."""
    clinic, admin = Clinic(), await server.caller("admin")
    seq = 0
    for entity_type in TYPES:
        created = make_op(seq + 1, entity_type=entity_type, payload='{"status":"planned"}')
        sides = [
            make_op(
                seq + 2 + at, entity_type=entity_type, entity_id=created.entity_id, op_type="amend",
                parents=(created.op_id,), payload=f'{{"status":"side {at}"}}',
            )
            for at in range(2)
        ]  # fmt: skip
        seq += 3
        clinic.ops[entity_type] = [created, *sides]
        answer = await admin.push(created, *sides)
        assert {result["status"] for result in answer.body["results"]} <= {"accepted", "conflict"}, (
            entity_type
        )
    told = (await admin.ask("GET", "/v1/conflicts")).body["conflicts"]
    clinic.conflicts = {conflict["entity_type"]: conflict["conflict_id"] for conflict in told}
    assert clinic.conflicts.keys() == set(TYPES)
    return clinic


@pytest.fixture(params=sorted(ROLES))
def role(request: pytest.FixtureRequest) -> Role:
    return request.param


@pytest.fixture(params=sorted(SCOPES))
def scope(request: pytest.FixtureRequest) -> Scope:
    return request.param


async def reader_of(server: Server, role: Role, scope: Scope) -> Caller:
    return await server.caller(role, device_id=OTHER_DEVICE, user_id=READER, scope=scope)


def allowed(types: Types) -> set[str]:
    return {entity_type for entity_type in TYPES if entity_type in types}


def test_every_endpoint_is_somewhere() -> None:
    """No endpoint with a token escapes the tests of this file."""
    with_token = {endpoint.name for endpoint in ENDPOINTS if endpoint.access not in {"anyone", "optional"}}
    assert with_token == BY_ROLE | BY_SCOPE | BY_AUTHOR | NO_TYPE
    assert {policy_of(entity_type) for entity_type in TYPES} == {"append", "merge", "manual"}


async def test_reading_follows_the_role(server: Server, role: Role, scope: Scope) -> None:
    """An entity, its ops, its history, the list of its type, and one conflict: 200, or forbidden, whatever the scope."""
    clinic = await clinic_of(server)
    reader = await reader_of(server, role, scope)
    for entity_type in TYPES:
        entity = f"/v1/entities/{entity_type}/{clinic.id_of(entity_type)}"
        paths = [
            entity, f"{entity}/ops", f"{entity}/history", f"/v1/entities/{entity_type}",
            f"/v1/conflicts/{clinic.conflicts[entity_type]}", f"/v1/entities/{entity_type}?patient={fixed_id(1)}",
        ]  # fmt: skip
        for path in paths:
            answer = await reader.ask("GET", path)
            if entity_type in ROLES[role].reads:
                assert answer.status == 200, path
            else:
                assert (answer.status, answer.code) == (403, "forbidden"), path
                assert clinic.id_of(entity_type) not in json.dumps(answer.body)
        nobody = await reader.ask("GET", f"/v1/entities/{entity_type}/{fixed_id(0xBAD)}")
        assert nobody.status == (404 if entity_type in ROLES[role].reads else 403), (
            "it tells no more than before"
        )
    search = await reader.ask("GET", "/v1/entities/Patient?q=nobody")
    assert search.status == (200 if "Patient" in ROLES[role].reads else 403)


async def test_lists_of_conflicts_follow_the_role(server: Server, role: Role, scope: Scope) -> None:
    """The list, and the count in the status, have the conflicts of the types that the role reads, and no others."""
    await clinic_of(server)
    reader = await reader_of(server, role, scope)
    answer = await reader.ask("GET", "/v1/conflicts")
    if ROLES[role].reads == NONE:
        assert (answer.status, answer.code) == (403, "forbidden")
    else:
        told = [conflict["entity_type"] for conflict in answer.body["conflicts"]]
        assert sorted(told) == sorted(allowed(ROLES[role].reads))
    status = await reader.ask("GET", "/v1/sync/status")
    if role in {"hub", "operator"}:
        assert (status.status, status.code) == (403, "forbidden")
    else:
        assert status.body["open_conflicts"] == len(allowed(ROLES[role].reads))


async def test_the_log_follows_the_scope(server: Server, role: Role, scope: Scope) -> None:
    """Pull, stream and snapshot hold the types of the device's scope, whoever is logged in; a hub has no device."""
    clinic = await clinic_of(server)
    reader = await reader_of(server, role, scope)
    held = allowed(SCOPES["full" if role == "hub" else scope])
    pull, snapshot = await reader.pull(limit=1_000), await reader.ask("GET", "/v1/sync/snapshot")
    if role == "operator":
        assert [pull.code, snapshot.code] == ["forbidden"] * 2
        return
    assert {op["entity_type"] for op in pull.body["ops"]} == held
    head, *lines = map(json.loads, snapshot.body.splitlines())
    assert {line["entity_type"] for line in lines} == held
    assert head["entities"] == len(lines) == len(held)
    assert {op["entity_type"] for op in await first_event(reader)} == held
    shown = [op for entity_type in held for op in clinic.ops[entity_type]]
    assert len(pull.body["ops"]) == sum(len(line["graph"]) for line in lines) == len(shown)


async def first_event(reader: Caller) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {reader.token}"}
    async with reader.server.http.stream("GET", "/v1/sync/stream", headers=headers) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ["):
                return list(json.loads(line.removeprefix("data: ")))
    raise AssertionError("the stream ended without an event")


async def test_writing_follows_the_authors_role(server: Server, role: Role, scope: Scope) -> None:
    """An author writes the types of the role, and no others, wherever it was written."""
    if role == "hub":
        return  # nobody's role: what a hub pushes is judged by its authors' (tests/protocol/test_push.py)
    writer = await reader_of(server, role, scope)
    ops = [
        make_op(number, device_id=OTHER_DEVICE, user_id=READER, entity_type=entity_type)
        for number, entity_type in enumerate(TYPES, 1)
    ]
    answer = await writer.push(*ops)
    if role == "operator":
        assert answer.code == "forbidden"
        return
    expected = ["accepted" if entity_type in ROLES[role].writes else "forbidden" for entity_type in TYPES]
    assert answer.statuses == expected
