"""Getting claimed: again and again until the cloud is there, one order at a time, and nothing told that is secret."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.boot.claiming import Claiming
from hub.boot.records import ClaimOrder, State
from hub.config import HubPlaces
from medxz.errors import CloudRequired, StoreError
from medxz.ids import RandomIds
from medxz.program.errors import CommandFailed
from tests.making import HandClock

IDS = {"hub_id": "h", "clinic_id": "c", "site_id": "s"}
CODE = "7KQM2R9TWXYZ3456HJKM"
OTHER = "8KQM2R9TWXYZ3456HJKM"


class Cloud:
    """Answers each claim as it was told to."""

    def __init__(self, *answers: Exception | dict[str, str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str]] = []

    async def claim(self, places, order, environ, clock, ids) -> dict[str, str]:
        self.asked.append((order.cloud_url, order.code, order.name))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def order(code: str = CODE) -> ClaimOrder:
    return ClaimOrder(cloud_url="https://cloud.example", code=code, name="Reception")


def made(folder: Path, cloud: Cloud, said: list[State]) -> Claiming:
    return Claiming(HubPlaces(folder / "hub"), {}, HandClock(), RandomIds(), said.append, cloud.claim)


async def phase(claiming: Claiming, wanted: str) -> None:
    async with asyncio.timeout(10):
        while claiming.state.phase != wanted:
            await asyncio.sleep(0)


async def test_it_tries_until_the_cloud_is_there(tmp_path: Path) -> None:
    """A cloud that can't be reached, that has too much to do or answers nonsense is asked again; then it is a hub."""
    said: list[State] = []
    cloud = Cloud(
        CloudRequired("no route"), CommandFailed("slow down", "wait", "rate_limited"),
        CommandFailed("the cloud answered for another hub", "", "failed"), StoreError("disk"), IDS,
    )  # fmt: skip
    claiming = made(tmp_path, cloud, said)
    claiming.begin(order())
    assert await claiming.run() == IDS
    assert len(cloud.asked) == 5
    assert [state.phase for state in said] == ["trying", "waiting"] * 4 + ["trying", "claimed"]
    assert said[-1].hub_id == "h"


async def test_it_waits_longer_each_time(tmp_path: Path) -> None:
    """A cloud that is away for a day is asked about once a minute, and no more."""
    said: list[State] = []
    cloud = Cloud(*[CloudRequired("no route")] * 60, IDS)
    claiming = made(tmp_path, cloud, said)
    claiming.begin(order())
    begun = claiming._clock.monotonic()
    await claiming.run()
    assert 54 * 30 <= claiming._clock.monotonic() - begun <= 60 * 60


async def test_a_refused_code_is_given_up_and_another_taken(tmp_path: Path) -> None:
    """A code that the cloud refused is not sent a second time; one that is given then is sent at once."""
    said: list[State] = []
    refused: list[int] = []
    cloud = Cloud(CommandFailed("the cloud refused: no such code", "ask for a new code", "code_invalid"), IDS)
    claiming = made(tmp_path, cloud, said)
    claiming.when_refused = lambda: refused.append(1)
    claiming.begin(order())
    running = asyncio.create_task(claiming.run())
    await phase(claiming, "refused")
    for _ in range(20):
        await asyncio.sleep(0)
    assert (len(cloud.asked), len(refused), claiming.state.hint) == (1, 1, "ask for a new code")
    claiming.take(order(OTHER))
    assert await running == IDS
    assert [code for _, code, _ in cloud.asked] == [CODE, OTHER]


async def test_a_wrong_code_costs_no_right_one(tmp_path: Path) -> None:
    """Somebody types a code that is refused while the card's waits for its cloud: the card's is tried again, and is kept."""
    said: list[State] = []
    cloud = Cloud(
        CloudRequired("away"), CommandFailed("no such code", "", "code_invalid"), CloudRequired("away"), IDS
    )
    claiming = made(tmp_path, cloud, said)
    claiming.begin(order())
    running = asyncio.create_task(claiming.run())
    await phase(claiming, "waiting")
    claiming.take(order(OTHER))
    assert claiming.kept == order(OTHER)
    await phase(claiming, "refused")
    await phase(claiming, "waiting")
    assert claiming.kept == order()
    async with asyncio.timeout(10):
        assert await running == IDS
    assert [code for _, code, _ in cloud.asked] == [CODE, OTHER, CODE, CODE]


async def test_what_was_typed_outlives_a_power_cut(tmp_path: Path) -> None:
    """An order that was typed lies on the data partition, for its user alone, until it is done or refused."""
    first = made(tmp_path, Cloud(), [])
    first.take(order())
    file = tmp_path / "hub.claim"
    assert file.stat().st_mode & 0o777 == 0o600
    second = made(tmp_path, Cloud(CloudRequired("away"), IDS), [])
    assert second.kept == order()
    second.begin(None)
    await second.run()
    assert not file.exists()
    third = made(tmp_path, Cloud(CommandFailed("no", "", "code_invalid")), [])
    third.take(order())
    running = asyncio.create_task(third.run())
    await phase(third, "refused")
    assert not file.exists()
    running.cancel()


async def test_the_card_comes_before_what_was_typed(tmp_path: Path) -> None:
    """Somebody who writes a new code onto the card is heard first; where that is refused, what was typed counts still."""
    made(tmp_path, Cloud(), []).take(order(OTHER))
    cloud = Cloud(CommandFailed("no", "", "code_invalid"), IDS)
    claiming = made(tmp_path, cloud, [])
    claiming.begin(order())
    assert await claiming.run() == IDS
    assert [code for _, code, _ in cloud.asked] == [CODE, OTHER]
    assert not (tmp_path / "hub.claim").exists()


async def test_a_card_is_remembered_until_it_is_done(tmp_path: Path) -> None:
    """The card's order is kept too while it is gone by: a power cut after the claim must not leave its code there."""
    claiming = made(tmp_path, Cloud(CloudRequired("away"), IDS), [])
    claiming.begin(order())
    running = asyncio.create_task(claiming.run())
    await phase(claiming, "waiting")
    assert claiming.kept == order()
    await running
    assert claiming.kept is None


async def test_an_order_without_a_code_waits(tmp_path: Path) -> None:
    """A card that names the cloud alone has the box wait for a code."""
    cloud = Cloud(IDS)
    claiming = made(tmp_path, cloud, [])
    claiming.begin(ClaimOrder(cloud_url="https://cloud.example"))
    running = asyncio.create_task(claiming.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert cloud.asked == []
    claiming.take(order())
    assert await running == IDS


async def test_nothing_that_is_told_has_the_code_in_it(tmp_path: Path) -> None:
    """What goes to the screen, the card and the page never has the code in it."""
    said: list[State] = []
    claiming = made(tmp_path, Cloud(CloudRequired("no route"), IDS), said)
    claiming.begin(order())
    await claiming.run()
    assert CODE not in "".join(state.model_dump_json() for state in said)
    assert CODE not in repr(order())


@pytest.mark.parametrize("content", [b"", b"{", b'{"cloud_url": 5}', b"\xff", b'{"foo": "bar"}'])
async def test_a_record_that_rotted_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A file that was cut off or changed is as one that is not there."""
    (tmp_path / "hub.claim").write_bytes(content)
    assert made(tmp_path, Cloud(), []).kept is None
