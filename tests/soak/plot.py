"""A plot of lines over time as SVG, drawn by hand: axes with round numbers, marks, spans and a limit. No script, no library.

Colours come from the page by class, so that one drawing serves a light and a dark screen, and paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 190
LEFT: Final = 52
RIGHT: Final = 10
TOP: Final = 10
BOTTOM: Final = 24
POINTS_MAX: Final = 500
"""More are thinned out; of each piece the least and the greatest stay."""
TICKS: Final = 4

At = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Pieces of one line, each without a gap: (second, value)."""

    name: str
    pieces: Sequence[Sequence[At]]


@dataclass(frozen=True, slots=True)
class Span:
    """A time during which something was so; drawn behind the lines."""

    from_s: float
    until_s: float
    about: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn. `marks` are starts of the process; `limit` a line that is not to be passed, shown where it is near."""

    title: str
    unit: str
    lines: Sequence[Line]
    until_s: float
    marks: Sequence[Span] = ()
    spans: Sequence[Span] = ()
    limit: float | None = None


def draw(plot: Plot) -> str:
    """A figure with its caption and legend."""
    values = [value for line in plot.lines for piece in line.pieces for _, value in piece]
    if not values:
        return f"<figure><figcaption>{escape(plot.title)}: no samples</figcaption></figure>"
    shown_limit = plot.limit if plot.limit is not None and plot.limit < 4 * max(*values, 1) else None
    ticks = round_ticks(min(values), max(*values, shown_limit or -math.inf))
    scale = _Scale(plot.until_s, ticks[0], ticks[-1])
    inner = [
        *_spans(plot, scale), *_grid(ticks, scale), *_hours(plot.until_s, scale), *_marks(plot, scale),
        *(_path(line, number, scale) for number, line in enumerate(plot.lines)),
    ]  # fmt: skip
    if shown_limit is not None:
        y = scale.y(shown_limit)
        inner.append(
            f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f"<title>limit: {_number(shown_limit)} {escape(plot.unit)}</title></line>"
        )
    unit = f" <small>{escape(plot.unit)}</small>" if plot.unit else ""
    keys = "".join(
        f'<span class="key k{number}">{escape(line.name)}</span>' for number, line in enumerate(plot.lines)
    )
    spoken = escape(f"{plot.title}: from {_number(min(values))} to {_number(max(values))} {plot.unit}")
    return (
        f"<figure><figcaption><b>{escape(plot.title)}</b>{unit} {keys}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}">{"".join(inner)}</svg></figure>'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    until_s: float
    low: float
    high: float

    def x(self, at_s: float) -> float:
        share = min(1.0, max(0.0, at_s / self.until_s)) if self.until_s else 0.0
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers around what is between these; from zero where that costs little room."""
    low = 0.0 if 0 <= low < high / 2 else low
    step = _round((high - low) / TICKS or max(abs(high), 1.0) / TICKS)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [number * step for number in range(first, last + 1)]


def _round(step: float) -> float:
    power = 10 ** math.floor(math.log10(step))
    return next(round_to * power for round_to in (1, 2, 5, 10) if step <= round_to * power)


def _grid(ticks: Sequence[float], scale: _Scale) -> Iterator[str]:
    for tick in ticks:
        y = scale.y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="end" x="{LEFT - 6}" y="{y + 4:.1f}">{_number(tick)}</text>'


def _hours(until_s: float, scale: _Scale) -> Iterator[str]:
    """The axis of time, in minutes, or in hours where there are many."""
    by, unit = (3_600, "h") if until_s > 3 * 3_600 else (60, "min") if until_s > 180 else (1, "s")
    for tick in round_ticks(0, until_s / by):
        if tick * by <= until_s:
            yield (
                f'<text class="middle" x="{scale.x(tick * by):.1f}" y="{HEIGHT - 6}">'
                f"{_number(tick)}{' ' + unit if tick == 0 else ''}</text>"
            )


def _spans(plot: Plot, scale: _Scale) -> Iterator[str]:
    for span in plot.spans:
        x = scale.x(span.from_s)
        width = max(1.0, scale.x(span.until_s) - x)
        yield (
            f'<rect class="span" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}">'
            f"<title>{escape(span.about)}</title></rect>"
        )


def _marks(plot: Plot, scale: _Scale) -> Iterator[str]:
    for mark in plot.marks:
        x = scale.x(mark.from_s)
        yield (
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
            f"<title>{escape(mark.about)}</title></line>"
        )


def _path(line: Line, number: int, scale: _Scale) -> str:
    count = sum(map(len, line.pieces))
    steps: list[str] = []
    for piece in line.pieces:
        for place, (at_s, value) in enumerate(
            thinned(piece, max(4, POINTS_MAX * len(piece) // max(1, count)))
        ):
            steps.append(f"{'L' if place else 'M'}{scale.x(at_s):.1f} {scale.y(value):.1f}")
    return f'<path class="line k{number}" d="{"".join(steps)}"><title>{escape(line.name)}</title></path>'


def thinned(piece: Sequence[At], most: int) -> list[At]:
    """As many points at most, and nothing that stands out is lost."""
    if len(piece) <= most:
        return list(piece)
    each = math.ceil(len(piece) / (most / 2))
    kept: list[At] = []
    for _, group in groupby(enumerate(piece), lambda pair: pair[0] // each):
        points = [point for _, point in group]
        low, high = min(points, key=lambda one: one[1]), max(points, key=lambda one: one[1])
        kept += sorted({low, high})
    return kept


def _number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1_000:,.0f}k"
    return f"{value:.10g}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"
