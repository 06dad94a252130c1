"""Nothing in the store grows without a bound: pages, memory, the write-ahead log, what one push makes others wait."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from medxz import limits
from medxz.store.base import BEGINNING, DeadLetter, Page, Position
from medxz.store.registry import SqliteRegistry
from medxz.store.tail import Committed, Tail
from tests.making import DEVICE, batch, fixed_id, make_op, run_of
from tests.store.conftest import KEY, AnyBackend, Backend, inline_workers

LARGE = json.dumps({"text": "x" * (limits.OP_BYTES_MAX - 1_024)})


@pytest.mark.parametrize("reopened", [False, True])
async def test_a_page_ends_where_it_is_large_enough(backend: AnyBackend, *, reopened: bool) -> None:
    """A page holds PULL_PAGE_BYTES_MAX and an op at most, though small ops come before large ones."""
    log = await backend.open()
    await log.append(batch(*run_of(1, 64)))
    await log.append(batch(*run_of(65, 164, payload=LARGE)))
    if reopened:
        log = await backend.reopen()
    numbers, at, more = [], BEGINNING, True
    while more:
        page = await log.page(at, limits.PULL_OPS_MAX, "full")
        assert len(page.ops_json) <= limits.PULL_PAGE_BYTES_MAX + limits.OP_BYTES_MAX + 1_024
        numbers += [op["device_seq"] for op in json.loads(page.ops_json)]
        at, more = page.end, page.more
    assert numbers == list(range(1, 165))


async def test_a_page_with_a_photo_in_it(backend: AnyBackend) -> None:
    """An op that is long as it lies there, between short ones, costs no page more and no op."""
    photo = json.dumps({"data": random.Random(5).randbytes(20_000).hex()})
    log = await backend.open()
    await log.append(batch(*run_of(1, 40), make_op(41, payload=photo), *run_of(42, 100)))
    log = await backend.reopen()
    first = await log.page(BEGINNING, 60, "full")
    rest = await log.page(first.end, 60, "full")
    assert (first.count, first.more, rest.count, rest.more) == (60, True, 40, False)
    ops = json.loads(first.ops_json) + json.loads(rest.ops_json)
    assert [op["device_seq"] for op in ops] == list(range(1, 101))
    assert ops[40]["payload"] == json.loads(photo)


def test_the_tail_keeps_no_more_than_it_may() -> None:
    """One transaction of large ops is not kept in memory until the next."""
    tail = Tail()
    records = [b"x" * limits.OP_BYTES_MAX] * 20
    tail.extend(Committed(1, [bytes(16)] * 20, [False] * 20, records, {}))
    assert tail.page(BEGINNING, 1, "full") is None
    assert tail.op_id_at(20) is None
    tail.extend(Committed(21, [bytes(16)], [False], [b"x"], {}))
    assert (tail.op_id_at(20), tail.op_id_at(21)) == (None, bytes(16))


def test_who_comes_by_the_same_places_shares_the_bytes_of_a_page() -> None:
    """Streams that read several pages, each one all of them before the next stream, make none of them again."""
    tail, size = Tail(), 400
    op_ids = [number.to_bytes(16, "big") for number in range(2_000)]

    def commit(first: int, last: int) -> None:
        records = [b"x" * size] * (last - first)
        tail.extend(Committed(first, op_ids[first:last], [False] * (last - first), records, {}))

    def pages(places: list[Position]) -> list[Page | None]:
        return [tail.page(place, 100, "full") for place in places]

    commit(1, 251)
    places = [Position(seq, op_ids[seq]) for seq in (10, 110, 210)]
    first = pages(places)
    assert [page.count if page else None for page in first] == [100, 100, 40]
    assert all(one is other for one, other in zip(first, pages(places), strict=True))
    commit(251, 261)
    again = pages(places)
    assert (again[0] is first[0], again[1] is first[1], again[2] is first[2]) == (True, True, False)
    for seq in range(261, 2_000):
        commit(seq, seq + 1)
        pages([Position(seq - 150, op_ids[seq - 150])])
    assert sum(len(page.ops_json) for page in tail._pages.values()) <= limits.TAIL_BYTES_MAX


async def test_the_write_ahead_log_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits of one small op, or of a dead letter alone, fill it by whole pages: they are counted as such."""
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES", limits.MIB)
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    for number in range(1, 601):
        letter = DeadLetter(DEVICE, number, fixed_id(number), "forbidden", "no", settles=True)
        await log.append(batch(dead_letters=[letter]) if number % 2 else batch(make_op(number)))
    assert (tmp_path / "hub.db-wal").stat().st_size < 2 * limits.MIB
    await backend.close()


async def test_what_is_kept_beside_the_log_fills_its_write_ahead_log_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that only reads on, and notes how far it came, is no reason for it to grow without an end."""
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES", limits.MIB)
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    registry = SqliteRegistry(log._file, log, log.wake)
    for number in range(600):
        await registry.keep_neighbour_cursor(fixed_id(1), fixed_id(2), f"cursor-{number}")
    assert (tmp_path / "hub.db-wal").stat().st_size < 2 * limits.MIB
    await backend.close()


async def test_a_dead_letter_is_kept_once(tmp_path: Path) -> None:
    """Something that is no op and has neither id nor number, offered again and again, takes no more room."""
    backend = Backend(tmp_path / "hub.db", KEY, inline_workers)
    log = await backend.open()
    for letter in [
        DeadLetter(DEVICE, None, None, "invalid", "no op"),
        DeadLetter(DEVICE, 7, None, "invalid", "?"),
    ]:
        for _ in range(3):
            await log.append(batch(dead_letters=[letter]))
    [(count,)] = log._file.writing.execute("SELECT count(*) FROM dead_letter").fetchall()
    assert count == 2
    await backend.close()
