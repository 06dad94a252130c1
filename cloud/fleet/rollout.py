"""A rollout, as pure functions: from how it stands and how the hubs are, to how it stands next. No store, no clock.

    waiting ──▶ offered ──▶ settling ──▶ done          one ring after another, so many hubs of it at a time
                   │ ▲  ╲      │ ▲
                   ▼ │   ╲▶    ▼ │
                  away    failed, which is told to go back

Taken twice, or by two relays at once, a step is the same step: all that it goes by is what it is given. Refused: a
change of a rollout that is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from medxz.errors import RolloutState
from medxz.versions import Version
from medxz.wire import Progress, RolloutStanding

HubKey = tuple[str, str]
"""A hub's clinic and its id."""

BLOCKING: Final[frozenset[Progress]] = frozenset({"offered", "settling"})
HOUR_MS: Final = 3_600_000
_SILENT: Final = "nothing is heard of it"


@dataclass(frozen=True, slots=True)
class Share:
    """So many hubs, or such a part of them."""

    amount: int
    is_percent: bool

    @classmethod
    def read(cls, told: int | str) -> Share:
        return cls(told, False) if isinstance(told, int) else cls(int(told.removesuffix("%")), True)

    def told(self) -> int | str:
        return f"{self.amount}%" if self.is_percent else self.amount

    def batch(self, total: int) -> int:
        """So many at a time: never none, or it would not go on."""
        return max(1, total * self.amount // 100 if self.is_percent else self.amount)

    def is_passed(self, count: int, total: int) -> bool:
        """Whether so many of all are more than this."""
        return count * 100 > self.amount * total if self.is_percent else count > self.amount


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to come to whom. `kinds`: the kinds of machine that there is a bundle of it for."""

    version: str
    rings: tuple[str, ...]
    kinds: frozenset[str]
    serial: Share
    max_failures: Share
    wait_for_away_ms: int
    take_within_ms: int
    settle_within_ms: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One. `at`: how many rings it has behind it; `before`: what each ring was to run; `forgiven`: failed hubs, by ring."""

    rollout_id: str
    plan: Plan
    state: RolloutStanding
    begun_at_ms: int
    changed_at_ms: int
    before: Mapping[str, str | None]
    at: int = 0
    why: str | None = None
    forgiven: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.state in {"aborted", "done"}

    @property
    def ring(self) -> str | None:
        """The one that it has come to."""
        return self.plan.rings[self.at] if not self.is_over and self.at < len(self.plan.rings) else None


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is on one hub that it has come to. `since_ms`: in this state; `before`: what the hub ran then, where
    that was known.
    """

    progress: Progress
    since_ms: int
    before: str | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One hub, by the last that was heard of it; `is_silent` where nothing was for a while, or never. `failed`: the version that it gave back last, and why."""

    key: HubKey
    ring: str
    version: str | None
    kind: str | None
    is_silent: bool
    unwell: str | None
    backlog: int | None
    failed: tuple[str, str] | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of it: the steps that are others now, and what rings are to run from now on."""

    rollout: Rollout
    steps: Mapping[HubKey, Step] = field(default_factory=dict)
    rings: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a hub is to run; None: the newest that no rollout is about. One that runs `instead_of` goes back to it."""

    version: str | None
    instead_of: str | None = None


Verb = Literal["pause", "resume", "abort"]


def wish(ring_version: str | None, step: Step | None, rollout: Rollout | None) -> Wish:
    """What one hub is to run; `rollout` is the one that its step is of."""
    if step is None or rollout is None:
        return Wish(ring_version)
    if step.progress == "failed" or rollout.state == "aborted":
        return Wish(step.before or ring_version, instead_of=rollout.plan.version)
    if rollout.state == "running":
        return Wish(rollout.plan.version)
    if rollout.state == "done":
        return Wish(ring_version)
    has_it = step.progress in {"settling", "done"}
    return Wish(rollout.plan.version if has_it else step.before or ring_version)  # paused: nobody else begins


def advance(rollout: Rollout, members: Iterable[Member], now_ms: int) -> Outcome:
    """How it stands once everything that was heard is taken into account. Nothing, where nothing has changed."""
    if rollout.is_over:
        return Outcome(rollout)
    known = {member.key: member for member in members}
    steps = {
        member.key: step
        for member in known.values()
        if member.step is not None and (step := _followed(rollout.plan, member, now_ms)) != member.step
    }
    known |= {key: replace(known[key], step=step) for key, step in steps.items()}
    passed = next((ring for ring in rollout.plan.rings if _has_too_many_failed(rollout, known, ring)), None)
    if passed is not None and rollout.state == "running":
        failed = len(_in_state(known, passed, "failed"))
        why = f"{failed} of the hubs of ring {passed} failed, more than max_failures allows"
        return Outcome(replace(rollout, state="paused", why=why, changed_at_ms=now_ms), steps)
    if rollout.state == "paused":
        return Outcome(rollout, steps)
    return _released(rollout, known, steps, now_ms)


def change(rollout: Rollout, verb: Verb, members: Iterable[Member], now_ms: int) -> Outcome:
    """What a person decides about it; RolloutState where it is over."""
    if rollout.is_over:
        raise RolloutState(f"this rollout is {rollout.state}")
    changed = replace(rollout, changed_at_ms=now_ms)
    if verb == "pause":
        why = rollout.why if rollout.state == "paused" else "by an operator"
        return Outcome(replace(changed, state="paused", why=why))
    if verb == "abort":
        aborted = replace(changed, state="aborted", why="by an operator")
        return Outcome(
            aborted, rings={ring: rollout.before.get(ring) for ring in rollout.plan.rings[: rollout.at]}
        )
    known = {member.key: member for member in members}
    forgiven = {ring: len(_in_state(known, ring, "failed")) for ring in rollout.plan.rings}
    return Outcome(replace(changed, state="running", why=None, forgiven=forgiven))


def is_for(plan: Plan, member: Member) -> bool:
    """Whether a hub is one that this release can come to: of a kind that it was made for, and on an older one.

    One that never told what it runs may be. It is waited for like one that is away, or a rollout to hubs of which nothing
    is known yet would be through in a moment, and every one of them have it.
    """
    if member.version is None:
        return True
    if member.kind not in plan.kinds:
        return False
    try:
        return Version.read(member.version) < Version.read(plan.version)
    except ValueError:
        return False


def progress_of(plan: Plan, member: Member) -> Progress:
    if member.step is not None:
        return member.step.progress
    return "waiting" if is_for(plan, member) else "skipped"


def _followed(plan: Plan, member: Member, now_ms: int) -> Step:
    """The next step of a hub that it has come to."""
    step = member.step
    assert step is not None
    if step.progress in {"done", "failed", "skipped"}:
        return step
    progress, why = _seen(plan, member, step, now_ms)
    if progress == step.progress:
        return step
    ran = step.before or (None if member.version == plan.version else member.version)
    return Step(progress, now_ms, ran, why)


def _seen(plan: Plan, member: Member, step: Step, now_ms: int) -> tuple[Progress, str | None]:
    runs_it, lasts_ms = member.version == plan.version, now_ms - step.since_ms
    if runs_it and member.unwell is None and member.backlog == 0:
        return "done", None
    if member.failed is not None and member.failed[0] == plan.version and not runs_it:
        return "failed", member.failed[1]
    if member.is_silent:
        return "away", _SILENT
    if runs_it:
        if step.progress == "settling" and lasts_ms > plan.settle_within_ms:
            return "failed", f"it runs it, and {member.unwell or 'what it has stored has not gone up'}"
        return "settling", None
    if not is_for(plan, member):
        return "skipped", None
    if step.progress == "offered" and lasts_ms > plan.take_within_ms:
        return "failed", f"it did not take it within {_hours(plan.take_within_ms)}"
    return "offered", None


def _released(
    rollout: Rollout, known: Mapping[HubKey, Member], steps: dict[HubKey, Step], now_ms: int
) -> Outcome:
    """The next hubs are offered it, where nobody is waited for; and once all of a ring were, it goes on to the next."""
    plan, rings = rollout.plan, {}
    at = rollout.at
    while at < len(plan.rings):
        members = [member for member in known.values() if member.ring == plan.rings[at]]
        if any(_is_waited_for(plan, member, now_ms) for member in members):
            break
        waiting = [member for member in members if progress_of(plan, member) == "waiting"]
        if waiting:
            waiting.sort(key=lambda member: (member.is_silent, member.key))
            for member in waiting[: plan.serial.batch(len(members))]:
                why = _SILENT if member.is_silent else None
                steps[member.key] = Step("away" if why else "offered", now_ms, member.version, why)
            break
        rings[plan.rings[at]] = plan.version
        at += 1
    state: RolloutStanding = "done" if at == len(plan.rings) else "running"
    if (at, state) == (rollout.at, rollout.state):
        return Outcome(rollout, steps, rings)
    return Outcome(replace(rollout, at=at, state=state, changed_at_ms=now_ms), steps, rings)


def _is_waited_for(plan: Plan, member: Member, now_ms: int) -> bool:
    step = member.step
    if step is None:
        return False
    is_missed = step.progress == "away" and now_ms - step.since_ms <= plan.wait_for_away_ms
    return step.progress in BLOCKING or is_missed


def _has_too_many_failed(rollout: Rollout, known: Mapping[HubKey, Member], ring: str) -> bool:
    members = [member for member in known.values() if member.ring == ring]
    failed = len(_in_state(known, ring, "failed")) - rollout.forgiven.get(ring, 0)
    return failed > 0 and rollout.plan.max_failures.is_passed(failed, len(members))


def _in_state(known: Mapping[HubKey, Member], ring: str, progress: Progress) -> list[Member]:
    return [
        member
        for member in known.values()
        if member.ring == ring and member.step is not None and member.step.progress == progress
    ]


def _hours(milliseconds: int) -> str:
    return f"{milliseconds / HOUR_MS:g} hours"
