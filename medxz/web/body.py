"""Request bodies: read as they come, bounded as sent and after their coding is undone, checked to be JSON.

Memory is spent only within bounds: of one body, and of all bodies in flight together. Nothing is read before the
caller is known. A client that sends nothing for a while is left. Who shows no token is held to closer bounds, with a
deadline for the whole body, and out of a pot of their own: however many they are, those with a token go on.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web
from aiohttp.http import HttpVersion11
from pydantic import BaseModel, ValidationError

from medxz import limits
from medxz.errors import BadJson, BadRequest, Invalid, NotFound, Overloaded, TooLarge, UnsupportedMedia
from medxz.web.encoding import CODINGS, Dictionary, Inflater, dcz_dictionary_id, declared_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from medxz.web.call import Call
    from medxz.work import Worker

M = TypeVar("M", bound=BaseModel)

_JSON_TYPES: Final = frozenset(
    {"application/json", "application/json;charset=utf-8", 'application/json;charset="utf-8"'}
)
# a body this short is inflated where it is: it can't hold up the loop before the bound of inline work stops it
_SHORT_BYTES: Final = limits.INLINE_CODING_BYTES_MAX // 4


@dataclass(slots=True)
class Pot:
    """Memory that bodies in flight share. What is `free` of each is not counted, so that a short one always fits."""

    bytes_max: int
    free: int = 0
    held: int = 0

    def hold(self, call: Call, count: int) -> None:
        """Take so much more for this request; Overloaded where it is not there."""
        more = self._counted(call.held_bytes + count) - self._counted(call.held_bytes)
        if more and self.held + more > self.bytes_max:
            raise Overloaded("too many bodies are being read", retry_after_s=limits.OVERLOADED_RETRY_S)
        self.held += more
        call.held_bytes += count

    def release(self, call: Call) -> None:
        self.held -= self._counted(call.held_bytes)
        call.held_bytes = 0

    def _counted(self, count: int) -> int:
        return max(count - self.free, 0)


class Bodies:
    """Reads the bodies of requests. One for a server; `find_dictionary` raises NotFound for what it has not."""

    def __init__(self, find_dictionary: Callable[[str], bytes], worker: Worker) -> None:
        self._find_dictionary = find_dictionary
        self._worker = worker
        self._here = Inflater()
        self._there = Inflater()
        self._dictionaries: dict[str, Dictionary] = {}
        self.known = Pot(limits.BODIES_BYTES_MAX)
        self.anonymous = Pot(limits.ANONYMOUS_BODIES_BYTES_MAX, limits.ANONYMOUS_BODY_BYTES_FREE)

    async def read(self, call: Call) -> bytes:
        """The JSON bytes of a request, its coding undone."""
        coding = _coding(call)
        _check_type(call.request)
        body = await self._read_as_sent(call)
        return body if coding is None else await self._inflate(call, coding, body)

    async def read_model(self, call: Call, model: type[M]) -> M:
        """The request as one of the protocol's messages."""
        body = await self.read(call)
        if len(body) > limits.MESSAGE_BYTES_MAX:
            raise TooLarge(f"a request other than a push is at most {limits.MESSAGE_BYTES_MAX} bytes of JSON")
        if len(body) > limits.INLINE_CODING_BYTES_MAX:
            return await self._worker.run(read_model, model, body)
        return read_model(model, body)

    def dictionary(self, dictionary_id: str) -> Dictionary:
        """A dictionary that this server names, made ready once."""
        known = self._dictionaries.get(dictionary_id)
        if known is None:
            known = Dictionary.of(dictionary_id, self._find_dictionary(dictionary_id))
            self._dictionaries[dictionary_id] = known
        return known

    def release(self, call: Call) -> None:
        """The request has been answered: its body no longer counts."""
        self._pot(call).release(call)

    def _hold(self, call: Call, count: int) -> None:
        self._pot(call).hold(call, count)

    def _pot(self, call: Call) -> Pot:
        return self.known if call.has_token else self.anonymous

    async def _read_as_sent(self, call: Call) -> bytes:
        request, bytes_max = call.request, _bytes_max(call, limits.BODY_BYTES_MAX)
        length = request.content_length
        if length is not None and length > bytes_max:
            raise _too_large(bytes_max)
        content = request.content
        try:
            if content.is_eof():  # it came with the headers
                body = content.read_nowait()
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
                self._hold(call, len(body))
                return body
            _continue(request)
            return await self._read_in_time(call, bytes_max)
        except web.RequestPayloadError:
            raise BadRequest("the body's framing is broken") from None

    async def _read_in_time(self, call: Call, bytes_max: int) -> bytes:
        if call.has_token:
            return await self._read_in_parts(call, bytes_max)
        try:
            async with asyncio.timeout(limits.ANONYMOUS_BODY_S):
                return await self._read_in_parts(call, bytes_max)
        except TimeoutError:
            raise ConnectionAbortedError("the client took too long over its body") from None

    async def _read_in_parts(self, call: Call, bytes_max: int) -> bytes:
        content = call.request.content
        parts: list[bytes] = []
        room = bytes_max
        while True:
            try:
                async with asyncio.timeout(limits.STALLED_S):
                    part = await content.readany()
            except TimeoutError:
                raise ConnectionAbortedError("the client stopped sending its body") from None
            if not part and content.at_eof():
                return b"".join(parts)
            room -= len(part)
            if room < 0:
                raise _too_large(bytes_max)
            self._hold(call, len(part))
            parts.append(part)

    async def _inflate(self, call: Call, coding: str, body: bytes) -> bytes:
        dictionary = None
        if coding == "dcz":
            try:
                dictionary = self.dictionary(dcz_dictionary_id(body))
            except NotFound:
                raise UnsupportedMedia("the body's dictionary is not one that /v1/info names") from None
        size = declared_bytes(coding, body)
        bytes_max = _bytes_max(call, limits.BODY_INFLATED_BYTES_MAX)
        inline_max = min(limits.INLINE_CODING_BYTES_MAX, bytes_max)
        if len(body) <= _SHORT_BYTES and (size is None or size <= inline_max):
            try:
                inflated = self._here.inflate(coding, body, inline_max, dictionary)
            except TooLarge:
                if inline_max == bytes_max:
                    raise
                # for here: the worker has more room
            else:
                self._hold(call, len(inflated))
                return inflated
        self._hold(call, min(size, bytes_max) if size is not None else 0)
        inflated = await self._worker.run(self._there.inflate, coding, body, bytes_max, dictionary)
        self._hold(call, len(inflated) if size is None else 0)
        return inflated


