"""What this hub rejected for good, told to the cloud: so that those numbers settle there too, and block no watermark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from medxz import limits, wire
from medxz.errors import PeerRefused
from medxz.replicate import Remote
from medxz.store.base import LetterRow
from medxz.store.sqlite import SqliteLog

UNREADABLE: Final = frozenset({400, 413, 422})

Answered = Callable[[wire.PushAnswer, Sequence[LetterRow]], None]


class Letters:
    """The dead letters of one log, read on from `through`. `answered` takes what the cloud says to some of them."""

    def __init__(self, log: SqliteLog, answered: Answered) -> None:
        self._log: Final = log
        self._answered: Final = answered
        self.through = 0

    async def report(self, remote: Remote, is_known: Callable[[LetterRow], bool]) -> bool:
        """Tell all that are new and not known there already; whether there were any."""
        before = self.through
        while rows := await self._log.dead_letters(self.through, limits.PUSH_OPS_MAX):
            await self.tell(remote, [row for row in rows if not is_known(row)])
            self.through = rows[-1].id
        return self.through != before

    async def tell(self, remote: Remote, rows: Sequence[LetterRow]) -> None:
        """One that is not even read there concerns itself alone: it is passed by."""
        if not rows:
            return
        try:
            answer = await remote.push([], list(map(letter_of, rows)))
        except PeerRefused as refusal:
            if refusal.status not in UNREADABLE:
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                await self.tell(remote, rows[:middle])
                await self.tell(remote, rows[middle:])
        else:
            self._answered(answer, rows)


def letter_of(row: LetterRow) -> wire.WireDeadLetter:
    """As the cloud is told of it."""
    return wire.WireDeadLetter(
        device_id=row.device_id,
        device_seq=row.device_seq,
        op_id=row.op_id,
        code=cast(wire.RejectionCode, row.code),
    )
