"""Everything that can go wrong, as one tree.

    MedxzError
    ├── Refusal                 a server's answer to a request; each class is one code of the protocol
    │   ├── BadRequest BadJson BadCursor                                 400
    │   ├── TokenMissing TokenInvalid TokenExpired SessionRevoked        401
    │   ├── CredentialsInvalid TotpRequired                              401
    │   ├── Forbidden CodeInvalid 403   NotFound 404   MethodNotAllowed 405
    │   ├── CursorEpochChanged CursorScopeChanged RolloutState           409
    │   ├── TooLarge 413    UnsupportedMedia 415   Invalid 422
    │   ├── RateLimited 429
    │   └── InternalError 500   CloudRequired Overloaded 503   StorageFull 507
    ├── StoreError              a log or a local store that cannot be used as it is
    │   ├── StoreLocked  StoreKeyWrong  SchemaTooNew  RowCorrupt
    ├── PeerUnreachable         a server that did not answer, or not in its protocol
    │   └── PeerUntrusted       one that did not show the certificate that was asked for
    ├── LoginNeeded             a device on which nobody is logged in; recording goes on
    ├── DeviceLocked            a device that shows and records nothing until its user unlocks it
    ├── UnlockRefused           a wrong password, or one that comes too early
    ├── RoleForbids             what the role of who is logged in neither reads nor writes
    ├── OpInvalid               an operation that this device may not record
    │   └── PayloadInvalid      one whose payload is not the resource that it says; all problems at once
    ├── CourierRefused          a courier's file that is not for us, not whole, or older than what is here
    └── ConfigurationError      what an operator wrote and has to mend; all problems at once

A class knows its code, its HTTP status, whether trying again can help, and a hint for whoever reads it.
A message never holds patient data: it names fields, ids and limits, never a payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MedxzError(Exception):
    """The root. `str(error)` says what happened, to what, and what to do next."""

    hint: str = ""


class Refusal(MedxzError):
    """A request that a server answers with a problem document (RFC 9457)."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Refused"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class BadRequest(Refusal):
    code, status, title = "bad_request", 400, "This is not HTTP as it is spoken here"


class BadJson(Refusal):
    code, status, title = "bad_json", 400, "The body is not JSON"


class BadCursor(Refusal):
    code, status, title = "bad_cursor", 400, "The cursor is not one of this server's"
    hint = "begin again without a cursor; for the log, POST /v1/sync/resume gives one"


class TokenMissing(Refusal):
    code, status, title = "token_missing", 401, "A token is needed"
    hint = "send Authorization: Bearer TOKEN"


class TokenInvalid(Refusal):
    code, status, title = "token_invalid", 401, "The token is not valid here"


class TokenExpired(Refusal):
    code, status, title = "token_expired", 401, "The token has ended"
    hint = "refresh the session"


class SessionRevoked(Refusal):
    code, status, title = "session_revoked", 401, "The session was revoked"
    hint = "log in again"


class CredentialsInvalid(Refusal):
    """One answer for an unknown address, a wrong password, a disabled user and a wrong second factor."""

    code, status, title = "credentials_invalid", 401, "This is nobody's address and password"


class TotpRequired(Refusal):
    code, status, title = "totp_required", 401, "A second factor is needed"
    hint = "send the six digits of the authenticator as `totp`"


class Forbidden(Refusal):
    code, status, title = "forbidden", 403, "Not allowed"


class CodeInvalid(Refusal):
    """One answer for a code that is unknown, used or over."""

    code, status, title = "code_invalid", 403, "The pairing code is not good"
    hint = "ask the clinic's administrator for a new one"


class NotFound(Refusal):
    code, status, title = "not_found", 404, "Not here"


class MethodNotAllowed(Refusal):
    code, status, title = "method_not_allowed", 405, "Not with this method"


class CursorEpochChanged(Refusal):
    code, status, title = "cursor_epoch_changed", 409, "The log has a new epoch"
    hint = "ask POST /v1/sync/resume for a cursor by what you have"


class CursorScopeChanged(Refusal):
    code, status, title = "cursor_scope_changed", 409, "The device sees more than the cursor did"
    hint = "start again without a cursor"


