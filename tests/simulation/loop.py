"""The event loop of a simulated world: virtual time, work of threads done in place, connections in memory.

Nothing of it waits: when nothing can run, time jumps to the next timer. What belongs to a machine that has crashed is
dropped unrun and kept, so that no `finally` of it ever does what the crash prevented. Refused: a world in which nothing
can happen any more, and one that does not end.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, Final, Self, TypeVar, TypeVarTuple

from anyio._backends._asyncio import _task_states

from medxz.program.running import raise_open_files
from tests.simulation.incarnation import INCARNATION, Incarnation
from tests.simulation.network import Network
from tests.simulation.transport import SimServer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX: Final = 20_000_000
TIME_S_MAX: Final = 90 * 86_400.0
WORK_S_MAX: Final = 0.001
# a round of the loop takes a moment, so that whoever polls a clock sees it move
_ROUND_S: Final = 1e-6
_CANCELLED_TIMERS_MIN: Final = 256
_TOLD_TASKS_MAX: Final = 20
# what is closed begins others, to tidy up
_CLOSING_ROUNDS: Final = 3


class Endless(Exception):
    """The world did not end within its bounds."""


class Stuck(Exception):
    """Nothing can happen in this world any more, and it has not come to its end."""


class SimTask(asyncio.Task[Any]):
    """A task with a number: sets of tasks are walked in the same order in every process."""

    serial: int
    incarnation: Incarnation | None

    def __new__(cls, coro: object, *, loop: SimLoop, name: str | None, context: Context | None) -> Self:
        task = super().__new__(cls)
        task.serial = next(loop.serials)
        task.incarnation = INCARNATION.get() if context is None else context.get(INCARNATION)
        return task

    def __hash__(self) -> int:
        return self.serial

    __eq__ = object.__eq__


class SimFuture(asyncio.Future[Any]):
    """A future with a number, for the same reason."""

    serial: int

    def __new__(cls, *, loop: SimLoop) -> Self:
        future = super().__new__(cls)
        future.serial = next(loop.serials)
        return future

    def __hash__(self) -> int:
        return self.serial

    __eq__ = object.__eq__


class SimLoop(asyncio.BaseEventLoop):
    """One world's loop. `network` is what its connections go through; `broken` is what failed without a witness.

    `endings` is called when the world is over: the first of each before what is left is closed, the second after it.
    """

    def __init__(
        self,
        seed: object = 0,
        *,
        steps_max: int = STEPS_MAX,
        time_s_max: float = TIME_S_MAX,
        work_s_max: float = WORK_S_MAX,
    ) -> None:
        super().__init__()
        self.set_debug(False)
        self.serials = itertools.count(1)
        self.steps = 0
        self.broken: list[str] = []
        self.endings: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.network = Network(self, Random(f"{seed} network"))
        self._random = Random(f"{seed} work")
        self._steps_max = steps_max
        self._time_s_max = time_s_max
        self._work_s_max = work_s_max
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_numbers = itertools.count()
        self._cancelled_timers = 0
        self._answered_at: weakref.WeakKeyDictionary[object, float] = weakref.WeakKeyDictionary()
        self._ghosts: list[object] = []
        self.set_exception_handler(self._broke)

    # ----------------------------------------------------------------------------------------------- time

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._cancelled_timers += 1

    # ------------------------------------------------------------------------------------------- running

    def _run_once(self) -> None:
        """Everything until it is told to stop."""
        ready = self._ready  # type: ignore[attr-defined]
        while not self._stopping:  # type: ignore[attr-defined]
            if not ready:
                self._jump()
            self._now += _ROUND_S
            count = len(ready)
            self.steps += count
            if self.steps > self._steps_max:
                raise Endless(f"{self.steps} steps in {self._now:.3f} s of its time; {self.told()}")
            for _ in range(count):
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                incarnation = handle._context.get(INCARNATION)
                if incarnation is None or incarnation.alive:
                    handle._run()
                else:
                    incarnation.ghosts.append(handle)
            self._ring()

    def _jump(self) -> None:
        """On to the next timer."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            raise Stuck(f"nothing can happen any more after {self._now:.3f} s; {self.told()}")
        self._now = max(self._now, timers[0][0])
        if self._now > self._time_s_max:
            raise Endless(f"{self._now:.0f} s of its time are over; {self.told()}")
        self._ring()

    def _ring(self) -> None:
        """The timers whose time has come."""
        timers, ready, now = self._timers, self._ready, self._now  # type: ignore[attr-defined]
        while timers and timers[0][0] <= now:
            timer = heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer._cancelled:
                self._cancelled_timers -= 1
            else:
                ready.append(timer)
        if self._cancelled_timers > _CANCELLED_TIMERS_MIN and self._cancelled_timers * 2 > len(timers):
            timers[:] = [entry for entry in timers if not entry[2].cancelled()]
            heapify(timers)
            self._cancelled_timers = 0

    def told(self) -> str:
        """What is still under way."""
        running = sorted(
            (task for task in self.tasks() if task.incarnation is None or task.incarnation.alive),
            key=lambda task: task.serial,
        )
        shown = [
            f"{task.incarnation.name if task.incarnation else 'world'}: {task.get_name()} {_place(task)}"
            for task in running[:_TOLD_TASKS_MAX]
        ]
        return f"{len(running)} tasks under way: " + "; ".join(shown)

    def tasks(self) -> list[SimTask]:
        """Every task that has not ended, ghosts included."""
        return sorted(
            (task for task in asyncio.all_tasks(self) if isinstance(task, SimTask)),
            key=lambda task: task.serial,
        )

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = SimTask(coro, loop=self, name=None if name is None else str(name), context=context)
        if name is None:
            task.set_name(f"task-{task.serial}")
        return task

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        incarnation = INCARNATION.get()
        if incarnation is not None:
            incarnation.generators.add(agen)

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    # ------------------------------------------------------------------------------------ work of threads

    def run_in_executor(  # type: ignore[override]
        self, executor: ThreadPoolExecutor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """It is done at once; that it is done is learnt a little later, in the order in which it was asked for."""
        if executor is not None and executor._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        answer: asyncio.Future[T] = self.create_future()
        at_s = self._now + self._random.random() * self._work_s_max
        if executor is not None:
            at_s = max(at_s, self._answered_at.get(executor, 0.0))
            self._answered_at[executor] = at_s
        try:
            result = func(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as a thread does: the awaiter's
            self.call_at(at_s, _fail, answer, error)
        else:
            self.call_at(at_s, _succeed, answer, result)
        return answer

    # ------------------------------------------------------------------------------------------- network

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        address = await self.network.lookup(_text(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return str(sockaddr[0]), str(sockaddr[1])

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, **_: Any
    ) -> Any:
        _no_tls(ssl)
        address = await self.network.lookup(_text(host))
        return await self.network.connect(protocol_factory, (address, int(port)))

    async def create_unix_connection(
        self, protocol_factory: Any, path: Any = None, *, ssl: Any = None, **_: Any
    ) -> Any:
        _no_tls(ssl)
        return await self.network.connect(protocol_factory, str(path))

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        sock: Any = None,
        ssl: Any = None,
        **_: Any,
    ) -> SimServer:
        """On the address of the socket that is given, which itself hears nothing."""
        _no_tls(ssl)
        host, port = sock.getsockname()[:2] if sock is not None else (host, port)
        return self.network.listen(protocol_factory, self.network.own_address(host, port), sock)

    async def create_unix_server(  # type: ignore[override]
        self, protocol_factory: Any, path: Any = None, *, sock: Any = None, ssl: Any = None, **_: Any
    ) -> SimServer:
        _no_tls(ssl)
        return self.network.listen(
            protocol_factory, str(sock.getsockname() if sock is not None else path), sock
        )

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Nobody sends signals here."""

    def remove_signal_handler(self, sig: int) -> bool:
        return False

    # --------------------------------------------------------------------------------------------- ending

    def forget(self, incarnation: Incarnation) -> None:
        """It has crashed: nothing of it runs any more, and nothing of it is cleared away before the world's end."""
        incarnation.alive = False
        incarnation.ghosts += [task for task in self.tasks() if task.incarnation is incarnation]
        incarnation.ghosts += incarnation.generators
        self._ghosts.append(incarnation)

    def dispose(self) -> None:
        """The end: whatever is left is closed where it stands. What it says of that is nobody's business."""
        self.set_exception_handler(lambda _loop, _context: None)
        self.network.dispose()
        for before, _ in self.endings:
            before()
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._close_all()
        finally:
            sys.unraisablehook = hook
        for _, after in self.endings:
            after()
        self.close()

    def _close_all(self) -> None:
        asyncio._set_running_loop(self)  # who asks for one while it is closed would be given another
        try:
            for _ in range(_CLOSING_ROUNDS):
                for task in self.tasks():
                    self._close(task)
            self._ready.clear()  # type: ignore[attr-defined]
            self._timers.clear()
            self._ghosts.clear()
            gc.collect()
        finally:
            asyncio._set_running_loop(None)

    def _close(self, task: SimTask) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        asyncio.tasks._enter_task(self, task)
        try:
            with suppress(BaseException):
                task.get_coro().close()
        finally:
            asyncio.tasks._leave_task(self, task)
            _task_states.pop(task, None)  # what a scope leaves there when it is not left in its own task

    def _broke(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        incarnation = INCARNATION.get()
        error = context.get("exception")
        self.broken.append(
            f"{incarnation.name if incarnation else 'world'}: {context.get('message')}: {error!r}"
        )


def run_world(
    make: Callable[[SimLoop], Coroutine[Any, Any, T]],
    seed: object = 0,
    **bounds: Any,
) -> T:
    """Run a world to its end in a loop of its own; nothing of it is left. Garbage is collected then, and not before."""
    raise_open_files()  # what a crash left open stays so until the world ends
    was_collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what was there before is not looked through at the end
    loop = SimLoop(seed, **bounds)
    try:
        return loop.run_until_complete(make(loop))
    finally:
        loop.dispose()
        gc.unfreeze()
        if was_collecting:
            gc.enable()


def _succeed(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _text(host: object) -> str:
    return host.decode() if isinstance(host, bytes) else str(host)


def _no_tls(ssl: object) -> None:
    if ssl:
        raise NotImplementedError("a simulated world has no TLS: serve and ask by http")


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"at {stack[0].f_code.co_filename.rpartition('/')[2]}:{stack[0].f_lineno}" if stack else ""
