"""Operations that meet: the measured family where devices change what others change at the same time, and one patient
whose record never ends.
"""

from __future__ import annotations

from typing import Final

from bench.measured_ops import MeasuredFamily
from bench.ops import Draft, Known, Scene

_BESIDE: Final = 0.2  # of the changes: written beside the one before, not after it


class ContestedFamily(MeasuredFamily):
    """Two fifths of the ops are of merged and manual types; of their changes every fifth is concurrent with another."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._before: dict[str, str | None] = {}

    def draft(self) -> Draft:
        draft = super().draft()
        if draft.op_type == "create":
            return draft
        entity = draft.entity
        before = self._before.get(entity.entity_id)
        self._before[entity.entity_id] = entity.head
        if before is None or self.rng.random() >= _BESIDE:
            return draft
        beside = Known(entity.entity_type, entity.entity_id, before)
        return Draft(beside, draft.op_type, draft.payload)


class LongFamily:
    """One patient, changed again and again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._patient = Known("Patient", scene.ids.uuid7())

    def draft(self) -> Draft:
        number = self._scene.rng.randrange(10**8)
        telecom = {"telecom": [{"system": "phone", "value": f"0917 {number:08d}"}]}
        if self._patient.head is None:
            name = [{"family": "Lacson", "given": ["Ana"]}]
            return Draft(self._patient, "create", {"resourceType": "Patient", "name": name, **telecom})
        return Draft(self._patient, "update", telecom)
