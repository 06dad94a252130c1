"""Searching among many patients: how long the slowest of many questions takes, and what taking the patients in costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Final

from bench.context import Context
from bench.figure import Bound, Figure, Series
from bench.people import QUESTIONS, people
from medxz.limits import LIST_PAGE_DEFAULT
from medxz.merge.view import View
from medxz.store.views import Views, ViewsFile
from medxz.work import InlineWorker

_KEY: Final = bytes(range(32))
_BATCH: Final = 1_000
_TIMES: Final = 7


def patients(context: Context) -> list[Figure]:
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
    work = f"slowest of {len(QUESTIONS)} searches among {count // 1_000} k patients, a page of {LIST_PAGE_DEFAULT}"
    slowest = [max(sample) for sample in samples]
    series = (
        Series("the usual one", "ms", [median(sample) for sample in samples]),
        Series("taking in a patient", "µs", taken_us),
        Series("stored for a patient", "bytes", [stored]),
    )
    return [Figure("search", work, "absolute", Bound("at most", 20.0), "ms", slowest, series)]


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
