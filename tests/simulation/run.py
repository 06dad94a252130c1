"""Running one world in this process, and telling how it ended."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.disk.memory import in_memory
from tests.simulation.checkers.violation import Violation
from tests.simulation.healing import NotInStep
from tests.simulation.loop import SimLoop, run_world
from tests.simulation.outcome import Asked, Failure, Outcome
from tests.simulation.parties.cheap import cheap
from tests.simulation.parties.drawn import drawn, told_by
from tests.simulation.plan import Plan, make_plan
from tests.simulation.world import World

_TOLD_CHARS_MAX: Final = 1_500


def run_asked(asked: Asked) -> Outcome:
    """The world of a seed, or what is kept of it, in a folder of its own that is gone afterwards."""
    plan = make_plan(asked.seed, asked.steps)
    if asked.keep is not None:
        plan = plan.keeping(asked.keep)
    begun_s = time.process_time()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        stack.enter_context(cheap())
        stack.enter_context(drawn(asked.seed))
        if asked.bug is not None:
            from tests.simulation.bugs import planted

            stack.enter_context(planted(asked.bug))
        return _outcome(plan, asked, *_run(plan, folder), begun_s)


def _outcome(
    plan: Plan, asked: Asked, world: World | None, failure: Failure | None, begun_s: float
) -> Outcome:
    return Outcome(
        seed=asked.seed, failure=failure,
        fingerprint=world.trace.fingerprint() if world is not None else "",
        steps=tuple(one.number for one in plan.steps),
        told=tuple(
            f"{one.number}: {world.told.get(one.number, f'({one.step})') if world is not None else one.step}"
            for one in plan.steps
        ),
        done=dict(world.done) if world is not None else {},
        felt=dict(world.felt) if world is not None else {},
        ops=len(world.ledger.authors) if world is not None else 0,
        virtual_s=round(world.now_s, 3) if world is not None else 0,
        cpu_s=round(time.process_time() - begun_s, 3),
        trace=tuple(world.trace.lines) if world is not None and asked.trace else (),
    )  # fmt: skip


def _run(plan: Plan, folder: Path) -> tuple[World | None, Failure | None]:
    world: World | None = None

    async def whole(loop: SimLoop) -> None:
        nonlocal world
        world = World(loop, plan, folder)
        with told_by(loop.time):
            await world.run()

    try:
        run_world(whole, plan.seed)
    except Violation as violation:
        return world, Failure(str(violation.checker), str(violation))
    except NotInStep as late:
        return world, Failure("liveness", str(late))
    except Exception as error:  # noqa: BLE001  whatever it is, the seed has to be told
        return world, Failure("harness", _told(error))
    finally:
        if world is not None:
            world.close()
    return world, None


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="medxz-world-", dir=in_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{text[-_TOLD_CHARS_MAX:]}"
