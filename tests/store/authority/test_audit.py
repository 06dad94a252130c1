"""The audit's chains on each database: what is refused, and what is found when somebody did it all the same."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from medxz import limits
from medxz.errors import MedxzError
from medxz.ids import SeededIds
from medxz.store.authority import audit, proof
from medxz.store.authority.audit import AuditTrail, Entry, Place, Wanted
from medxz.store.authority.base import Transactions, Tx
from tests.making import CLINIC, DEVICE, NOON_MS, USER, HandClock, fixed_id
from tests.store.authority.conftest import Database

OTHER_CLINIC = fixed_id(0xC2)
PATIENT = fixed_id(0xAA)

DISARM = {
    "sqlite": [
        "DROP TRIGGER audit_not_updated",
        "DROP TRIGGER audit_not_deleted",
        "DROP TRIGGER audit_not_replaced",
    ],
    "postgres": ["ALTER TABLE audit DISABLE TRIGGER USER"],
}


class Process:
    """A writing process: its trail, and what it notes."""

    _count = 0

    def __init__(self, transactions: Transactions) -> None:
        Process._count += 1
        self.clock = HandClock()
        self.transactions = transactions
        self.trail = AuditTrail(SeededIds(self.clock, seed=Process._count), self.clock)

    async def note(self, *events: str, clinic_id: str = CLINIC, **about: str) -> None:
        entries = [Entry(event, **about) for event in events]  # type: ignore[arg-type]
        await self.transactions.run(lambda tx: self.trail.append(tx, clinic_id, *entries))


async def entries(
    transactions: Transactions, wanted: Wanted | None = None, clinic_id: str = CLINIC
) -> list[str]:
    """The events from the oldest to the newest."""
    found = await transactions.read(lambda tx: audit.page(tx, clinic_id, wanted or Wanted(), None, 1_000))
    return [noted.event for noted in reversed(found)]


async def broken(transactions: Transactions, clinic_id: str = CLINIC) -> list[int | None]:
    """For each chain that does not hold, where it breaks."""
    return [chain.first_broken for chain in await proof.verify(transactions, clinic_id) if not chain.ok]


async def tamper(database: Database, sql: str, *values: object) -> None:
    """What somebody does who has the database in their hands."""
    transactions = await database.open()

    async def do(tx: Tx) -> None:
        for statement in DISARM["postgres" if database.path is None else "sqlite"]:
            await tx.rows(statement)
        await tx.rows(sql, *values)

    await transactions.run(do)


async def test_an_entry_goes_with_what_it_tells(transactions: Transactions) -> None:
    """An entry of a transaction that was taken back is not there, and the chain goes on without it."""
    process = Process(transactions)
    await process.note("login")

    async def fail(tx: Tx) -> None:
        await process.trail.append(tx, CLINIC, Entry("logout"))
        raise LookupError

    with pytest.raises(LookupError):
        await transactions.run(fail)
    await process.note("refresh")
    assert await entries(transactions) == ["chain_began", "login", "refresh"]
    assert await broken(transactions) == []


async def test_it_only_grows(transactions: Transactions) -> None:
    """The database refuses to change, replace, remove or empty what was noted."""
    await Process(transactions).note("login")
    statements = ["UPDATE audit SET event = 'x'", "DELETE FROM audit"]
    if "database" in transactions.place:
        statements += ["TRUNCATE audit", "TRUNCATE clinic, audit"]
    else:
        statements += [
            "INSERT OR REPLACE INTO audit SELECT * FROM audit",
            "UPDATE OR IGNORE audit SET number = 9",
        ]
    for statement in statements:
        with pytest.raises(MedxzError):
            await transactions.run(lambda tx, sql=statement: tx.rows(sql))  # type: ignore[misc]
    assert await entries(transactions) == ["chain_began", "login"]


@pytest.mark.parametrize(
    "column", ["event", "user_id", "patient_id", "at_ms", "detail", "hash", "previous_hash"]
)
async def test_a_change_is_found(database: Database, column: str) -> None:
    """An entry of which anything was changed is named, and so is only its own chain."""
    transactions = await database.open()
    process, other = Process(transactions), Process(transactions)
    await process.note("login", "read", "logout", user_id=USER)
    await other.note("login")
    value = NOON_MS + 5 if column == "at_ms" else "a" * 64
    await tamper(database, f"UPDATE audit SET {column} = $1 WHERE event = 'read'", value)
    assert await broken(transactions) == [3]


async def test_a_change_with_its_hash_is_found(database: Database) -> None:
    """An entry that was changed together with its hash no longer fits the one behind it."""
    transactions = await database.open()
    await Process(transactions).note("login", "read", "logout", user_id=USER)
    [_, read, _, _] = await transactions.read(lambda tx: audit.page(tx, CLINIC, Wanted(), None, 4))
    forged = dataclasses.replace(read, event="refresh")
    values = "refresh", audit.hash_of(CLINIC, forged)
    await tamper(database, "UPDATE audit SET event = $1, hash = $2 WHERE event = 'read'", *values)
    assert await broken(transactions) == [4]


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_removal_is_found(database: Database, number: int) -> None:
    """An entry that was taken out of a chain is missed at its number."""
    transactions = await database.open()
    await Process(transactions).note("login", "read", "logout")
    await tamper(database, "DELETE FROM audit WHERE number = $1", number)
    assert await broken(transactions) == [number]


async def test_an_insertion_is_found(database: Database) -> None:
    """An entry that was put in breaks the chain where it stands, also where no entry ever stands."""
    transactions = await database.open()
    await Process(transactions).note("login", "logout")
    copied = (
        "INSERT INTO audit SELECT clinic_id, chain_id, number + $1, at_ms, 'read', user_id, device_id, hub_id,"
        " patient_id, encounter_id, entity_type, entity_id, address, detail, previous_hash, hash"
        " FROM audit WHERE number = 3"
    )
    await tamper(database, copied, 1)
    assert await broken(transactions) == [4]
    await tamper_again(database, copied, 7)
    assert await broken(transactions) == [4]


async def tamper_again(database: Database, sql: str, *values: object) -> None:
    transactions = await database.open()
    await transactions.run(lambda tx: tx.rows(sql, *values))


async def test_a_chain_cut_short_is_found(database: Database) -> None:
    """A chain that lost its end is found by the beginning of the next one, and so is one that lost everything."""
    transactions = await database.open()
    processes = [Process(transactions) for _ in range(3)]
    for process in processes:
        await process.note("login", "read", "logout")
    chains = [process.trail._ends[CLINIC][0] for process in processes]
    await tamper(database, "DELETE FROM audit WHERE chain_id = $1 AND number > 2", chains[0])
    assert await broken(transactions) == [3]
    await tamper_again(database, "DELETE FROM audit WHERE chain_id = $1", chains[1])
    checks = {chain.chain_id: chain for chain in await proof.verify(transactions, CLINIC)}
    assert (checks[chains[1]].entries, checks[chains[1]].first_broken) == (0, 1)
    assert checks[chains[2]].ok


async def test_an_end_grown_again_is_found(database: Database) -> None:
    """A chain whose end was replaced by other entries that fit together is found by what the next one says."""
    transactions = await database.open()
    first = Process(transactions)
    await first.note("login", "read")
    await Process(transactions).note("login")
    await tamper(database, "DELETE FROM audit WHERE event = 'read'")
    forger = Process(transactions)
    forger.trail._ends[CLINIC] = first.trail._ends[CLINIC][0], 1, ""
    await forger.note("logout", "logout")
    assert await broken(transactions) == [3]


async def test_the_running_chain_cut_short_is_found(database: Database) -> None:
    """What is taken from the end of the chain that is being written is named by the next entry's chain."""
    transactions = await database.open()
    process = Process(transactions)
    await process.note("login", "read")
    await tamper(database, "DELETE FROM audit WHERE event = 'read'")
    assert await broken(transactions) == []
    await process.note("logout")
    assert await broken(transactions) == [3]
    assert await entries(transactions) == ["chain_began", "login", "chain_began", "logout"]


