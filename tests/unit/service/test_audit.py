"""Noting what is read, and what an administrator is shown of the audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from medxz import limits
from medxz.clock import format_time
from medxz.errors import BadCursor, Forbidden, Invalid, Overloaded
from medxz.ids import RandomIds
from medxz.service.audit import AuditNotes, AuditView
from medxz.service.gate import Caller
from medxz.service.list_cursor import ListCursors
from medxz.store.authority import audit
from medxz.store.authority.audit import AuditTrail, Wanted
from medxz.store.authority.base import Transactions, Tx
from medxz.store.authority.sqlite import SqliteTransactions, open_sqlite
from medxz.work import ThreadWorker
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id

PATIENT = fixed_id(0xAA)
OTHER_CLINIC = fixed_id(0xC2)
CURSORS = ListCursors(cast("Any", SimpleNamespace(cursor_key=b"c" * 32)))


class Counted:
    """A real database that counts its transactions, and may be away."""

    def __init__(self, inner: SqliteTransactions) -> None:
        self._inner = inner
        self.is_down = False
        self.runs = 0

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    async def run(self, fn):
        self.runs += 1
        if self.is_down:
            raise Overloaded("away")
        return await self._inner.run(fn)


class StillClock(HandClock):
    """A clock under which a sleeper sleeps until the test wakes it."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self.sleepers.append(sleeper)
        await sleeper

    async def wake(self) -> None:
        async with asyncio.timeout(10):
            while not self.sleepers:
                await asyncio.sleep(0.001)
        self.sleepers.pop().set_result(None)


@pytest.fixture
async def transactions(tmp_path: Path) -> AsyncIterator[Counted]:
    opened = await open_sqlite(tmp_path / "audit.db", None, ThreadWorker("audit"))
    yield Counted(opened)
    await opened.close()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def notes(transactions: Counted, clock: StillClock) -> AuditNotes:
    return AuditNotes(cast("Transactions", transactions), AuditTrail(RandomIds(), clock), clock)


@pytest.fixture
def view(transactions: Counted, notes: AuditNotes) -> AuditView:
    return AuditView(cast("Transactions", transactions), CLINIC, CURSORS, notes)


def caller(*roles: str) -> Caller:
    return Caller(
        clinic_id=CLINIC, device_id=DEVICE, user_id=USER, roles=frozenset(roles), scope="full", session_id="",
        site_id="", expires_at_s=0, issuer="", kid=None, known=cast("Any", None), bearer="",
    )  # fmt: skip


async def events(transactions: Counted, clinic_id: str = CLINIC) -> list[str]:
    found = await transactions.read(lambda tx: audit.page(tx, clinic_id, Wanted(), None, 1_000))
    return [noted.event for noted in reversed(found)]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_so():
            await asyncio.sleep(0.005)


async def test_a_note_is_durable_when_it_returns(transactions: Counted, notes: AuditNotes) -> None:
    """Whoever awaited a note finds it written."""
    await notes.note(CLINIC, "review_marked", user_id=USER)
    assert await events(transactions) == ["chain_began", "review_marked"]


async def test_reads_are_written_together(
    transactions: Counted, notes: AuditNotes, clock: StillClock
) -> None:
    """What is noted for later takes one transaction of a clinic, and has the time at which it was read."""
    for number in range(40):
        clock.time_ms = NOON_MS + number
        notes.note_later(CLINIC, "read", patient_id=PATIENT)
        notes.note_later(OTHER_CLINIC, "searched")
    assert transactions.runs == 0
    await clock.wake()

    async def written() -> bool:
        return len(await events(transactions, OTHER_CLINIC)) == 41

    await until(written)
    assert transactions.runs == 2
    found = await transactions.read(lambda tx: audit.page(tx, CLINIC, Wanted(patient_id=PATIENT), None, 100))
    assert [noted.at_ms for noted in reversed(found)] == [NOON_MS + number for number in range(40)]


async def test_closing_writes_what_waits(transactions: Counted, notes: AuditNotes) -> None:
    """What was noted for later is written before a server has stopped."""
    for _ in range(limits.AUDIT_FLUSH_ENTRIES + 1):
        notes.note_later(CLINIC, "read")
    await notes.close()
    assert len(await events(transactions)) == limits.AUDIT_FLUSH_ENTRIES + 2
    assert transactions.runs == 2


