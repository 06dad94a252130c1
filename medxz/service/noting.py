"""What is noted of reading: who was shown which entity, who searched, who took a snapshot.

A note says ids and counts, never words that were searched for. It is written a moment later; where notes can't be
written nobody reads. A device that follows the log is no reader: what a person is shown on it is its own to note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Unpack

from medxz.merge.dated import encounter_of, patients_of
from medxz.merge.entity import Entity
from medxz.merge.members import State
from medxz.service.audit import About, Audit
from medxz.service.gate import Caller

_IDS_IN_A_NOTE: Final = 80  # so many fit into its detail


class NothingNoted:
    """An `Audit` for a server that keeps none."""

    async def note(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        """Nothing."""

    def note_later(self, clinic_id: str, event: str, **about: Unpack[About]) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which entity it was, and of whom: an appointment may be of several patients."""

    entity: Entity
    patients: tuple[str, ...]
    encounter_id: str | None

    @classmethod
    def of(cls, entity: Entity, state: State) -> Subject:
        own = entity.entity_id
        return cls(
            entity,
            (own,) if entity.entity_type == "Patient" else patients_of(entity.entity_type, state),
            own if entity.entity_type == "Encounter" else encounter_of(state),
        )


class Noting:
    """Notes for one clinic."""

    def __init__(self, audit: Audit, clinic_id: str) -> None:
        self._audit: Final = audit
        self._clinic_id: Final = clinic_id

    def read(self, caller: Caller, subject: Subject, part: str) -> None:
        """The caller was shown this of an entity."""
        for patient_id in subject.patients or (None,):
            self._note(
                caller,
                "read",
                entity_type=subject.entity.entity_type,
                entity_id=subject.entity.entity_id,
                patient_id=patient_id,
                encounter_id=subject.encounter_id,
                detail={"part": part},
            )

    def listed(
        self,
        caller: Caller,
        event: str,
        entity_type: str | None,
        ids: Sequence[str],
        patient_id: str | None = None,
    ) -> None:
        """The caller was shown these in a list: so many notes as their ids need, and one where nothing was found."""
        for first in range(0, max(len(ids), 1), _IDS_IN_A_NOTE):
            told = {"found": len(ids), "ids": list(ids[first : first + _IDS_IN_A_NOTE])}
            self._note(caller, event, entity_type=entity_type, patient_id=patient_id, detail=told)

    def exported(self, caller: Caller, entities: int) -> None:
        """The caller took a snapshot of all that its scope holds."""
        self._note(caller, "exported", detail={"scope": caller.scope, "entities": entities})

    def _note(self, caller: Caller, event: str, **about: Unpack[About]) -> None:
        user_id = None if caller.hub_id is not None else caller.user_id
        about |= {"user_id": user_id, "device_id": caller.device_id, "hub_id": caller.hub_id}
        self._audit.note_later(self._clinic_id, event, **about)
