"""Request bodies: read as they come, bounded as sent and after their coding is undone, checked to be JSON.

Memory is spent only within bounds: of one body, and of all bodies in flight together. Nothing is read before the
caller is known. A client that sends nothing for a while is left.
"""

from __future__ import annotations

import asyncio
import json
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


class Bodies:
    """Reads the bodies of requests. One for a server; `find_dictionary` raises NotFound for what it has not."""

    def __init__(self, find_dictionary: Callable[[str], bytes], worker: Worker) -> None:
        self._find_dictionary = find_dictionary
        self._worker = worker
        self._here = Inflater()
        self._there = Inflater()
        self._dictionaries: dict[str, Dictionary] = {}
        self._held_bytes = 0

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
        self._held_bytes -= call.held_bytes
        call.held_bytes = 0

    def _hold(self, call: Call, count: int) -> None:
        if self._held_bytes + count > limits.BODIES_BYTES_MAX:
            raise Overloaded("too many bodies are being read", retry_after_s=limits.OVERLOADED_RETRY_S)
        self._held_bytes += count
        call.held_bytes += count

    async def _read_as_sent(self, call: Call) -> bytes:
        request = call.request
        length = request.content_length
        if length is not None and length > limits.BODY_BYTES_MAX:
            raise _too_large()
        content = request.content
        try:
            if content.is_eof():  # it came with the headers
                body = content.read_nowait()
                self._hold(call, len(body))
                return body
            _continue(request)
            return await self._read_in_parts(call)
        except web.RequestPayloadError:
            raise BadRequest("the body's framing is broken") from None

    async def _read_in_parts(self, call: Call) -> bytes:
        content = call.request.content
        parts: list[bytes] = []
        room = limits.BODY_BYTES_MAX
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
                raise _too_large()
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
        inline_max = limits.INLINE_CODING_BYTES_MAX
        if len(body) <= _SHORT_BYTES and (size is None or size <= inline_max):
            try:
                inflated = self._here.inflate(coding, body, inline_max, dictionary)
            except TooLarge:
                pass  # for here: the worker has more room
            else:
                self._hold(call, len(inflated))
                return inflated
        self._hold(call, min(size, limits.BODY_INFLATED_BYTES_MAX) if size is not None else 0)
        inflated = await self._worker.run(
            self._there.inflate, coding, body, limits.BODY_INFLATED_BYTES_MAX, dictionary
        )
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


def _too_large() -> TooLarge:
    return TooLarge(f"a body is at most {limits.BODY_BYTES_MAX} bytes as sent")