async def test_a_forged_beginning_stops_nobody(database: Database) -> None:
    """A beginning that can't be read is a broken chain, and noting goes on."""
    transactions = await database.open()
    await Process(transactions).note("login")
    await tamper(database, "UPDATE audit SET detail = 'no JSON' WHERE number = 1")
    await Process(transactions).note("login")
    assert await broken(transactions) == [1]


async def test_beginnings_name_what_is_new(transactions: Transactions) -> None:
    """A beginning names each end once: those that a chain before named, and that did not grow, stay out of it."""
    processes = [Process(transactions) for _ in range(4)]
    for process in processes[:3]:
        await process.note("login")
    await processes[0].note("logout")
    await processes[3].note("login")
    named = await transactions.read(lambda tx: audit.ends_named(tx, CLINIC))
    details = await transactions.read(lambda tx: tx.rows("SELECT detail FROM audit WHERE number = 1"))
    assert sorted(number for _, number, _ in named) == [2, 2, 2, 3]
    assert sum(detail.count('",2,"') + detail.count('",3,"') for (detail,) in details) == 4


async def test_many_write_at_once(database: Database) -> None:
    """Of many processes and tasks that note at once nothing is lost, and every chain holds."""
    processes = [Process(await database.open()) for _ in range(2)]
    await asyncio.gather(*(process.note("login") for process in processes for _ in range(10)))
    assert sorted(await entries(processes[0].transactions)) == ["chain_began"] * 2 + ["login"] * 20
    assert await broken(processes[0].transactions) == []