async def test_what_can_not_be_written_waits(
    transactions: Counted, notes: AuditNotes, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away notes wait, readers are refused once too many do, and nothing is lost."""
    monkeypatch.setattr(limits, "AUDIT_WAITING_MAX", 3)
    transactions.is_down = True
    for _ in range(3):
        notes.note_later(CLINIC, "read")
    await clock.wake()
    await until_true(lambda: transactions.runs == 1)
    with pytest.raises(Overloaded):
        notes.note_later(CLINIC, "read")
    transactions.is_down = False
    await clock.wake()

    async def written() -> bool:
        return await events(transactions) == ["chain_began", "read", "read", "read"]

    await until(written)
    notes.note_later(CLINIC, "read")
    await notes.close()
    assert len(await events(transactions)) == 5


async def until_true(is_so: Callable[[], bool]) -> None:
    async def so() -> bool:
        return is_so()

    await until(so)


async def test_administrators_alone(view: AuditView) -> None:
    """Nobody else is shown the audit, or has it verified."""
    for roles in (["clinician"], ["front_desk"], ["hub"]):
        with pytest.raises(Forbidden):
            await view.page(caller(*roles), {}, None, 10)
        with pytest.raises(Forbidden):
            await view.verify(caller(*roles))


async def test_what_an_administrator_is_shown(
    transactions: Counted, notes: AuditNotes, view: AuditView
) -> None:
    """An entry is told with all that it says, and looking at the audit is noted too."""
    await notes.note(CLINIC, "read", user_id=USER, patient_id=PATIENT, detail={"part": "history"})
    page = await view.page(caller("admin"), {"patient": PATIENT}, None, 10)
    [entry] = page.entries
    assert (entry.event, entry.user_id, entry.patient_id, entry.number) == ("read", USER, PATIENT, 2)
    assert entry.at == format_time(NOON_MS)
    assert entry.detail == {"part": "history"}
    assert page.next_cursor is None
    await notes.flush()
    [looked] = (await view.page(caller("admin"), {"user": USER, "device": DEVICE}, None, 10)).entries
    assert (looked.event, looked.detail) == ("audit_read", {"patient": PATIENT})
    await notes.close()


@pytest.mark.parametrize("name", ["patient", "encounter", "user", "device"])
async def test_the_audit_of_one(notes: AuditNotes, view: AuditView, name: str) -> None:
    """What is asked for by an id is about that id, in its own part."""
    await notes.note(CLINIC, "looked_for", **cast("Any", {f"{name}_id": PATIENT}))
    for other in {"patient", "encounter", "user", "device"} - {name}:
        await notes.note(CLINIC, "another", **cast("Any", {f"{other}_id": PATIENT}))
    page = await view.page(caller("admin"), {name: PATIENT}, None, 10)
    assert [entry.event for entry in page.entries] == ["looked_for"]
    await notes.close()


@pytest.mark.parametrize(
    ("asked", "events"), [({"from": 1}, []), ({"from": 0}, ["noon"]), ({"to": 1}, ["noon"]), ({"to": 0}, [])]
)
async def test_the_audit_of_a_time(
    notes: AuditNotes, view: AuditView, asked: dict[str, int], events: list[str]
) -> None:
    """From a moment, and up to one but without it."""
    await notes.note(CLINIC, "noon", device_id=DEVICE)
    query = {name: format_time(NOON_MS + after_ms) for name, after_ms in asked.items()}
    page = await view.page(caller("admin"), query | {"device": DEVICE}, None, 10)
    assert [entry.event for entry in page.entries] == events
    await notes.close()


async def test_pages_of_the_audit(notes: AuditNotes, view: AuditView) -> None:
    """A cursor goes on where its page ended, and is good for that question alone."""
    for number in range(5):
        await notes.note(CLINIC, f"e{number}", user_id=USER)
    query = {"user": USER, "from": format_time(NOON_MS), "to": "2099-01-01"}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await view.page(caller("admin"), query, cursor, 2)
        seen += [entry.event for entry in page.entries]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == ["e4", "e3", "e2", "e1", "e0"]
    with pytest.raises(BadCursor):
        await view.page(caller("admin"), {}, cursor, 2)
    await notes.close()


@pytest.mark.parametrize(
    "query", [{"patient": "x"}, {"user": PATIENT.upper()}, {"from": "yesterday"}, {"to": "2026-02-30"}]
)
async def test_what_can_not_be_asked(view: AuditView, query: dict[str, str]) -> None:
    """An id or a time that is none is refused by its name."""
    with pytest.raises(Invalid) as refused:
        await view.page(caller("admin"), query, None, 10)
    assert refused.value.field in query


async def test_verifying(transactions: Counted, notes: AuditNotes, view: AuditView) -> None:
    """Verifying tells of each chain whether it holds, and where the first one does not."""
    await notes.note(CLINIC, "login")
    answer = await view.verify(caller("admin"))
    assert answer.ok
    assert [(chain.entries, chain.ok, chain.first_broken) for chain in answer.chains] == [(2, True, None)]

    async def tamper(tx: Tx) -> None:
        await tx.rows("DROP TRIGGER audit_not_updated")
        await tx.rows("UPDATE audit SET user_id = $1 WHERE event = 'login'", USER)

    await transactions.run(tamper)
    answer = await view.verify(caller("admin"))
    assert not answer.ok
    assert [chain.first_broken for chain in answer.chains] == [2]
    await notes.close()