def read_model(model: type[M], body: bytes) -> M:
    """A message from JSON text; BadJson where it is no JSON, Invalid with the field where it is another message."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise BadJson("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg} at byte {error.pos}") from None
    except ValueError:  # not UTF-8, or a number of thousands of digits
        raise BadJson("the body is not JSON in UTF-8 with numbers of a sane length") from None
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part)[:64] for part in first["loc"])
        raise Invalid(first["msg"], field=path[:256] or None) from None
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("an object names a member twice")
    return found


def _no_constant(name: str) -> float:
    raise BadJson(f"{name} is not JSON")


def _coding(call: Call) -> str | None:
    headers = call.request.headers
    if "Content-Encoding" not in headers:
        return None
    coding = ",".join(headers.getall("Content-Encoding")).strip().lower()
    if coding in {"", "identity"}:
        return None
    if coding in CODINGS:
        return coding
    call.extra["Accept-Encoding"] = ", ".join(CODINGS)
    raise UnsupportedMedia("a body comes plain or in one coding of: " + ", ".join(CODINGS))


def _check_type(request: web.BaseRequest) -> None:
    header = request.headers.get("Content-Type")
    if header is None or header == "application/json" or header.lower().replace(" ", "") in _JSON_TYPES:
        return
    raise UnsupportedMedia("a body is application/json in UTF-8")


def _continue(request: web.BaseRequest) -> None:
    """Tell a client that asked first that its body is wanted. Other expectations mean nothing here."""
    expectation = request.headers.get("Expect")
    if expectation is None or request.version < HttpVersion11 or request.transport is None:
        return
    if expectation.lower() == "100-continue":
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _bytes_max(call: Call, with_token: int) -> int:
    """How long its body may be, where `with_token` is the bound of who shows one."""
    if call.has_token:
        return with_token
    assert call.endpoint is not None, "what is not in the table reads no body"
    return min(call.endpoint.anonymous_bytes_max, with_token)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"a body here is at most {bytes_max} bytes as sent")
