"""What of the hub's log goes up next: its ops by server_seq that the cloud is not known to have, a few at a time.

Read as it goes, so that a log of years takes no more memory than one of a day. An op that the cloud takes only later
stands aside and is offered again from time to time: what lies behind it does not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from hub.uplink.settled import Settled
from medxz.clock import Clock
from medxz.errors import PeerUnreachable
from medxz.replicate import Outgoing
from medxz.store.sqlite import SqliteLog

READ_OPS: Final = 500
LATER_MAX: Final = 1_000
# so many may have been handed out since it was last written down what is settled
UNSURE_OPS: Final = 5_000
LATER_EVERY_S: Final = 30.0
LATER_EVERY_S_MAX: Final = 900.0


class _Head(msgspec.Struct, frozen=True, gc=False):
    """What a stored op is found by."""

    op_id: str
    device_id: str
    device_seq: int
    server_seq: int


# behind the payload, with which the text of an op without hash and signature ends
_HASH: Final = re.compile(rb',"hash":"[0-9a-f]{64}"(,"signature":"[A-Za-z0-9_-]{86}")?}$')
_head: Final = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Offered:
    """An op that was handed out and has not been answered."""

    op_id: str
    device_id: str
    device_seq: int


class Queue:
    """One round after another: each goes from where everything is settled to the end of the log."""

    def __init__(
        self,
        log: SqliteLog,
        settled: Settled,
        clock: Clock,
        through: int,
        later: Sequence[int] = (),
        *,
        unsure: bool = False,
    ) -> None:
        """`through`: all up to that server_seq is settled there, but for those in `later`.

        Where it is `unsure` whether something was handed out before, what follows is handed out whatever the cloud's
        watermarks say: an op that it refused is settled too, and its device has to be told.
        """
        self._log: Final = log
        self._settled: Final = settled
        self._clock: Final = clock
        self.through = through
        self.later = set(later)
        self._walked = through  # how far ops have been handed out
        self._unsure_through = through + UNSURE_OPS if unsure else 0
        self._shared = log.shared
        self._offered: dict[int, Offered] = {}
        self._again: list[int] = []  # of `later`, those that this round has still to offer
        self._waits_s = LATER_EVERY_S
        self._again_at = clock.monotonic()

    async def next(self, after: int, ops_max: int, bytes_max: int) -> list[Outgoing]:
        """The ops behind a place of this round, which 0 begins; one at least where there is any."""
        if after == 0:
            self._begin_round()
        else:
            self._set_aside()
        again = await self._next_again(after)
        if again is not None:
            return [again]
        seq, size = max(after, self.through), 0
        batch: list[Outgoing] = []
        while len(batch) < ops_max and (texts := await self._log.ops_after(seq, READ_OPS)):
            for text in texts:
                head = _head(text)
                if self._is_wanted(head):
                    body = _body(text)
                    size += len(body)
                    if batch and (size > bytes_max or len(batch) == ops_max):
                        return self._hand_out(batch, seq)
                    batch.append(self._offer(head, body))
                seq = head.server_seq
        return self._hand_out(batch, seq)

    def _hand_out(self, batch: list[Outgoing], seq: int) -> list[Outgoing]:
        """`seq`: how far the log was looked at for these."""
        self._walked = seq
        if not batch:
            self.through = seq
        return batch

    def offered(self, position: int) -> Offered | None:
        """What was handed out there and has not been answered."""
        return self._offered.get(position)

    def answered(self, position: int) -> Offered | None:
        """That op is settled there, or never will be: it is not offered again."""
        self.later.discard(position)
        return self._offered.pop(position, None)

    def _begin_round(self) -> None:
        """What was handed out in a round that broke off is handed out again: its answer was lost."""
        self._unsure_through = max(self._unsure_through, *self._offered, 0)
        self._offered.clear()
        self._shared = self._log.shared
        self._walked = self.through
        self._again = []
        now = self._clock.monotonic()
        if self.later and now >= self._again_at:
            self._again = sorted(self.later)
            self._again_at = now + self._waits_s
            self._waits_s = min(LATER_EVERY_S_MAX, 2 * self._waits_s)
        elif not self.later:
            self._waits_s = LATER_EVERY_S

    def _set_aside(self) -> None:
        """What was handed out before and not answered is for later; the rest of the log has come that much nearer."""
        if len(self.later) + len(self._offered) > LATER_MAX:
            raise PeerUnreachable(f"more than {LATER_MAX} ops would have to be offered again later")
        if self._offered and not self.later:
            self._again_at = self._clock.monotonic() + self._waits_s
        self.later.update(self._offered)
        self._offered.clear()
        self.through = max(self.through, self._walked)

    async def _next_again(self, after: int) -> Outgoing | None:
        """One of those that stood aside: whatever is wrong with it, it is alone."""
        while self._again:
            seq = self._again.pop(0)
            texts = await self._log.ops_after(seq - 1, 1)
            head = _head(texts[0]) if texts else None
            if seq > after and head is not None and head.server_seq == seq:
                return self._offer(head, _body(texts[0]))
            self.later.discard(seq)
        return None

    def _is_wanted(self, head: _Head) -> bool:
        """Two ops may share a number: to have settled the number is not to have the op."""
        number = (head.device_id, head.device_seq)
        return (
            not self._settled.has(*number)
            or number in self._shared
            or head.server_seq <= self._unsure_through
        )

    def _offer(self, head: _Head, body: bytes) -> Outgoing:
        self._offered[head.server_seq] = Offered(head.op_id, head.device_id, head.device_seq)
        return Outgoing(head.server_seq, head.op_id, body)


def _body(text: bytes) -> bytes:
    """The op as its author sent it, without what this hub's log put before it, and without its hash.

    The hash was held against the op when it came, and whoever gets it makes it anew: it need not travel.
    """
    return _HASH.sub(rb"\1}", b"{" + text[text.index(b'Z",') + 3 :])