class RolloutState(Refusal):
    code, status, title = "rollout_state", 409, "Not while the rollouts stand as they do"
    hint = "medxz-cloud rollout status shows them"


class TooLarge(Refusal):
    code, status, title = "too_large", 413, "Too large"


class UnsupportedMedia(Refusal):
    code, status, title = "unsupported_media", 415, "Not a type or coding that is read here"


class Invalid(Refusal):
    code, status, title = "invalid", 422, "A value is not what it must be"


class RateLimited(Refusal):
    code, status, title, retryable = "rate_limited", 429, "Too many requests", True


class InternalError(Refusal):
    code, status, title, retryable = "internal", 500, "The server failed", True
    hint = "try again; if it goes on, tell the operator the request_id"


class CloudRequired(Refusal):
    code, status, title, retryable = "cloud_required", 503, "This needs the cloud", True


class Overloaded(Refusal):
    code, status, title, retryable = "overloaded", 503, "Too much is waiting", True


class StorageFull(Refusal):
    code, status, title, retryable = "storage_full", 507, "The disk is full", True
    hint = "reading goes on working; free some space on the server"


REFUSALS: tuple[type[Refusal], ...] = (
    BadRequest, BadJson, BadCursor, TokenMissing, TokenInvalid, TokenExpired, SessionRevoked,
    CredentialsInvalid, TotpRequired, Forbidden, CodeInvalid, NotFound,
    MethodNotAllowed, CursorEpochChanged, CursorScopeChanged, RolloutState, TooLarge, UnsupportedMedia, Invalid,
    RateLimited, InternalError, CloudRequired, Overloaded, StorageFull,
)  # fmt: skip


class StoreError(MedxzError):
    """A log or a local store that cannot be used as it is."""


class StoreLocked(StoreError):
    hint = "another process has it open; stop that one first, or talk to it"


class StoreKeyWrong(StoreError):
    hint = "give the key file that this store was made with"


class SchemaTooNew(StoreError):
    hint = "this store was written by a newer version; run that version, or restore a backup made by this one"


class StoreDamaged(StoreError):
    """A file that does not hold what was written to it."""

    hint = "`medxz-hub run` sets it aside and fills again by itself; a cloud is restored from a backup: docs/recovery.md"


class RowCorrupt(StoreError):
    """A row whose checksum does not fit its bytes: never handed to anybody."""


class PeerUnreachable(MedxzError):
    """A server that did not answer in time, or not in this protocol. Nothing is known of what it did."""


class PeerUntrusted(PeerUnreachable):
    """A server whose certificate is not the one that was asked for. It was sent nothing."""

    hint = "is it the right server? a hub is known by its CA: `--fp FINGERPRINT` or `--ca FILE`, by `medxz-hub ca` there"


class PeerRefused(MedxzError):
    """A server answered a whole request with a problem document."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class LoginNeeded(MedxzError):
    """Nobody is logged in on this device, or no longer: servers would not listen."""

    hint = "log in: `medxz login --store DIR --email E --password-file F`; what is recorded meanwhile is kept"


class DeviceLocked(MedxzError):
    """Nothing is shown and nothing recorded here until its user unlocks it; it goes on syncing."""

    code: ClassVar[str] = "locked"
    hint = "unlock it: `medxz unlock --store DIR`; somebody else logs in: `medxz login`, which needs a server"


class UnlockRefused(MedxzError):
    """A password that does not open the device: it is wrong (`password_wrong`), or comes too early (`try_later`)."""

    def __init__(self, code: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class RoleForbids(MedxzError):
    """What the role of who is logged in neither reads nor writes; a server would refuse it too."""

    code: ClassVar[str] = "forbidden"
    hint = "somebody whose role it is logs in: `medxz login`; an administrator gives roles"


class OpInvalid(MedxzError):
    """An operation that breaks a rule of the envelope; `field` names where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class PayloadInvalid(OpInvalid):
    """A payload that is not the resource that it says: every problem that was found, as (path, message)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("payload", "; ".join(f"{path} {message}" for path, message in problems))
        self.problems = tuple(problems)


class CourierRefused(MedxzError):
    """A courier's file of which nothing is taken."""

    code = "courier_refused"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(MedxzError):
    """What an operator has to mend: every problem that was found, together."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
