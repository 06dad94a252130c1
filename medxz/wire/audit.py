"""The audit: who did what to whose record, in chains of hashes, and whether they hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from medxz.wire.forms import Answer


class AuditEntry(Answer):
    """One event. `hash` is over everything else, `previous_hash` included; each chain counts 1, 2, 3 …"""

    chain_id: str
    number: int
    at: str
    event: str
    user_id: str | None = None
    device_id: str | None = None
    hub_id: str | None = None
    patient_id: str | None = None
    encounter_id: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    address: str | None = None
    detail: Annotated[dict[str, Any], Field(default_factory=dict)]
    previous_hash: str
    hash: str


class AuditAnswer(Answer):
    entries: list[AuditEntry]
    next_cursor: str | None


class AuditChain(Answer):
    chain_id: str
    entries: int
    ok: bool
    first_broken: int | None = None


class AuditVerifyAnswer(Answer):
    ok: bool
    chains: list[AuditChain]
