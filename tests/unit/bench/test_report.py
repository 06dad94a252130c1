"""How figures are judged and told."""

from dataclasses import replace

import pytest

from bench.figure import Bound, Series, ratio
from bench.limits import best_rates, best_times
from bench.report import HUB_PAGE, Machine, OthersWatch, as_json, write_page

FIGURE = ratio(
    "push.1",
    "durable push",
    "raw insert",
    Bound("at least", 0.65),
    Series("push", "ops/s", [60.0, 90.0, 70.0]),
    Series("raw insert", "rows/s", [100.0, 100.0, 100.0]),
)
MACHINE = Machine("python -m bench", "2026-01-01 00:00 UTC", 60.0, 0.02)


@pytest.mark.parametrize(
    ("sense", "reached", "holds"),
    [("at least", 0.65, True), ("at least", 0.64, False), ("at most", 0.65, True), ("at most", 0.66, False)],
)
def test_a_bound_includes_itself(sense, reached, holds) -> None:
    """What is exactly at the bound holds, what is beyond it does not."""
    assert Bound(sense, 0.65).holds(reached) is holds


def test_the_median_of_the_pairs_decides() -> None:
    """Ratios are taken pair by pair, and their median is the figure."""
    assert FIGURE.values == [0.6, 0.9, 0.7]
    assert FIGURE.median == 0.7
    assert FIGURE.holds


def test_the_limit_is_one_way_of_doing_it() -> None:
    """Of several ways the one with the best median is the limit, with its own figures throughout: luck is no way."""
    samples = [{"a": 10.0, "b": 1.0}, {"a": 10.0, "b": 30.0}, {"a": 10.0, "b": 2.0}]
    assert best_rates(samples) == [10.0, 10.0, 10.0]
    assert best_times(samples) == [1.0, 30.0, 2.0]


def test_the_page_tells_all_of_it(tmp_path) -> None:
    """The page has machine, date, command, and of each figure its bound, median, least and greatest."""
    page = replace(HUB_PAGE, path=tmp_path / "performance.md")
    write_page([FIGURE], MACHINE, page)
    text = page.path.read_text("utf-8")
    for wanted in (
        "2026-01-01",
        "`python -m bench`",
        "cores",
        "at least 0.65 ×",
        "**0.7 ×**",
        "0.6 – 0.9",
        "yes",
    ):
        assert wanted in text


def test_the_json_tells_all_of_it() -> None:
    """The object for programs has the pairs behind each figure."""
    [figure] = as_json([FIGURE], MACHINE)["figures"]
    assert (figure["name"], figure["bound"], figure["median"], figure["pairs"]) == (
        "push.1",
        "at least 0.65",
        0.7,
        3,
    )
    assert figure["series"]["push"]["values"] == [60.0, 90.0, 70.0]


def test_what_others_take_is_a_share() -> None:
    """The time that others took of the machine is between nothing and all of it."""
    watch = OthersWatch()
    sum(range(200_000))
    assert 0 <= watch.share() <= 1
