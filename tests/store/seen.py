"""What readers of one log have to have seen in the end: each op once, in the order of its numbers, without a gap."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from medxz.op import Operation
from medxz.scope import Scope
from medxz.store.base import BEGINNING, LogStore, Position
from tests.making import fixed_id, make_op

Device = tuple[int, int]
"""A number that stands for a device, and how many ops it writes."""


class _Read(msgspec.Struct, gc=False):
    server_seq: int
    op_id: str


_decode = msgspec.json.Decoder(list[_Read]).decode


def numbered_ops(device: int, first: int, last: int) -> list[Operation]:
    """Ops whose ids everybody can work out, each of an entity of its own."""
    return [
        make_op(number, device_id=fixed_id(device), op_id=op_id, entity_id=op_id)
        for number in range(first, last + 1)
        for op_id in (id_of(device, number),)
    ]


def id_of(device: int, number: int) -> str:
    """The op_id of what a device writes under a number."""
    return fixed_id(device << 64 | number)


async def read_all(log: LogStore, scope: Scope = "full", limit: int = 500) -> list[dict[str, object]]:
    """The whole log as one reader is given it, page after page."""
    ops: list[dict[str, object]] = []
    at = BEGINNING
    while True:
        page = await log.page(at, limit, scope)
        ops += json.loads(page.ops_json)
        if not page.more:
            return ops
        at = page.end


class Seen:
    """What one reader has seen, page after page."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._seqs: list[int] = []
        self.at: Position = BEGINNING

    @property
    def count(self) -> int:
        return len(self._ids)

    async def read(self, log: LogStore, limit: int) -> int:
        """Read one page; how many ops it has."""
        page = await log.page(self.at, limit, "full")
        ops = _decode(page.ops_json)
        self._ids += [op.op_id for op in ops]
        self._seqs += [op.server_seq for op in ops]
        self.at = page.end
        return page.count

    async def read_all(self, log: LogStore, limit: int = 500) -> None:
        while await self.read(log, limit):
            pass

    def seq_by_id(self) -> dict[str, int]:
        """Where each op is; each was seen once."""
        assert len(set(self._ids)) == len(self._ids)
        return dict(zip(self._ids, self._seqs, strict=True))

    def check(self, devices: Iterable[Device]) -> None:
        """AssertionError where an op was skipped, seen twice or out of order."""
        expected = {id_of(device, number) for device, count in devices for number in range(1, count + 1)}
        missing = expected.difference(self._ids)
        assert not missing, f"{len(missing)} ops were never seen"
        assert self._seqs == list(range(1, len(expected) + 1)), "the numbers have gaps, or go back"
        assert set(self._ids) == expected
