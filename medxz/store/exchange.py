"""How far logs are in step: what a hub has handed to its cloud's, how far it has read there and at its neighbours.

Kept in the hub's own file. It may lag behind what is true: whatever is done again is a duplicate, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Statement = tuple[str, tuple[object, ...]]
Refusal = tuple[str, str, str]
"""op_id, device_id, code."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """With which log; the server_seq through which it has what is here, but for those in `later`; the cursor there.

    `letters_through` is the id of the last dead letter that was told, `shared_numbers` how many numbers two ops shared
    when `pushed_through` was found.
    """

    server_id: str
    epoch: str
    pushed_through: int = 0
    letters_through: int = 0
    shared_numbers: int = 0
    later: tuple[int, ...] = ()
    cursor: str | None = None


READ = "SELECT server_id, epoch, pushed_through, letters_through, shared_numbers, later, cursor FROM exchange"
_KEEP = (
    "INSERT OR REPLACE INTO exchange"
    " (only_row, server_id, epoch, pushed_through, letters_through, shared_numbers, later, cursor)"
    " VALUES (1,?,?,?,?,?,?,?)"
)

NEIGHBOUR_READ = "SELECT epoch, cursor FROM neighbour WHERE hub_id = ?"
NEIGHBOUR_KEEP = "INSERT OR REPLACE INTO neighbour (hub_id, epoch, cursor) VALUES (?,?,?)"


def exchange_of(row: Sequence[Any]) -> Exchange:
    server_id, epoch, pushed, letters, shared, later, cursor = row
    return Exchange(server_id, epoch, pushed, letters, shared, tuple(msgspec.json.decode(later)), cursor)


def keeping(exchange: Exchange) -> Statement:
    """What has to be written for it."""
    return _KEEP, (
        exchange.server_id,
        exchange.epoch,
        exchange.pushed_through,
        exchange.letters_through,
        exchange.shared_numbers,
        msgspec.json.encode(exchange.later).decode(),
        exchange.cursor,
    )


def forgetting(but: Iterable[str]) -> Statement:
    """What has to be written so that of the neighbours only these are known."""
    kept = list(but)
    return f"DELETE FROM neighbour WHERE hub_id NOT IN ({','.join('?' * len(kept))})", tuple(kept)


def marking(epoch: str, marks: Mapping[str, int], *, anew: bool) -> Iterator[Statement]:
    """What the cloud has, written: of a new epoch only that."""
    if anew:
        yield "DELETE FROM cloud_mark", ()
    yield "INSERT OR REPLACE INTO cloud (only_row, epoch) VALUES (1,?)", (epoch,)
    for device_id, through in marks.items():
        yield "INSERT OR REPLACE INTO cloud_mark (device_id, through) VALUES (?,?)", (device_id, through)


def refusing(refusals: Sequence[Refusal]) -> Iterator[Statement]:
    for refusal in refusals:
        yield "INSERT OR REPLACE INTO cloud_refusal (op_id, device_id, code) VALUES (?,?,?)", refusal
