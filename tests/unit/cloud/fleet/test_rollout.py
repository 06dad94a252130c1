"""A rollout as a state machine: fleets drawn at random, in which hubs take, fail, fall silent and come back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.fleet.rollout import (
    HubKey,
    Member,
    Outcome,
    Plan,
    Rollout,
    Share,
    Step,
    Verb,
    advance,
    change,
    progress_of,
    wish,
)
from medxz.errors import RolloutState
from tests.making import fixed_id

KIND, OLD, NEW = "medxz-hub-arm64", "0.1.0", "0.2.0"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def plan(**changes: object) -> Plan:
    made = Plan(
        version=NEW,
        rings=("canary", "all"),
        kinds=frozenset({KIND}),
        serial=Share(1, False),
        max_failures=Share(0, False),
        wait_for_away_ms=6 * HOUR_MS,
        take_within_ms=12 * HOUR_MS,
        settle_within_ms=HOUR_MS,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def begun(**changes: object) -> Rollout:
    return Rollout(fixed_id(1), plan(**changes), "running", 0, 0, {"canary": None, "all": OLD})


def hub(number: int, ring: str = "all", **changes: object) -> Member:
    key = (fixed_id(0xC0), fixed_id(number))
    return replace(Member(key, ring, OLD, KIND, False, None, 0), **changes)  # type: ignore[arg-type]


@dataclass
class World:
    """A rollout, and the hubs as they stand. What they do is what they are told to."""

    rollout: Rollout
    hubs: dict[HubKey, Member]
    now_ms: int = 0
    rings: dict[str, str | None] = field(default_factory=lambda: {"canary": None, "all": OLD})

    @classmethod
    def of(cls, rollout: Rollout, *hubs: Member) -> World:
        return cls(rollout, {one.key: one for one in hubs})

    def take(self, outcome: Outcome) -> None:
        self.rollout = outcome.rollout
        self.rings |= outcome.rings
        for key, step in outcome.steps.items():
            self.hubs[key] = replace(self.hubs[key], step=step)

    def step(self, minutes: int = 1) -> None:
        self.now_ms += minutes * MINUTE_MS
        self.take(advance(self.rollout, self.hubs.values(), self.now_ms))

    def change(self, verb: Verb) -> None:
        self.take(change(self.rollout, verb, self.hubs.values(), self.now_ms))

    def progress(self, number: int) -> str:
        return progress_of(self.rollout.plan, self.hubs[fixed_id(0xC0), fixed_id(number)])

    def set(self, number: int, **changes: object) -> None:
        key = (fixed_id(0xC0), fixed_id(number))
        self.hubs[key] = replace(self.hubs[key], **changes)  # type: ignore[arg-type]

    def wanted(self, number: int) -> tuple[str | None, str | None]:
        found = self.hubs[fixed_id(0xC0), fixed_id(number)]
        wanted = wish(self.rings.get(found.ring), found.step, self.rollout)
        return wanted.version, wanted.instead_of


def test_one_batch_after_another() -> None:
    """The next hubs of a ring begin when those before are done: well, with nothing left that has not gone up."""
    world = World.of(begun(serial=Share(2, False)), hub(1, "canary"), *(hub(n) for n in range(2, 6)))
    world.step()
    assert [world.progress(n) for n in range(1, 6)] == ["offered"] + ["waiting"] * 4
    world.set(1, version=NEW, unwell="it is not well: disk")
    world.step()
    world.set(1, unwell=None, backlog=3)
    world.step()
    assert world.progress(1) == "settling"
    world.set(1, backlog=0)
    world.step()
    assert [world.progress(n) for n in range(1, 6)] == ["done", "offered", "offered", "waiting", "waiting"]
    world.set(2, version=NEW)
    world.step()
    assert world.progress(4) == "waiting", "the other of the two is not there yet"
    for number in (3, 4, 5):
        world.set(number, version=NEW)
        world.step()
    world.step()
    assert world.rollout.state == "done"
    assert world.rings == {"canary": NEW, "all": NEW}


def test_too_many_failed_pause_it() -> None:
    """More failed hubs than allowed pause it by itself; resumed, those are forgiven, and the next one pauses it again."""
    world = World.of(
        begun(serial=Share(9, False), max_failures=Share(25, True)), *(hub(n) for n in range(1, 9))
    )
    world.step()
    for number in (1, 2):
        world.set(number, failed=(NEW, "it does not serve"))
        world.step()
    assert world.rollout.state == "running", "a quarter of them may"
    world.set(3, failed=(NEW, "it does not serve"))
    world.step()
    assert (world.rollout.state, world.progress(3)) == ("paused", "failed")
    assert world.wanted(4) == (OLD, None), "nobody else begins"
    world.change("resume")
    world.step()
    assert (world.rollout.state, world.wanted(4)) == ("running", (NEW, None))
    for number in (4, 5, 6):
        world.set(number, failed=(NEW, "it does not serve"))
    world.step()
    assert (world.rollout.state, world.progress(4)) == ("paused", "failed")


def test_who_is_away_is_no_failure() -> None:
    """A hub that is silent is waited for so long and no longer, gets the version when it is back, and never pauses it."""
    world = World.of(begun(), hub(1, is_silent=True), hub(2))
    world.step()
    assert world.progress(1) == "waiting", "who is there comes first"
    world.set(2, version=NEW)
    world.step()
    world.step()
    assert world.progress(1) == "away"
    world.step(5 * 60)
    assert world.rollout.state == "running"
    world.step(2 * 60)
    assert (world.rollout.state, world.wanted(1)) == ("done", (NEW, None))


def test_who_comes_back_has_its_time() -> None:
    """One that was away when it had taken it has as long to settle as the others, from when it is back."""
    world = World.of(begun(), hub(1))
    world.step()
    world.set(1, version=NEW, backlog=9, is_silent=True)
    world.step()
    world.step(5 * 60)
    world.set(1, is_silent=False)
    world.step()
    assert world.progress(1) == "settling"
    world.step(59)
    assert world.progress(1) == "settling"
    world.step(3)
    assert (world.progress(1), world.wanted(1)) == ("failed", (OLD, NEW))


def test_who_does_not_take_it() -> None:
    """One that is there and does not take it in time has failed; one of another kind, or on a newer version, is left out."""
    world = World.of(begun(max_failures=Share(1, False)), hub(1), hub(2, kind=None), hub(3, version="0.3.0"))
    world.step()
    world.step(13 * 60)
    assert [world.progress(n) for n in (1, 2, 3)] == ["failed", "skipped", "skipped"]


def test_who_never_told_what_it_runs() -> None:
    """A hub of which nothing is known holds the rings behind it up as one that is away does, and is offered it when it tells."""
    world = World.of(begun(), hub(1, "canary", version=None, kind=None, is_silent=True), hub(2))
    world.step()
    assert [world.progress(n) for n in (1, 2)] == ["away", "waiting"]
    assert world.wanted(1) == (NEW, None)
    world.set(1, version=OLD, kind=KIND, is_silent=False)
    world.step()
    assert world.progress(1) == "offered"
    world.set(1, failed=(NEW, "it does not serve"))
    world.step()
    assert (world.rollout.state, world.wanted(1)) == ("paused", (OLD, NEW))


def test_aborted_everybody_goes_back() -> None:
    """Rings get their version back, and who took it is told to go back to what it ran; others are told nothing."""
    world = World.of(begun(), hub(1, "canary", version="0.1.5"), hub(2), hub(3))
    world.step()
    world.set(1, version=NEW)
    world.step()
    world.set(2, version=NEW)
    world.change("abort")
    assert world.rings == {"canary": None, "all": OLD}
    assert world.wanted(1) == ("0.1.5", NEW)
    assert world.wanted(2) == (OLD, NEW)
    assert world.wanted(3) == (OLD, None)
    verbs: tuple[Verb, ...] = ("pause", "resume", "abort")
    for verb in verbs:
        with pytest.raises(RolloutState):
            world.change(verb)


EVENTS = st.sampled_from(
    ["take", "settle", "fail", "silence", "return", "unwell", "time", "pause", "resume", "move", "long"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(["canary", "all", "elsewhere"]), min_size=1, max_size=8),
    st.lists(st.tuples(EVENTS, st.integers(0, 7)), max_size=60),
    st.integers(0, 3),
    st.integers(1, 4),
    st.booleans(),
)
def test_whatever_happens(
    rings: list[str], events: list[tuple[str, int]], failures: int, serial: int, abort: bool
) -> None:
    """Never too many at once, never past its limit, nobody behind before their ring, no step twice another; and it ends."""
    world = World.of(
        begun(serial=Share(serial, False), max_failures=Share(failures, False)),
        *(hub(number, ring) for number, ring in enumerate(rings)),
    )
    for event, number in events:
        happens(world, event, number % len(rings))
        before = dict(world.hubs)
        world.step()
        holds(world, before, serial, failures)
        again = advance(world.rollout, world.hubs.values(), world.now_ms)
        assert (again.rollout, again.steps) == (world.rollout, {}), "the same once more is nothing new"
    if abort and not world.rollout.is_over:
        world.change("abort")
        assert all(world.wanted(number)[0] != NEW for number in range(len(rings)))
        return
    comes_to_an_end(world, len(rings))


def happens(world: World, event: str, number: int) -> None:
    key = (fixed_id(0xC0), fixed_id(number))
    member = world.hubs[key]
    runs_it, offered = member.version == NEW, world.wanted(number)[0] == NEW
    if event == "take" and offered and not member.is_silent and not runs_it:
        world.set(number, version=NEW, unwell="it is being tried still", backlog=2)
    elif event == "settle" and runs_it:
        world.set(number, unwell=None, backlog=0)
    elif event == "fail" and offered:
        world.set(number, version=OLD, failed=(NEW, "it does not serve"))
    elif event in {"silence", "return"}:
        world.set(number, is_silent=event == "silence")
    elif event == "unwell":
        world.set(number, unwell="it is not well: disk")
    elif event in {"time", "long"}:
        world.now_ms += (30 if event == "time" else 13 * 60) * MINUTE_MS
    elif event == "move":
        world.set(number, ring="all")
    elif event == "pause" and not world.rollout.is_over:
        world.change("pause")
    elif event == "resume" and world.rollout.state == "paused":
        world.change("resume")


def holds(world: World, before: dict[HubKey, Member], serial: int, failures: int) -> None:
    rollout = world.rollout
    began = [key for key, member in world.hubs.items() if member.step and before[key].step is None]
    assert len(began) <= serial
    if began:
        assert rollout.state == "running"
        [ring] = {world.hubs[key].ring for key in began}
        assert ring == rollout.ring
        waited_for = [
            member
            for key, member in world.hubs.items()
            if member.ring == ring
            and key not in began
            and member.step
            and member.step.progress in {"offered", "settling"}
        ]
        assert waited_for == [], "those before are done, failed, or away for long"
    if rollout.state == "running":
        for ring in rollout.plan.rings:
            failed = [
                member
                for member in world.hubs.values()
                if member.ring == ring and member.step and member.step.progress == "failed"
            ]
            assert len(failed) - rollout.forgiven.get(ring, 0) <= failures
    for ring in rollout.plan.rings[rollout.at :]:
        later = rollout.plan.rings[rollout.at + 1 :]
        assert ring not in later or all(
            member.step is None or before[key].step is not None
            for key, member in world.hubs.items()
            if member.ring == ring
        )
    for key, member in world.hubs.items():
        was = before[key].step
        if was is not None and was.progress in {"done", "failed"}:
            assert member.step == was, "what is over stays over"


def comes_to_an_end(world: World, hubs: int) -> None:
    """Hubs that do what they are told bring any rollout to its end."""
    for _ in range(4 * hubs + 8):
        if world.rollout.state == "paused":
            world.change("resume")
        for number in range(hubs):
            world.set(number, is_silent=False, unwell=None)
            if world.wanted(number)[0] == NEW:
                world.set(number, version=NEW, backlog=0)
        world.step()
    assert world.rollout.state == "done"


def test_a_step_says_what_it_was() -> None:
    """What a hub ran is kept with its step, whatever it says afterwards."""
    world = World.of(begun(), hub(1, version="0.1.7"))
    world.step()
    assert world.hubs[fixed_id(0xC0), fixed_id(1)].step == Step("offered", MINUTE_MS, "0.1.7")
