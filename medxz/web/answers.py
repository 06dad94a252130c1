"""Answers with a body, compressed where the client likes that and it is worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medxz import limits
from medxz.errors import NotFound
from medxz.web.call import JSON
from medxz.web.encoding import Deflater, Dictionary, available_dictionary_id, choose_coding
from medxz.web.sent import Whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medxz.web.body import Bodies
    from medxz.web.call import Call
    from medxz.work import Worker


class Answers:
    """Makes them. One for a server; long bodies are compressed by the worker."""

    def __init__(self, bodies: Bodies, worker: Worker) -> None:
        self._bodies = bodies
        self._worker = worker
        self._here = Deflater()
        self._there = Deflater()

    async def answer(self, call: Call, body: bytes, content_type: str = JSON, status: int = 200) -> Whole:
        """An answer in the coding that the client accepts."""
        accepted = call.request.headers.get("Accept-Encoding")
        if accepted is None or len(body) <= limits.COMPRESS_BYTES_MIN:
            return call.answer(body, content_type, status)
        dictionary = self._client_dictionary(call)
        coding = choose_coding(accepted, dictionary is not None)
        if coding is None:
            return call.answer(body, content_type, status)
        if len(body) <= limits.INLINE_CODING_BYTES_MAX:
            body = self._here.deflate(coding, body, dictionary)
        else:
            body = await self._worker.run(self._there.deflate, coding, body, dictionary)
        call.extra["Content-Encoding"] = coding
        return call.answer(body, content_type, status)

    async def answer_parts(self, call: Call, parts: Sequence[bytes]) -> Whole:
        """An answer of several parts: they are put together only where they are compressed."""
        if call.request.headers.get("Accept-Encoding") is None:
            return Whole(200, call.headers(JSON), parts)
        return await self.answer(call, b"".join(parts))

    def _client_dictionary(self, call: Call) -> Dictionary | None:
        """The dictionary that the client says it has, where it is one of ours."""
        header = call.request.headers.get("Available-Dictionary")
        if header is None:
            return None
        call.vary.append("Available-Dictionary")
        dictionary_id = available_dictionary_id(header)
        if dictionary_id is None:
            return None
        try:
            return self._bodies.dictionary(dictionary_id)
        except NotFound:
            return None
