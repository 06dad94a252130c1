from __future__ import annotations

import asyncio
import threading

import pytest

from medxz.work import InlineWorker, ThreadWorker, Worker


@pytest.fixture(params=["thread", "inline"])
def worker(request):
    worker: Worker = ThreadWorker("tested") if request.param == "thread" else InlineWorker()
    yield worker
    worker.close()


async def test_runs_in_order_one_at_a_time(worker):
    """Functions run in the order in which they were handed in, never two at once."""
    running = 0
    order = []

    def job(number: int) -> int:
        nonlocal running
        running += 1
        assert running == 1
        order.append(number)
        running -= 1
        return number * 2

    answers = await asyncio.gather(*(worker.run(job, number) for number in range(50)))
    assert order == list(range(50))
    assert answers == [number * 2 for number in range(50)]


async def test_an_exception_is_the_awaiters(worker):
    """What a function raises reaches whoever awaits it, and the worker goes on."""
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(int, "7") == 7


async def test_closed_refuses(worker):
    """A closed worker refuses work, and may be closed again."""
    worker.close()
    worker.close()
    with pytest.raises(RuntimeError):
        await worker.run(int, "7")


async def test_one_named_thread():
    """A ThreadWorker has one thread, and its name tells whose it is."""
    worker = ThreadWorker("store-writer")
    names = {await worker.run(lambda: threading.current_thread().name) for _ in range(5)}
    worker.close()
    assert len(names) == 1
    assert names.pop().startswith("store-writer")


async def test_close_waits_for_what_was_handed_in():
    """What was handed in before close has run when close returns."""
    worker = ThreadWorker("tested")
    gate = threading.Event()
    done = []
    task = asyncio.ensure_future(worker.run(lambda: done.append(gate.wait(10))))
    await asyncio.sleep(0)
    threading.Timer(0.05, gate.set).start()
    worker.close()
    assert done == [True]
    await task