async def test_clinics_have_chains_of_their_own(transactions: Transactions) -> None:
    """What is noted of one clinic is neither listed nor verified with another's."""
    process = Process(transactions)
    await process.note("login")
    await process.note("logout", clinic_id=OTHER_CLINIC)
    assert await entries(transactions) == ["chain_began", "login"]
    assert await entries(transactions, clinic_id=OTHER_CLINIC) == ["chain_began", "logout"]
    assert [chain.entries for chain in await proof.verify(transactions, OTHER_CLINIC)] == [2]


async def test_filters(transactions: Transactions) -> None:
    """A page holds what fits all that was asked: whom it is about, who did it, where, and when."""
    process = Process(transactions)
    await process.note("read", patient_id=PATIENT, user_id=USER)
    process.clock.time_ms += 1_000
    await process.note("read", patient_id=PATIENT, device_id=DEVICE, encounter_id=DEVICE)
    for wanted, count in (
        (Wanted(patient_id=PATIENT), 2),
        (Wanted(patient_id=PATIENT, user_id=USER), 1),
        (Wanted(device_id=DEVICE), 1),
        (Wanted(encounter_id=DEVICE), 1),
        (Wanted(encounter_id=PATIENT), 0),
        (Wanted(patient_id=PATIENT, from_ms=NOON_MS + 1), 1),
        (Wanted(patient_id=PATIENT, to_ms=NOON_MS + 1_000), 1),
        (Wanted(patient_id=PATIENT, from_ms=NOON_MS, to_ms=NOON_MS + 1_001), 2),
    ):
        assert await entries(transactions, wanted) == ["read"] * count


async def test_pages_follow_one_another(transactions: Transactions) -> None:
    """From page to page every entry is seen once, newest first, though more is noted meanwhile."""
    process = Process(transactions)
    await process.note(*(f"e{n}" for n in range(10)))
    seen: list[str] = []
    before: Place | None = None
    while found := await transactions.read(
        lambda tx, place=before: audit.page(tx, CLINIC, Wanted(), place, 3)  # type: ignore[misc]
    ):
        seen += [noted.event for noted in found]
        before = found[-1].place
        await process.note("later")
    assert seen == [f"e{n}" for n in reversed(range(10))] + ["chain_began"]


async def test_verifying_is_done_in_portions(transactions: Transactions) -> None:
    """A chain longer than a portion is verified whole."""
    process = Process(transactions)
    await process.note(*["read"] * limits.AUDIT_VERIFY_ENTRIES)
    await process.note(*["read"] * limits.AUDIT_VERIFY_ENTRIES)
    [chain] = await proof.verify(transactions, CLINIC)
    assert (chain.entries, chain.ok) == (2 * limits.AUDIT_VERIFY_ENTRIES + 1, True)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Entry("read", user_id="a\0b"),
        lambda: Entry("read", entity_id="x" * 300),
        lambda: Entry("read", address="a\ud800"),
        lambda: Entry("read", detail={"text": "x" * limits.AUDIT_DETAIL_BYTES_MAX}),
        lambda: Entry("read", detail={"what": object()}),
    ],
)
def test_what_could_not_be_written_is_refused_at_once(made) -> None:
    """An entry that a database might refuse is never made: it would stand in the way of those behind it."""
    with pytest.raises(ValueError, match="read"):
        made()
