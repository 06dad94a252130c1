"""The table of the protocol's endpoints: what the routes, the OpenAPI document and the tests are made from."""

from __future__ import annotations

from typing import Final

from medxz import errors, limits, wire
from medxz.clock import TIME_PATTERN
from medxz.endpoints.fleet import FLEET
from medxz.endpoints.kinds import CURSOR, ID, LIST_LIMIT, Access, Endpoint, Parameter
from medxz.ids import UUID_PATTERN
from medxz.op import ENTITY_TYPE_PATTERN, HASH_PATTERN
from medxz.versions import VERSION_CHARS_MAX, VERSION_PATTERN

_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": limits.PULL_OPS_MAX, "default": limits.PULL_OPS_DEFAULT},
    "how many ops at most",
)
_WAIT = Parameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": limits.PULL_WAIT_S_MAX, "default": 0},
    "seconds to hold the request while nothing is new",
)
_PING = Parameter(
    "ping",
    {
        "type": "number",
        "minimum": limits.STREAM_PING_S_MIN,
        "maximum": limits.STREAM_PING_S_MAX,
    },
    "for how many seconds the stream may be silent; absent: as the server likes",
)
_TYPE = Parameter(
    "type", {"type": "string", "pattern": f"^{ENTITY_TYPE_PATTERN}$"}, "a FHIR R4 resource type"
)
_DICTIONARY = Parameter("id", {"type": "string", "pattern": f"^{HASH_PATTERN}$"}, "its SHA-256, in hex")
_STATE = Parameter(
    "state", {"type": "string", "enum": ["open", "resolved"], "default": "open"}, "which conflicts"
)
_DATE: dict[str, object] = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "date"}
_MOMENT: dict[str, object] = {
    "type": "string",
    "pattern": f"^(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{TIME_PATTERN})$",
}
_FILTERS = (
    Parameter(
        "q",
        {"type": "string", "minLength": 1, "maxLength": limits.SEARCH_CHARS_MAX},
        "only with Patient: words of a name, a birth date, an identifier, a phone number",
    ),
    Parameter(
        "patient", {"type": "string", "pattern": f"^{UUID_PATTERN}$"}, "those of this patient, by date"
    ),
    Parameter("from", _DATE, "with `patient`: the first day"),
    Parameter("to", _DATE, "with `patient`: the last day"),
)
_ID_SCHEMA: dict[str, object] = {"type": "string", "pattern": f"^{UUID_PATTERN}$"}
_AUDIT_FILTERS = (
    Parameter("patient", _ID_SCHEMA, "entries about this patient"),
    Parameter("encounter", _ID_SCHEMA, "entries about this encounter"),
    Parameter("user", _ID_SCHEMA, "what this user did"),
    Parameter("device", _ID_SCHEMA, "what was done at this device"),
    Parameter("from", _MOMENT, "a time, or a day for its first moment: from then on"),
    Parameter("to", _MOMENT, "a time, or a day for its first moment: before then"),
)
_AFTER = Parameter(
    "after",
    {"type": "integer", "minimum": 0, "maximum": limits.INTEGER_MAX},
    "the revision that the hub has",
)
_CLIENT_ADDRESS = Parameter(
    "Medxz-Client-Address", {"type": "string"}, "with a hub's token: the address of whom it passes on"
)
_COMPATIBLE = Parameter(
    "compatible",
    {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{0,63}$"},
    "what kind of machine asks, as `medxz-hub-arm64`",
    required=True,
)
_VERSION = Parameter(
    "version",
    {"type": "string", "pattern": f"^{VERSION_PATTERN}$", "maxLength": VERSION_CHARS_MAX},
    "what the hub runs; absent: whatever there is, is told",
)
_BUNDLE = Parameter("id", {"type": "string", "pattern": f"^{HASH_PATTERN}$"}, "its SHA-256, in hex")
_RANGE = Parameter("Range", {"type": "string"}, "`bytes=N-`: go on where a download broke off")
_BACKUP = Parameter(
    "id",
    {"type": "string", "pattern": f"^{wire.BACKUP_ID_PATTERN}$"},
    "when it was made, and by which hub, as the list says it",
)
_BACKUP_FILE = Parameter(
    "file", {"type": "string", "enum": list(wire.BACKUP_FILES)}, "which file of it", required=True
)
_LETTING_IN = (errors.RateLimited, errors.Forbidden, errors.CloudRequired, errors.StorageFull)
_CURSOR_REFUSALS = (errors.BadCursor, errors.CursorEpochChanged, errors.CursorScopeChanged)

__all__ = ["ENDPOINTS", "Access", "Endpoint", "Parameter"]

ENDPOINTS: Final = (
    Endpoint(
        "push", "POST", "/v1/sync/push",
        "Store operations. Answered once everything stored is durable.",
        "device_or_hub", wire.PushRequest, wire.PushAnswer, refusals=(errors.StorageFull,),
    ),
    Endpoint(
        "pull", "GET", "/v1/sync/pull", "A page of the log after a cursor.",
        "device_or_hub", None, wire.PullAnswer, parameters=(CURSOR, _LIMIT, _WAIT), refusals=_CURSOR_REFUSALS,
    ),
    Endpoint(
        "resume", "POST", "/v1/sync/resume", "The latest cursor before which the caller misses nothing.",
        "device_or_hub", wire.ResumeRequest, wire.ResumeAnswer,
    ),
    Endpoint(
        "stream", "GET", "/v1/sync/stream",
        "The log as it grows, as Server-Sent Events. `Last-Event-ID` resumes.",
        "device_or_hub", None, None, "text/event-stream", (CURSOR, _PING), _CURSOR_REFUSALS,
    ),
    Endpoint(
        "snapshot", "GET", "/v1/sync/snapshot",
        "Every entity as it stands at a cursor: a header line, then one line for each.",
        "device_or_hub", None, None, "application/x-ndjson",
    ),
    Endpoint(
        "status", "GET", "/v1/sync/status", "How the calling device stands with this server.",
        "device", None, wire.StatusAnswer,
    ),
    Endpoint(
        "watermarks", "GET", "/v1/sync/watermarks", "How far each device's numbers are settled.",
        "hub_or_admin", None, wire.WatermarksAnswer,
    ),
    Endpoint(
        "entity", "GET", "/v1/entities/{type}/{id}", "One entity as it stands, with its conflicts.",
        "device_or_hub", None, wire.EntityAnswer, places=(_TYPE, ID), refusals=(errors.NotFound,),
    ),
    Endpoint(
        "entities", "GET", "/v1/entities/{type}", "The entities of a type: all, found by words, or of a patient.",
        "device_or_hub", None, wire.EntitiesAnswer, parameters=(*_FILTERS, CURSOR, LIST_LIMIT), places=(_TYPE,),
        refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "entity_ops", "GET", "/v1/entities/{type}/{id}/ops", "The ops of one entity, whole, by server_seq.",
        "device_or_hub", None, wire.EntityOpsAnswer, parameters=(CURSOR, LIST_LIMIT), places=(_TYPE, ID),
        refusals=(errors.NotFound, errors.BadCursor),
    ),
    Endpoint(
        "history", "GET", "/v1/entities/{type}/{id}/history",
        "Who changed what of an entity, and when: each op with its fields before and after.",
        "device_or_hub", None, wire.HistoryAnswer, parameters=(CURSOR, LIST_LIMIT), places=(_TYPE, ID),
        refusals=(errors.NotFound, errors.BadCursor),
    ),
    Endpoint(
        "conflicts", "GET", "/v1/conflicts", "What does not agree, and patients who may be one.",
        "device_or_hub", None, wire.ConflictsAnswer, parameters=(_STATE, CURSOR, LIST_LIMIT),
        refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "conflict", "GET", "/v1/conflicts/{id}", "One of them, open or resolved.",
        "device_or_hub", None, wire.WireConflict, places=(ID,), refusals=(errors.NotFound,),
    ),
    Endpoint(
        "reviews", "GET", "/v1/reviews", "Ops that were kept and that a person should look at.",
        "admin", None, wire.ReviewsAnswer, parameters=(CURSOR, LIST_LIMIT), refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "config", "GET", "/v1/config", "The clinic's configuration.", "device_or_hub", None, wire.ConfigAnswer,
    ),
    Endpoint(
        "audit", "GET", "/v1/audit", "Who read, exported, logged in, enrolled, was refused: the newest first.",
        "admin", None, wire.AuditAnswer, parameters=(*_AUDIT_FILTERS, CURSOR, LIST_LIMIT),
        refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "audit_verify", "GET", "/v1/audit/verify", "Whether the chains of the audit hold.",
        "admin", None, wire.AuditVerifyAnswer,
    ),
    Endpoint(
        "login", "POST", "/v1/auth/login", "A session for a person at an enrolled device.",
        "optional", wire.LoginRequest, wire.SessionAnswer, headers=(_CLIENT_ADDRESS,),
        refusals=(errors.CredentialsInvalid, errors.TotpRequired, *_LETTING_IN),
    ),
    Endpoint(
        "refresh", "POST", "/v1/auth/refresh", "The session, renewed.",
        "optional", wire.RefreshRequest, wire.SessionAnswer, headers=(_CLIENT_ADDRESS,), refusals=_LETTING_IN,
    ),
    Endpoint(
        "logout", "POST", "/v1/auth/logout",
        "The end of the session that the token is of, or the refresh token.",
        "optional", wire.LogoutRequest, None, bodiless=True, empty="always",
        refusals=(errors.TokenMissing, *_LETTING_IN),
    ),
    Endpoint(
        "hub_token", "POST", "/v1/auth/hub", "An access token for a hub that proves its key.",
        "anyone", wire.AssertionRequest, wire.HubTokenAnswer,
        refusals=(errors.TokenInvalid, errors.TokenExpired, errors.SessionRevoked, *_LETTING_IN),
    ),
    Endpoint(
        "code", "POST", "/v1/codes", "A pairing code for a device or a hub; to a hub, for devices of its own site.",
        "hub_or_admin", wire.CodeRequest, wire.CodeAnswer, refusals=_LETTING_IN,
    ),
    Endpoint(
        "enroll", "POST", "/v1/enroll",
        "A device is let in by a pairing code; with a device's token, a copied device gets an id of its own.",
        "optional", wire.EnrolRequest, wire.EnrolAnswer, headers=(_CLIENT_ADDRESS,),
        own=(wire.ReenrolRequest, wire.ReenrolAnswer), refusals=(errors.CodeInvalid, *_LETTING_IN),
    ),
    Endpoint(
        "hub_claim", "POST", "/v1/hubs/claim", "A hub is let in by a pairing code.",
        "anyone", wire.ClaimRequest, wire.ClaimAnswer, refusals=(errors.CodeInvalid, *_LETTING_IN),
        anonymous_bytes_max=limits.CLAIM_BYTES_MAX,
    ),
    Endpoint(
        "hub_renew", "POST", "/v1/hubs/renew", "A new certificate for a hub.",
        "hub", wire.RenewRequest, wire.RenewAnswer, refusals=_LETTING_IN,
    ),
    Endpoint(
        "hub_directory", "GET", "/v1/hubs/directory", "What a hub mirrors of its clinic, whole.",
        "hub", None, wire.DirectoryAnswer, parameters=(_AFTER,), empty="maybe",
    ),
    Endpoint(
        "hub_update", "GET", "/v1/hubs/update", "What a hub is to run in place of what it runs.",
        "hub", None, wire.UpdateAnswer, parameters=(_COMPATIBLE, _VERSION), empty="maybe",
    ),
    Endpoint(
        "hub_release", "GET", "/v1/hubs/releases/{id}", "A bundle of the hubs' software.",
        "hub", None, None, "application/octet-stream", places=(_BUNDLE,), headers=(_RANGE,),
        refusals=(errors.NotFound,), ranged=True,
    ),
    Endpoint(
        "hub_backup", "POST", "/v1/hubs/backups", "Keep a piece of a hub's backup.",
        "hub", wire.BackupPiece, wire.BackupAnswer, refusals=(errors.StorageFull,),
    ),
    Endpoint(
        "hub_backups", "GET", "/v1/hubs/backups", "The backups that a hub may have: its own, and those of whom it replaced.",
        "hub", None, wire.BackupsAnswer, parameters=(CURSOR, LIST_LIMIT), refusals=(errors.BadCursor,),
    ),
    Endpoint(
        "hub_backup_file", "GET", "/v1/hubs/backups/{id}", "A file of a backup.",
        "hub", None, None, "application/octet-stream", parameters=(_BACKUP_FILE,), places=(_BACKUP,),
        headers=(_RANGE,), refusals=(errors.NotFound,), ranged=True,
    ),
    *FLEET,
    Endpoint(
        "jwks", "GET", "/.well-known/jwks.json", "The keys by which access tokens are verified.",
        "anyone", None, wire.JwksAnswer,
    ),
    Endpoint("info", "GET", "/v1/info", "Who this server is.", "anyone", None, wire.InfoAnswer),
    Endpoint(
        "dictionary", "GET", "/v1/dictionaries/{id}", "A compression dictionary that /v1/info names.",
        "anyone", None, None, "application/octet-stream", places=(_DICTIONARY,), refusals=(errors.NotFound,),
    ),
    Endpoint("health_live", "GET", "/health/live", "Whether the process runs.", "anyone", None, wire.HealthAnswer),
    Endpoint(
        "health_ready", "GET", "/health/ready", "Whether it serves; 503 while it does not.",
        "anyone", None, wire.HealthAnswer,
    ),
    Endpoint("health", "GET", "/health", "Its checks, one by one.", "anyone", None, wire.HealthAnswer),
    Endpoint("metrics", "GET", "/metrics", "Figures for Prometheus.", "anyone", None, None, "text/plain"),
    Endpoint("openapi", "GET", "/openapi.json", "This description.", "anyone", None, None, "application/json"),
    Endpoint("docs", "GET", "/docs", "This description, for people.", "anyone", None, None, "text/html"),
)  # fmt: skip
