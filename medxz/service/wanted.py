"""What a list of entities is asked for: all of a type, those that words find, or those about a patient by date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medxz.errors import Invalid
from medxz.store.views import Asked, Portion

if TYPE_CHECKING:
    from medxz.store.views import Found, Views


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entities of a type a list is asked for: all, those that words find, or those about a patient by date."""

    entity_type: str
    words: str | None = None
    patient_id: str | None = None
    first: str | None = None
    last: str | None = None

    def check(self) -> None:
        """Invalid where what is asked for does not go together."""
        if self.words is not None and self.entity_type != "Patient":
            raise Invalid("only patients are found by words; list the others by ?patient=", field="q")
        if self.words is not None and self.patient_id is not None:
            raise Invalid("goes without q", field="patient")
        for name, day in (("from", self.first), ("to", self.last)):
            if day is not None and self.patient_id is None:
                raise Invalid("goes with patient alone", field=name)

    def named(self) -> tuple[str, ...]:
        """What a cursor of this list is sealed with."""
        return "entities", self.entity_type, *map(repr, (self.words, self.patient_id, self.first, self.last))

    def portion(self, views: Views, after: str | None, limit: int) -> Portion[Found]:
        """What is wanted of them, and nothing of another type: whoever asks may read this one alone."""
        found = self._found(views, after, limit)
        return Portion([row for row in found.rows if row.entity_type == self.entity_type], found.after)

    def _found(self, views: Views, after: str | None, limit: int) -> Portion[Found]:
        if self.words is not None:
            return views.patients(self.words, after, limit)
        if self.patient_id is not None:
            asked = Asked(self.patient_id, (self.entity_type,), self.first, self.last)
            return views.of_patient(asked, after, limit)
        return views.entities(self.entity_type, after, limit)
