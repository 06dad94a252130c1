"""The real client of a device, by which somebody hears what servers say of the ops that it pushes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from medxz import wire
from medxz.peer import Peer
from tests.simulation.parties.foreign import Answered

if TYPE_CHECKING:
    import ssl

    from medxz.device.reach import Connect
    from medxz.ids import Ids
    from medxz.peer import Ear, TokenSource


class ObservedPeer(Peer):
    """`on_answer` hears each result when the device does."""

    on_answer: Callable[[Answered], None] = staticmethod(lambda _: None)

    async def push(
        self, ops: Sequence[bytes], dead_letters: Sequence[wire.WireDeadLetter] = ()
    ) -> wire.PushAnswer:
        answer = await super().push(ops, dead_letters)
        for result in answer.results:
            self.on_answer(Answered.of(answer, result))
        return answer


def observing(ids: Ids, on_answer: Callable[[Answered], None]) -> Connect:
    """How a device reaches servers, over HTTP as always."""

    def connect(
        url: str, *, token: TokenSource, ssl_context: ssl.SSLContext | None, ear: Ear | None = None
    ) -> ObservedPeer:
        peer = ObservedPeer(url, token=token, ssl_context=ssl_context, ear=ear, ids=ids)
        peer.on_answer = on_answer
        return peer

    return connect
