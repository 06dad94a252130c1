"""What makes and judges mutants does what it says: the right lines, one change each, the quickest tests, an honest score."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import interval
from tests.mutants.judging import Finder, Verdict
from tests.mutants.making import changed_lines, mutants_of
from tests.mutants.reaching import TESTS_MAX, Coverage

FILE = "medxz/merge/walk.py"


def test_mutants_are_of_the_lines_that_were_named() -> None:
    """Each begins on one of them and changes the file there; all lines make more."""
    everywhere = list(mutants_of(FILE, None))
    line = everywhere[0].line
    some = list(mutants_of(FILE, {line}))
    assert {one.line for one in some} == {line}
    assert 0 < len(some) < len(everywhere)
    original = some[0].module.code
    assert all(one.source() != original for one in some)
    assert len(changed_lines(None)) > 100


def test_texts_for_people_are_left_alone() -> None:
    """No mutant changes a sentence; names and codes do change."""
    told = [one.told() for one in mutants_of("medxz/service/judge.py", None)]
    assert not any("XXthe op belongs" in one for one in told)
    assert any('"XXwrong_clinicXX"' in one for one in told)


def test_sql_in_other_letters_is_no_mutant() -> None:
    """A statement that is only written in small letters is the same; one that is another stays a mutant."""
    told = [
        one.told()
        for one in mutants_of("medxz/store/registry.py", None)
        if "FROM secret" in one.module.code_for_node(one.node)
    ]
    assert any("XXSELECT name, bytes FROM secretXX" in one for one in told)
    assert not any("select name, bytes from secret" in one for one in told)


def test_the_quickest_tests_come_first() -> None:
    """They are those that reach the line, or the one above where nothing begins; as many as there is time for."""
    mutant = next(mutants_of(FILE, None))
    tests = {f"t{n}": float(n % 7) for n in range(100)}
    line = str(mutant.line - 1)
    coverage = Coverage({"tests": tests, "lines": {FILE: {line: list(tests)}}})
    chosen = coverage.tests_of(mutant)
    assert [tests[one] for one in chosen] == sorted(tests[one] for one in chosen)
    assert 1 < len(chosen) <= TESTS_MAX
    assert Coverage({"tests": {}, "lines": {}}).tests_of(mutant) == []


def test_each_test_comes_before_another_form_of_one() -> None:
    """A hundred forms of one quick test leave room for the others."""
    mutant = next(mutants_of(FILE, None))
    tests = {**{f"one[{n}]": 0.01 for n in range(2 * TESTS_MAX)}, "slow": 2.0, "slower[1]": 3.0}
    coverage = Coverage({"tests": tests, "lines": {FILE: {str(mutant.line): list(tests)}}})
    chosen = coverage.tests_of(mutant)
    assert chosen[:3] == ["one[0]", "slow", "slower[1]"]
    assert len(chosen) == TESTS_MAX


def test_the_changed_module_is_loaded_in_place_of_its_file() -> None:
    """And no other module is."""
    mutant = next(
        one for one in mutants_of("medxz/service/judge.py", None) if "XXwrong_clinicXX" in one.told()
    )
    finder = Finder(mutant)
    spec = finder.find_spec("medxz.service.judge")
    assert (
        "XXwrong_clinicXX" in str(spec.loader.get_code("medxz.service.judge").co_consts[-20:])
        or spec.loader._text
    )
    assert finder.find_spec("medxz.service.plan") is None


@pytest.mark.parametrize(
    ("killed", "count", "low", "high"), [(85, 100, 0.76, 0.91), (0, 0, 0.0, 1.0), (50, 50, 0.92, 1.0)]
)
def test_a_score_says_how_sure_it_is(killed: int, count: int, low: float, high: float) -> None:
    """Wilson's interval, which is never beyond 0 and 1."""
    assert interval(killed, count) == pytest.approx((low, high), abs=0.01)
    assert Verdict(next(mutants_of(FILE, None)), "killed", 1).outcome == "killed"
