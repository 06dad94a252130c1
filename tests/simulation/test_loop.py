"""The loop of simulated worlds: its time, its work of threads, its bounds, its end."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from medxz.work import ThreadWorker
from tests.simulation.loop import Endless, SimLoop, Stuck, run_world


def test_time_is_passed_without_waiting() -> None:
    """A day of the world takes no time of ours, and its clock says that it was a day."""

    async def world(loop: SimLoop) -> float:
        begun = loop.time()
        await asyncio.sleep(86_400)
        return loop.time() - begun

    begun = time.monotonic()
    assert run_world(world) == pytest.approx(86_400, abs=0.001)
    assert time.monotonic() - begun < 5


def test_timers_come_in_their_order() -> None:
    """Timers ring by their time, those of one moment in the order in which they were set, and none that was cancelled."""
    rung: list[str] = []

    async def world(loop: SimLoop) -> None:
        loop.call_later(2, rung.append, "late")
        same = loop.time() + 1
        for name in "abcdef":
            loop.call_at(same, rung.append, name)
        loop.call_later(0.5, rung.append, "never").cancel()
        for _ in range(1_000):
            loop.call_later(1_000, rung.append, "never").cancel()
        await asyncio.sleep(3)

    run_world(world)
    assert rung == [*"abcdef", "late"]


def test_a_timeout_ends_what_takes_too_long() -> None:
    """asyncio's own timeouts go by the world's time."""

    async def world(loop: SimLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await loop.create_future()
        return loop.time()

    assert run_world(world) == pytest.approx(30, abs=0.001)


def test_work_of_threads_is_done_in_place_and_known_later() -> None:
    """A worker's functions run one after another on the loop's own thread; their answers come in order, and later."""
    done: list[int] = []

    async def world(loop: SimLoop) -> list[int]:
        worker = ThreadWorker("w")
        asked = [asyncio.create_task(worker.run(done.append, number)) for number in range(20)]
        answered: list[int] = []
        for number, task in enumerate(asked):
            task.add_done_callback(partial(_append, answered, number))
        await asyncio.sleep(0)
        assert done == list(range(20))
        assert answered == []
        await asyncio.gather(*asked)
        assert loop.time() > 0
        worker.close()
        with pytest.raises(RuntimeError):
            await worker.run(done.append, 20)
        return answered

    assert run_world(world) == list(range(20))


def _append(answered: list[int], number: int, _: object) -> None:
    answered.append(number)


def test_work_that_fails_fails_for_who_asked() -> None:
    """What a function of a thread raises is raised where it is awaited; who was cancelled meanwhile hears nothing."""

    def fail() -> None:
        raise ValueError("so")

    async def world(loop: SimLoop) -> list[str]:
        with pytest.raises(ValueError, match="so"):
            await asyncio.to_thread(fail)
        cancelled = asyncio.ensure_future(loop.run_in_executor(ThreadPoolExecutor(1), fail))
        cancelled.cancel()
        await asyncio.sleep(1)
        return loop.broken

    assert run_world(world) == []


def test_a_world_in_which_nothing_can_happen_says_who_waits() -> None:
    """A world that waits for nothing ends at once with the names of what it waits for."""

    async def for_ever(loop: SimLoop) -> None:
        await loop.create_future()

    async def world(loop: SimLoop) -> None:
        await asyncio.create_task(for_ever(loop), name="the patient one")

    with pytest.raises(Stuck, match="the patient one"):
        run_world(world)


@pytest.mark.parametrize("pause_s", [0.0, 10.0])
def test_a_world_that_does_not_end_is_ended(pause_s: float) -> None:
    """Steps and time have bounds, whether a world spins or dawdles."""

    async def world(_: SimLoop) -> None:
        while True:
            await asyncio.sleep(pause_s)

    with pytest.raises(Endless, match="1 tasks"):
        run_world(world, steps_max=10_000, time_s_max=1_000)


def test_sets_of_tasks_are_walked_in_one_order() -> None:
    """Tasks and futures are hashed by their number, which does not depend on where in memory they lie."""

    async def world(loop: SimLoop) -> list[str]:
        tasks = {asyncio.create_task(asyncio.sleep(1), name=str(number)) for number in range(50)}
        done, _ = await asyncio.wait(tasks)
        assert {hash(loop.create_future()) for _ in range(3)} != {0}
        return [task.get_name() for task in done]

    assert run_world(world) == run_world(world)


def test_what_fails_without_a_witness_is_kept() -> None:
    """An error in a callback does not end the world, and is told at its end."""

    def fail() -> None:
        raise ValueError("unseen")

    async def world(loop: SimLoop) -> list[str]:
        loop.call_soon(fail)
        await asyncio.sleep(1)
        return loop.broken

    [told] = run_world(world)
    assert "unseen" in told


@pytest.mark.filterwarnings("error")
def test_what_is_left_at_the_end_is_closed_without_a_word() -> None:
    """A world's end closes tasks that still wait, stubborn ones too, and warns of none of them."""
    closed: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            closed.append("stubborn")
            await asyncio.sleep(1)
            closed.append("never")

    async def world(_: SimLoop) -> None:
        _kept = [asyncio.create_task(stubborn()), asyncio.create_task(stubborn())]
        await asyncio.sleep(1)

    run_world(world)
    assert closed == ["stubborn"] * 2
