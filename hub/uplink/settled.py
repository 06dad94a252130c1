"""Which numbers of which devices the cloud's log is known to have settled, in its epoch of now.

It is known by what the cloud says of itself, by what it answered to pushes, and by what was read there. It may have
more: what is handed to it once more is a duplicate. It never has less.
"""

from __future__ import annotations

from collections.abc import Mapping

from medxz.have import Have, Numbers


class Settled:
    """Those numbers; and which watermarks they have moved since somebody asked."""

    def __init__(self, marks: Mapping[str, int]) -> None:
        self._have: Have = {
            device_id: Numbers([(1, through)]) for device_id, through in marks.items() if through
        }
        self._moved: dict[str, int] = dict(marks)

    def has(self, device_id: str, number: int) -> bool:
        numbers = self._have.get(device_id)
        return numbers is not None and number in numbers

    def exceeds(self, marks: Mapping[str, int]) -> bool:
        """Whether more is known to be settled there than it says itself."""
        return any(numbers.through() > marks.get(device_id, 0) for device_id, numbers in self._have.items())

    def fallen_to(self, marks: Mapping[str, int]) -> Settled:
        """What is left where these are its watermarks."""
        return Settled({**dict.fromkeys(self._have, 0), **marks})

    def take(self, device_id: str, number: int) -> bool:
        """It is settled there; whether that is new."""
        numbers = self._have.setdefault(device_id, Numbers())
        if number in numbers:
            return False
        before = numbers.through()
        numbers.add(number)
        self._note(device_id, before, numbers.through())
        return True

    def take_through(self, marks: Mapping[str, int]) -> bool:
        """All numbers of a device through its mark are; whether some of them are new."""
        is_new = False
        for device_id, through in marks.items():
            numbers = self._have.setdefault(device_id, Numbers())
            before = numbers.through()
            if through > before:
                numbers.add(1, through)
                self._note(device_id, before, numbers.through())
                is_new = True
        return is_new

    def _note(self, device_id: str, before: int, after: int) -> None:
        if after != before:
            self._moved[device_id] = after

    def take_moved(self) -> dict[str, int]:
        """The watermarks that have moved since this was last asked."""
        moved, self._moved = self._moved, {}
        return moved

    def give_back(self, moved: Mapping[str, int]) -> None:
        """They could not be written down: they are still to be asked for."""
        self._moved = {**moved, **self._moved}

    def copy(self) -> Have:
        """For whoever looks at them in another thread."""
        return {device_id: numbers.copy() for device_id, numbers in self._have.items()}
