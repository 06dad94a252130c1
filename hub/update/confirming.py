"""After a start: is what runs good? A version that is tried is kept when the hub serves, its database opens and it syncs;
otherwise the machine goes back by itself.

It runs at every start, since the bootloader counts each of them. A version that was confirmed before is not judged again:
whatever is wrong with it then, an older one would hardly mend.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from hub.update.running import SYNC
from medxz.program.errors import CommandFailed

if TYPE_CHECKING:
    from hub.update.backend import Backend, Slots
    from hub.update.machine import Machine, Trial

WITHIN_S: Final = 900.0
STEADY_S: Final = 20.0
LOOK_EVERY_S: Final = 1.0

Json = dict[str, Any]


class Tried(Protocol):
    """The hub that came up."""

    def problem(self, *, must_sync: bool) -> str | None: ...
    def started_at(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Confirmer:
    """One start's. It has so long to become well, and has to stay so for a while."""

    machine: Machine
    backend: Backend
    hub: Tried
    within_s: float = WITHIN_S
    steady_s: float = STEADY_S
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> Json:
        """What came of it: `{"state", "version", "why"}`."""
        trial, slots = self.machine.trial(), self.backend.slots()
        if trial is None or not trial.is_under_way:
            self.backend.confirm()
            return {"state": "kept", "version": self._version(), "why": None}
        if slots.booted.name != trial.slot:
            return self._elsewhere(trial)
        why = self._judged(trial)
        if why is None:
            self.backend.confirm()
            self.machine.keep(trial.model_copy(update={"state": "confirmed", "why": None}))
            return {"state": "confirmed", "version": trial.version, "why": None}
        return self._given_back(trial, slots, why)

    def _elsewhere(self, trial: Trial) -> Json:
        """What was tried does not run: it waits for the restart, its installation was cut off, or it never came up."""
        if trial.boot_id == self.machine.boot_id():
            self.backend.confirm()
            return {"state": "waiting", "version": trial.version, "why": None}
        self.backend.disown()
        if trial.state == "installing":
            why = "its installation was cut off"
            self.machine.keep(
                trial.model_copy(
                    update={"state": "failed", "why": why, "may_pass": True, "tries": trial.tries - 1}
                )
            )
            return {"state": "cut_off", "version": trial.version, "why": why}
        why = "it did not come up"
        self.machine.keep(trial.model_copy(update={"state": "failed", "why": why}))
        return {"state": "back", "version": trial.before, "why": why}

    def _judged(self, trial: Trial) -> str | None:
        """None once it was well for a while, without having been started anew; else what is wrong at the end."""
        give_up_at = self.monotonic() + self.within_s
        steady_s = min(self.steady_s, self.within_s / 2)
        well_since, started = None, None
        while True:
            why, now = self.hub.problem(must_sync=trial.must_sync), self.monotonic()
            if why is None:
                begun = self.hub.started_at()
                if well_since is None or begun != started:
                    well_since, started = now, begun
                elif now - well_since >= steady_s:
                    return None
            else:
                well_since = None
            if now >= give_up_at:
                return why or "it does not stay up: it was started again and again"
            self.sleep(LOOK_EVERY_S)

    def _given_back(self, trial: Trial, slots: Slots, why: str) -> Json:
        failed = trial.model_copy(update={"state": "failed", "why": why, "may_pass": _may_pass(why)})
        if not slots.other.starts:
            self.machine.keep(failed)
            raise CommandFailed(
                f"{trial.version} is not well ({why}), and there is nothing to go back to",
                "medxz-hub doctor says what to do; a newer version may be installed by --from",
                "unwell",
            )
        self.backend.reject()  # first: a power cut from here on starts the old one
        self.machine.keep(failed)
        self.backend.restart()
        return {"state": "giving_back", "version": trial.before, "why": why}

    def _version(self) -> str | None:
        try:
            return self.machine.image().version
        except CommandFailed:
            return None


def _may_pass(why: str) -> bool:
    """Whether the same version may do well another time: the cloud may have been away just then."""
    return SYNC in why
