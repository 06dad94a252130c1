"""The mistakes that can be planted: each goes in and comes out again, and the quickest to find are found."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS, hunt, planted, table
from tests.simulation.mistakes.planting import Plant
from tests.simulation.pool import open_pool

STEPS = 20
WORLDS = 12
# the others take longer than a test may: `make plants` hunts for all of them
QUICK = {
    "audit_without_chain": {"6"},
    "clinic_left_out": {"4"},
    "synchronous_off": {"1", "2", "liveness"},
}


@pytest.mark.parametrize("name", BUGS)
def test_a_mistake_goes_in_and_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planting changes names of the real code that are there, and leaves all of them as they were."""
    changed: list[tuple[object, str, object]] = []
    put = Plant.put

    def noting(self: Plant, owner: object, attribute: str, value: object) -> object:
        before = put(self, owner, attribute, value)
        changed.append((owner, attribute, before))
        return before

    monkeypatch.setattr(Plant, "put", noting)
    with planted(name):
        assert changed
        assert all(vars(owner)[attribute] is not before for owner, attribute, before in changed)
    assert all(vars(owner)[attribute] is before for owner, attribute, before in changed)


def test_a_mistake_that_there_is_not() -> None:
    """A name that stands for no mistake is refused, before a world is run without one."""
    with pytest.raises(KeyError), planted("no_such_mistake"):
        pass


async def test_worlds_find_the_quickest() -> None:
    """A mistake that shows at once is caught within a few worlds, by the checker whose promise it breaks."""
    async with open_pool(1) as pool:
        caught = [await hunt(pool, 1, BUGS[name], range(1, 1 + WORLDS), STEPS) for name in QUICK]
    for one in caught:
        assert one.checker in QUICK[one.name], one
        assert one.name in "".join(table([one]))
