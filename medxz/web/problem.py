"""Refusals as problem documents (RFC 9457). A document names fields, limits and codes, never a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from medxz.errors import CredentialsInvalid, Refusal, TokenMissing, TotpRequired

if TYPE_CHECKING:
    from medxz.web.call import Call
    from medxz.web.sent import Whole

PROBLEM: Final = "application/problem+json"

_ABOUT_NO_TOKEN: Final = (TokenMissing, CredentialsInvalid, TotpRequired)


def problem_type(code: str) -> str:
    """Where the error is explained: a relative reference, which holds at any server's address."""
    return f"/docs#error-{code}"


def problem_body(refusal: Refusal, request_id: str) -> bytes:
    document: dict[str, object] = {
        "type": problem_type(refusal.code),
        "title": refusal.title,
        "status": refusal.status,
        "detail": _sayable(refusal.message),
        "code": refusal.code,
        "request_id": request_id,
    }
    if refusal.field is not None:
        document["field"] = _sayable(refusal.field)
    if refusal.hint:
        document["hint"] = refusal.hint
    return orjson.dumps(document)


def problem_answer(refusal: Refusal, call: Call) -> Whole:
    """The answer to a refused request, with the headers that its status asks for."""
    if refusal.retry_after_s is not None:
        call.extra["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        error = "" if isinstance(refusal, _ABOUT_NO_TOKEN) else ', error="invalid_token"'
        call.extra["WWW-Authenticate"] = f'Bearer realm="medxz"{error}'
    return call.answer(problem_body(refusal, call.request_id), PROBLEM, refusal.status)


def _sayable(text: str) -> str:
    """Text that is UTF-8: a field's name may be the client's own, lone surrogates and all."""
    return text.encode("utf-8", "replace").decode()
