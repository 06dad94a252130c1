"""What a log learns for compressing its ops: who writes, and what its latest ops have in common."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

from medxz import limits
from medxz.op import Operation
from medxz.store.base import LogStore
from medxz.store.dictionaries import Dictionaries, shipped_dictionary
from medxz.store.sqlite import SqliteLog
from tests.making import CLINIC, batch, fixed_id, make_op, run_of
from tests.store.conftest import Backend
from tests.store.seen import read_all

_PULSE = {
    "resourceType": "Observation",
    "status": "final",
    "category": [{"text": "signs that are taken at the door"}],
    "device": {"display": "The grey one beside the window, room four"},
}


def _pulses(first: int, last: int) -> list[Operation]:
    """Ops as one ward writes them: nearly alike, but for what was measured."""
    chance = random.Random(first)
    return [
        make_op(number, payload=json.dumps(_PULSE | {"value": chance.randrange(10**12)}))
        for number in range(first, last + 1)
    ]


async def _write(log: SqliteLog, ops: int) -> None:
    for first in range(1, ops + 1, 500):
        await log.append(batch(*_pulses(first, first + 499)))


def _mean_bytes(log: SqliteLog, first: int, last: int) -> float:
    [(mean,)] = log._file.writing.execute(
        "SELECT avg(length(body)) FROM op WHERE seq BETWEEN ? AND ?", (first, last)
    ).fetchall()
    return float(mean)


async def _all_numbers(log: LogStore) -> list[object]:
    return [op["device_seq"] for op in await read_all(log)]


async def test_what_ops_have_in_common_is_stored_once(file_backend: Backend) -> None:
    """Once there are a thousand, the next take less room; all of them are read, also when the log is opened again."""
    log = await file_backend.open()
    await _write(log, 2_000)
    assert _mean_bytes(log, 1_001, 2_000) < 0.6 * _mean_bytes(log, 1, 1_000)
    assert await _all_numbers(log) == list(range(1, 2_001))
    assert await _all_numbers(await file_backend.reopen()) == list(range(1, 2_001))


async def test_a_row_that_is_damaged_is_not_learned_from(file_backend: Backend) -> None:
    """Nor does it keep anybody from pushing."""
    log = await file_backend.open()
    await _write(log, 1_000)
    log._file.writing.execute("UPDATE op SET body = zeroblob(60) WHERE seq = 700")
    log = await file_backend.reopen()
    await log.append(batch(*_pulses(1_001, 1_500)))
    assert _mean_bytes(log, 1_001, 1_500) < 0.6 * _mean_bytes(log, 1, 699)


async def test_long_ops_are_not_all_held_to_learn_from(file_backend: Backend) -> None:
    """A thousand of the longest would be more than a box has."""
    large = json.dumps({"text": "x" * (limits.OP_BYTES_MAX - 1_024)})
    log = await file_backend.open()
    await log.append(batch(*_pulses(1, 700)))
    for first in range(701, 1_001, 60):
        await log.append(batch(*run_of(first, first + 59, payload=large)))
    await file_backend.close()
    log = await file_backend.open()
    tracemalloc.start()
    await log.append(batch(*_pulses(1_001, 1_001)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 150 * limits.OP_BYTES_MAX


async def test_nobody_is_kept_waiting_while_a_log_learns(file_backend: Backend) -> None:
    """It takes longer than a few rows do: it is not done on the event loop."""
    log = await file_backend.open()
    await _write(log, 500)
    assert log._writer.is_quick([batch(*_pulses(501, 501))])
    await log.append(batch(*_pulses(501, 1_000)))
    assert not log._writer.is_quick([batch(*_pulses(1_001, 1_001))])
    await log.append(batch(*_pulses(1_001, 1_001)))
    assert log._writer.is_quick([batch(*_pulses(1_002, 1_002))])


def test_it_learns_when_somebody_new_writes_and_whenever_it_is_twice_as_long() -> None:
    """The first time after a thousand ops, and never again within a thousand."""
    dictionaries = Dictionaries([(1, shipped_dictionary())])
    learned = [1]

    def go_on(through: int) -> list[int]:
        seqs = range(learned[-1], through)
        learned.extend(seq for seq in seqs if dictionaries.learn(seq, list) is not None)
        return learned[1:]

    assert go_on(9_000) == [1_001, 2_002, 4_004, 8_008]
    dictionaries.meet({(CLINIC, fixed_id(1), fixed_id(2))})
    assert go_on(16_000) == [1_001, 2_002, 4_004, 8_008, 9_008]


def test_few_or_long_ops_teach_nothing() -> None:
    """What only a few have in common is nothing that the next will have."""
    few = [b'{"server_seq":%d,"note":"the same, and the same again"},' % n for n in range(499)]
    many = [*few, few[0]]

    def learned(records: list[bytes]) -> int:
        dictionaries = Dictionaries([(1, shipped_dictionary())])
        dictionaries.meet({(CLINIC, fixed_id(1), fixed_id(2))})
        return len(dictionaries.learn(1_001, lambda: records) or b"")

    assert learned(many) > learned(few) == learned([])
    assert learned([b"x" * 4_097 + record for record in many]) == learned([])


def test_a_log_with_many_authors_keeps_few_compressors() -> None:
    """Only the newest dictionary compresses: the tables for that are the dear part of one."""
    dictionaries = Dictionaries([(1, shipped_dictionary())])
    made = 0
    for number in range(1, 40):
        dictionaries.meet({(CLINIC, fixed_id(number), fixed_id(number))})
        made += dictionaries.learn(number * 2 * limits.BLOCK_OPS, list) is not None
        dictionaries.newest.compress([b"{}"])
    assert made == 39
    assert sum("_compressor" in vars(codec) for codec in dictionaries._codecs) == 1


_LEARN = """
from medxz.store.dictionaries import Dictionaries, shipped_dictionary
from tests.making import CLINIC, fixed_id
import hashlib
known = Dictionaries([(1, shipped_dictionary())])
for first in (1, 30, 60):
    known.meet({(CLINIC, fixed_id(n), fixed_id(n)) for n in range(first, first + 30)})
    ops = [b'{"server_seq":%d,"op_id":"%d","value":%d},' % (n, n * 977 % 1_009, n * n) for n in range(1_000)]
    print(hashlib.sha256(known.learn(first * 10_000, lambda: ops)).hexdigest())
"""


def test_a_dictionary_is_the_same_in_every_process() -> None:
    """What a log learns hangs on the ops and their order, never on how Python hashes this time."""
    told = {
        subprocess.run(
            [sys.executable, "-c", _LEARN],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
