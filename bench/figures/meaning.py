"""What it costs to tell conflicts: pushes of ops that meet, on a short log and a long one, and into a long entity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from bench import works
from bench.contested_ops import ContestedFamily, LongFamily
from bench.context import Context
from bench.figure import Bound, Figure, Series
from bench.figures import pushes, scale
from bench.ops import Scene
from bench.stage import Subject

OF: Final = ", two fifths of them of merged and manual types, some concurrent"
LONG_OPS: Final = 10_000
WARM: Final = 100
UPDATE_MS_MAX: Final = 5.0


def conflicts(context: Context) -> list[Figure]:
    """All of it."""
    return [
        pushes.against_raw(context, 1, 0.45, family=ContestedFamily, name="meaning.push", of=OF),
        *pushes.against_echo(context, 0.45, family=ContestedFamily, name="meaning.singles", of=OF),
        *_longer_log(context),
        *_long_entity(context),
    ]


def _longer_log(context: Context) -> list[Figure]:
    """The same pushes on the long log and on the short one, in turns."""
    rows: tuple[tuple[scale.Row, Callable[[Context, scale.Place], float]], ...] = (
        (scale.Row("meaning.push", f"push, 500 a request{OF}", "ops/s", more_is_better=True), scale.push(1)),
        (
            scale.Row("meaning.singles", f"push, 1 a request{OF}", "requests/s", more_is_better=True),
            scale.singles,
        ),
    )
    with context.big.copied() as big, context.base.copied() as small:
        places = scale.Place(big, None), scale.Place(small, None)
        for place in places:
            place.subject.fleet.turn(ContestedFamily)
        return [
            scale.compared(context, row, *scale.in_turns(context, scale.Work(row, measure), places))
            for row, measure in rows
        ]


def _long_entity(context: Context) -> list[Figure]:
    """One more update of an entity with 10,000 ops: while it is known, and the first after a restart."""
    family: LongFamily

    def one_patient(scene: Scene) -> LongFamily:
        nonlocal family
        family = LongFamily(scene)
        return family

    with context.base.copied() as subject:
        subject.fleet.turn(one_patient)
        same: Callable[[Scene], LongFamily] = lambda _: family  # noqa: E731  # the same patient again
        fill = works.push(subject, clients=1, requests=LONG_OPS // works.BATCH_OPS, ops_each=works.BATCH_OPS)
        context.loop.run(fill)
        warm = context.loop.run(works.push(subject, clients=1, requests=WARM, ops_each=1))
        cold = [
            _after_restart(context, subject, partial(subject.fleet.turn, same))
            for _ in context.samples("an update of a long entity after a restart", context.sizes.starts)
        ]
    warm_ms = [seconds * 1_000 for seconds in warm.run.latencies]
    bound = Bound("at most", UPDATE_MS_MAX)
    series = (Series("99 % within", "ms", [warm.run.percentile(0.99) * 1_000]),)
    return [
        Figure(
            "meaning.long.warm",
            "update of an entity with 10,000 ops, durable",
            "absolute",
            bound,
            "ms",
            warm_ms,
            series,
        ),
        Figure("meaning.long.cold", "the same, the first after a restart", "absolute", bound, "ms", cold),
    ]


def _after_restart(context: Context, subject: Subject, turn_back: Callable[[], None]) -> float:
    """Milliseconds. Others push first: what is measured is the entity, not a process that has just begun."""
    subject.hub.stop()
    subject.hub.start()
    subject.fleet.turn(ContestedFamily)
    context.loop.run(works.push(subject, clients=2, requests=20, ops_each=1))
    turn_back()
    updated = context.loop.run(works.push(subject, clients=1, requests=1, ops_each=1))
    return updated.run.latencies[0] * 1_000
