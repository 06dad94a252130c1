"""The report: one page that loads and runs nothing, says what is wrong first, and draws what was seen."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.soak.bounds import judge
from tests.soak.faults import plan
from tests.soak.pace import Pace
from tests.soak.page import render
from tests.soak.plot import POINTS_MAX, Line, Plot, draw, round_ticks, thinned
from tests.soak.samples import Mark, Push, Sample
from tests.soak.settled import Settled, noted
from tests.soak.soak import Told
from tests.soak.verdicts import MIB

RUN = Pace(3_600)
HUB, TABLETS = "hub-a", "tablets-1"
VOID = {"meta", "line", "rect", "path"}


def made(grows: Callable[[float], float] = lambda _: 0.0) -> Told:
    """An hour of a hub and some tablets; the hub's memory grows by so many bytes."""
    told = Told(seed=3, devices=12, pace=RUN, ran_s=RUN.run_s, faults=plan(3, RUN))
    chance = random.Random(1)
    for at in range(0, 3_600, 5):
        for party in (HUB, TABLETS):
            pss = round(70 * MIB + chance.gauss(0, MIB / 4) + (grows(at) if party == HUB else 0))
            pid = 100 + (at >= 1_800) if party == HUB else 7
            told.samples.append(
                Sample(at, party, pid, pss + MIB, pss, 40 + at % 3, 8, at / 10, 4 * MIB, at * 900, MIB, at)
            )
        told.pushes.append(Push(at, 4, 20.0, 45.0))
    told.marks = [Mark(1_800, HUB, "kill <now> & then")]
    told.settled = Settled(heal_s=3, ops=900, acknowledged=900, recorded=890, tablets=12, entities=400)
    told.judgements = judge(told.samples, told.pushes, RUN.warm_up_s)
    return told


class Reading(HTMLParser):
    """Which elements there are, whether they nest, and what they point at."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.leads += [f"{name}={value}" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        self.leads += [name for name, _ in attrs if name.startswith("on")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_stands_alone() -> None:
    """It nests, is drawn in SVG, and neither loads nor runs anything."""
    page = render(made(), "2026-11-22 06:00 UTC", "a machine")
    reading = Reading()
    reading.feed(page)
    assert reading.open == []
    assert "svg" in reading.seen
    assert not reading.seen & {"script", "link", "img", "iframe", "object"}
    assert reading.leads == []
    assert "url(" not in page
    assert "@import" not in page
    assert "kill &lt;now&gt; &amp; then" in page


def test_all_that_is_well_is_said_so() -> None:
    """An hour of flat series, and nobody lacks anything."""
    told = made()
    assert told.findings == []
    assert "All is well" in render(told, "now", "here")


def test_a_leak_stands_at_the_top() -> None:
    """A hub that takes a MiB every three minutes is named, and so is an op that is missing."""
    told = made(lambda at: 20 * MIB * at / 3_600)
    assert told.settled is not None
    told.settled.wrong.append("hub-b lacks 1 acknowledged ops")
    assert told.findings == ["hub-b lacks 1 acknowledged ops", "hub-a: memory grows"]
    page = render(told, "now", "here")
    assert page.index("hub-a: memory grows") < page.index("Verdicts")
    assert "All is well" not in page


def test_tablets_that_move_are_no_leak() -> None:
    """When fifty come to a hub, each with its connections, the hub takes more; that it then holds more is no trend."""
    told = made()
    moved = [
        replace(one, handles=one.handles + 100, pss=one.pss + 7 * MIB, connections=100)
        if one.party == HUB and 900 < one.at_s < 1_500
        else one
        for one in told.samples
    ]
    unexplained = [replace(one, connections=0) if one.at_s > 1_100 else one for one in moved]
    for samples, grown in ((moved, []), (unexplained, ["handles"])):
        judged = judge([one for one in samples if one.at_s < 1_500], [], RUN.warm_up_s)
        assert [one.series for one in judged if one.told.judged == "grows"] == grown


def test_a_run_that_saw_nothing_has_a_page() -> None:
    """Also what failed before its first sample is told."""
    page = render(Told(seed=1, devices=5, pace=Pace(60)), "now", "here")
    assert "how it ended was not checked" in page


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 3), (61, 64), (0.1, 0.13), (5, 90_000), (-2, 1)])
def test_ticks_are_round_and_around(low: float, high: float) -> None:
    """A few round numbers, the least and the greatest value between them."""
    ticks = round_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 8


def test_lines_break_where_a_process_did() -> None:
    """Two pieces are two strokes, and the drawing is lawful XML."""
    figure = draw(Plot("Memory", "MiB", [Line("own", [[(0, 1), (5, 2)], [(20, 1), (25, 3)]])], 30))
    path = ET.fromstring(figure).find(".//path")
    assert path is not None
    assert path.attrib["d"].count("M") == 2


def test_thinning_keeps_what_stands_out() -> None:
    """Of thousands of points a few hundred are drawn, the highest and the lowest among them."""
    points = [(float(at), 5.0 + at % 3) for at in range(20_000)]
    points[777], points[12_345] = (777.0, 99.0), (12_345.0, -9.0)
    kept = thinned(points, POINTS_MAX)
    assert len(kept) <= POINTS_MAX
    assert {(777.0, 99.0), (12_345.0, -9.0)} <= set(kept)
    assert kept == sorted(kept)


def test_what_tablets_note_is_read(tmp_path: Path) -> None:
    """Recorded and acknowledged ops, each once, whatever became of them."""
    one, other = tmp_path / "a.notes", tmp_path / "b.notes"
    one.write_text("recorded 1\nacknowledged 1 hub\nacknowledged 1 cloud\nrecorded 2\n")
    other.write_text("recorded 3\nacknowledged 3 cloud\n")
    assert noted([one, other]) == ({"1", "2", "3"}, {"1", "3"})
