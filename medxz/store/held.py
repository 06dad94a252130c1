"""Which numbers a log holds: in sum, for watermarks and reuse; and for each block of ops, to resume by.

A block is BLOCK_OPS ops in a row. Its summary is written with the transaction that completes it, so that starting
reads a summary for a thousand ops instead of the ops; what follows the last block is read itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from medxz.have import Have, Numbers, WireNumbers
from medxz.limits import BLOCK_OPS
from medxz.scope import Scope
from medxz.store.entity_index import OpenEntities

_PACKING_LEVEL: Final = 1  # a higher one saves a tenth and takes three times as long
_Wire = dict[str, WireNumbers]


@dataclass(slots=True)
class Block:
    """The numbers that a run of ops holds: of all its ops, and of those that a front desk sees."""

    full: Have = field(default_factory=dict)
    front_desk: Have = field(default_factory=dict)

    def add(self, device_id: str, first: int, front_desk: Sequence[bool]) -> None:
        """Take in a device's numbers from `first` up, and which of them a front desk sees."""
        _numbers(self.full, device_id).add(first, first + len(front_desk) - 1)
        if True in front_desk:
            seen = _numbers(self.front_desk, device_id)
            for number, is_seen in enumerate(front_desk, first):
                if is_seen:
                    seen.add(number)

    def of(self, scope: Scope) -> Have:
        return self.full if scope == "full" else self.front_desk

    def copy(self) -> Block:
        return Block(_copied(self.full), _copied(self.front_desk))

    def encode(self) -> bytes:
        return orjson.dumps([_to_wire(self.full), _to_wire(self.front_desk)])

    @staticmethod
    def decode(text: bytes) -> Summary:
        """A full block: as it lies in the log, or packed. ValueError where it is neither."""
        try:
            return Summary(*orjson.loads(text if text.startswith(b"[") else zlib.decompress(text)))
        except zlib.error as error:
            raise ValueError(f"no summary of a block: {error}") from None


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a full block as they were written down. Those of one scope are made when they are asked for."""

    full: _Wire
    front_desk: _Wire

    def of(self, scope: Scope) -> Have:
        return _from_wire(self.full if scope == "full" else self.front_desk)


class Held:
    """What the log holds, in memory: all settled numbers, the summaries of full blocks, and the open block."""

    __slots__ = (
        "_settled", "_touched", "blocks", "damaged", "last_ms", "last_seq", "open_block", "open_entities", "shared",
    )  # fmt: skip

    def __init__(self) -> None:
        self._settled: Have = {}
        self._touched: set[str] = set()
        self.blocks: list[bytes] = []  # packed: a third of what lies in the log; decoded by whoever resumes
        self.open_block = Block()
        self.open_entities = OpenEntities()
        self.shared: set[tuple[str, int]] = set()
        self.damaged: list[int] = []
        self.last_seq = 0
        self.last_ms = 0

    def settled(self, device_id: str) -> Numbers:
        return _numbers(self._settled, device_id)

    def settled_through(self, device_id: str) -> int:
        numbers = self._settled.get(device_id)
        return numbers.through() if numbers is not None else 0

    def settle(self, device_id: str, first: int, last: int | None = None) -> None:
        """A number of this device, or all from first to last, is settled from here on."""
        self.settled(device_id).add(first, last)
        self._touched.add(device_id)

    def watermarks(self) -> dict[str, int]:
        return {device_id: numbers.through() for device_id, numbers in self._settled.items() if numbers}

    def lacking(self, have: Have) -> int:
        """How many numbers are settled here that are not in `have`."""
        return sum(
            numbers.count() - numbers.count_in(have.get(device_id, _NONE))
            for device_id, numbers in self._settled.items()
        )

    def take_changed_watermarks(self) -> dict[str, int]:
        """Those of the devices of which something was settled since this was last asked."""
        changed = {device_id: self.settled_through(device_id) for device_id in self._touched}
        self._touched.clear()
        return changed

    def take_block(self, text: bytes) -> None:
        """A full block read from the log at start."""
        self.blocks.append(_packed(text))
        for device_id, numbers in Block.decode(text).of("full").items():
            self.settled(device_id).update(numbers)

    def take_run(self, device_id: str, first: int, front_desk: Sequence[bool]) -> None:
        """Ops that follow in the log, with a device's numbers from `first` up."""
        self.settle(device_id, first, first + len(front_desk) - 1)
        self._extend(device_id, first, front_desk)

    def full_blocks(self, runs: Iterable[tuple[str, int, Sequence[bool]]]) -> list[tuple[int, bytes]]:
        """The numbers and summaries of the blocks that would be full with these runs; none of them is taken in."""
        twin = Held()
        twin.last_seq, twin.open_block = self.last_seq, self.open_block.copy()
        return [full for run in runs for full in twin._extend(*run)]

    def _extend(self, device_id: str, first: int, front_desk: Sequence[bool]) -> list[tuple[int, bytes]]:
        """Put a run into the open block and what follows it; the blocks that are full now."""
        full: list[tuple[int, bytes]] = []
        at = 0
        while at < len(front_desk):
            part = front_desk[at : at + BLOCK_OPS - self.last_seq % BLOCK_OPS]
            self.open_block.add(device_id, first + at, part)
            at += len(part)
            full += self._advance(len(part))
        return full

    def take_damaged(self, seq: int) -> None:
        """A row that cannot be read: its place is taken, its number is not known."""
        self.damaged.append(seq)
        if seq > self.last_seq:
            self._advance(1)

    def _advance(self, ops: int) -> list[tuple[int, bytes]]:
        self.last_seq += ops
        if self.last_seq % BLOCK_OPS:
            return []
        text = self.open_block.encode()
        self.blocks.append(_packed(text))
        self.open_block = Block()
        return [(self.last_seq // BLOCK_OPS - 1, text)]

    def first_block_with_more(self, have: Have, scope: Scope, through: int) -> int:
        """The number of the first block, of those that end by `through`, with something of the scope not in `have`."""
        known = _copied(have)
        for device_id, number in tuple(self.shared):  # having the number does not say which of its ops
            if device_id in known:
                known[device_id].discard(number)
        blocks = self.blocks[: through // BLOCK_OPS]
        for index, text in enumerate(blocks):
            if not _covers(known, Block.decode(text).of(scope)):
                return index
        return len(blocks)


def misses(have: Have, shared: Iterable[tuple[str, int]], device_id: str, number: int) -> bool:
    """Whether the holder of `have` may lack this op."""
    return number not in have.get(device_id, _NONE) or (device_id, number) in shared


_NONE = Numbers()


def _covers(have: Have, block: Have) -> bool:
    return all(have.get(device_id, _NONE).covers(numbers) for device_id, numbers in block.items())


def _numbers(have: Have, device_id: str) -> Numbers:
    numbers = have.get(device_id)
    if numbers is None:
        numbers = have[device_id] = Numbers()
    return numbers


def _copied(have: Have) -> Have:
    return {device_id: numbers.copy() for device_id, numbers in have.items()}


def _to_wire(have: Have) -> dict[str, object]:
    return {device_id: numbers.to_wire() for device_id, numbers in have.items()}


def _packed(text: bytes) -> bytes:
    return zlib.compress(text, _PACKING_LEVEL)


def _from_wire(wire: _Wire) -> Have:
    return {device_id: Numbers.from_wire(numbers) for device_id, numbers in wire.items()}
