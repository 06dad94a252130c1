"""Searching among many patients: how long a hub takes to answer the slowest of many questions, with what it says of
each patient, and to list them; and what the tables alone take.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Final
from urllib.parse import quote

from bench import load, works
from bench.context import Context
from bench.figure import Bound, Figure, Series
from bench.people import QUESTIONS, PeopleFamily, people
from bench.stage import Subject
from medxz.limits import LIST_PAGE_DEFAULT
from medxz.merge.view import View
from medxz.store.views import Views, ViewsFile
from medxz.work import InlineWorker

_KEY: Final = bytes(range(32))
_BATCH: Final = 1_000
_TIMES: Final = 7
_LIST: Final = "/v1/entities/Patient"
_TAKEN_IN_S_MAX: Final = 300


def patients(context: Context) -> list[Figure]:
    """All of it."""
    return [*_answers(context), _tables(context)]


def _answers(context: Context) -> list[Figure]:
    """A page of each question and of all patients, over HTTP from a hub that others leave alone."""
    count = context.sizes.patients
    with context.base.copied() as subject:
        subject.fleet.turn(PeopleFamily)
        for _ in context.samples(f"pushing {count:,} patients", count // _BATCH):
            context.loop.run(works.push(subject, clients=1, requests=1, ops_each=_BATCH))
        _wait_until_taken_in(context, subject)
        asked = [f"{_LIST}?q={quote(question)}" for question in QUESTIONS]
        searches: list[list[float]] = []
        lists: list[float] = []
        for _ in context.samples(f"pages of {count:,} patients", context.sizes.pairs):
            searches.append([_answered(context, subject, path) for path in asked])
            lists.append(_answered(context, subject, _LIST))
    among = f"among {count // 1_000} k patients, {LIST_PAGE_DEFAULT} with contents"
    bound = Bound("at most", 20.0)
    usual = Series("the usual one", "ms", [median(sample) for sample in searches])
    return [
        Figure("search", f"slowest of {len(QUESTIONS)} searches {among}", "absolute", bound, "ms",
               [max(sample) for sample in searches], (usual,)),
        Figure("search.list", f"a page of a list {among}", "absolute", bound, "ms", lists),
    ]  # fmt: skip


def _wait_until_taken_in(context: Context, subject: Subject) -> None:
    """What is derived follows behind: until it has caught up, a list is refused."""
    give_up_at = time.monotonic() + _TAKEN_IN_S_MAX
    while True:
        try:
            _answered(context, subject, _LIST)
        except load.Unexpected:
            if time.monotonic() > give_up_at:
                raise
        else:
            return


def _answered(context: Context, subject: Subject, path: str) -> float:
    """Milliseconds, the median of a few times."""
    request = load.get(path, subject.tokens[0])
    run = context.loop.run(load.run(subject.hub.port, [load.Sends([request] * _TIMES)]))
    return median(run.latencies) * 1e3


def _tables(context: Context) -> Figure:
    """A page of each question, from an encrypted file with the cache that a server gives it."""
    count = context.sizes.patients
    file = ViewsFile(context.file("views.db"), _KEY, InlineWorker())
    try:
        taken_us = _fill(context, file, count)
        samples = [
            context.loop.run(file.run("bench", _ask_all))
            for _ in context.samples(f"searches among {count:,} patients", context.sizes.pairs)
        ]
        stored = file.path.stat().st_size / count
    finally:
        context.loop.run(file.close())
    work = f"the same from the tables alone: which patients, of {count // 1_000} k patients, a page of {LIST_PAGE_DEFAULT}"
    slowest = [max(sample) for sample in samples]
    series = (
        Series("the usual one", "ms", [median(sample) for sample in samples]),
        Series("taking in a patient", "µs", taken_us),
        Series("stored for a patient", "bytes", [stored]),
    )
    return Figure("search.tables", work, "absolute", Bound("at most", 20.0), "ms", slowest, series)


def _fill(context: Context, file: ViewsFile, count: int) -> list[float]:
    """Microseconds for a patient, batch by batch."""
    made = people(count, seed=3)
    taken = []
    for _ in context.samples(f"taking in {count:,} patients", count // _BATCH):
        batch = list(islice(made, _BATCH))
        taken.append(context.loop.run(file.run("bench", partial(_put, batch))))
    return taken


def _put(batch: Sequence[View], views: Views) -> float:
    begun = time.perf_counter()
    views.put(batch)
    return (time.perf_counter() - begun) / len(batch) * 1e6


def _ask_all(views: Views) -> list[float]:
    """Milliseconds for each question, the median of a few times: one in the middle of which another ran says little."""
    return [median(_asked(views, question) for _ in range(_TIMES)) for question in QUESTIONS]


def _asked(views: Views, question: str) -> float:
    begun = time.perf_counter()
    views.patients(question, None, LIST_PAGE_DEFAULT)
    return (time.perf_counter() - begun) * 1e3
