-- Who belongs to a clinic and what it has decided. The same tables and columns as sql/sqlite/0001_authority.sql.

CREATE TABLE server (
    only_row   BIGINT PRIMARY KEY CHECK (only_row = 1),
    server_id  TEXT NOT NULL,
    epoch      TEXT NOT NULL
);

CREATE TABLE server_secret (
    name    TEXT PRIMARY KEY,
    sealed  BYTEA NOT NULL
);

CREATE TABLE server_key (
    kid            TEXT PRIMARY KEY,
    state          TEXT NOT NULL CHECK (state IN ('next', 'current', 'old')),
    public_key     BYTEA NOT NULL,
    sealed         BYTEA NOT NULL,
    made_at_ms     BIGINT NOT NULL,
    changed_at_ms  BIGINT NOT NULL
);

-- These find the clinic of somebody who does not name it. What they find is held against the clinic's own tables.

CREATE TABLE device_clinic (
    device_id  TEXT NOT NULL,
    clinic_id  TEXT NOT NULL,
    PRIMARY KEY (device_id, clinic_id)
);

CREATE TABLE hub_clinic (
    hub_id     TEXT NOT NULL,
    clinic_id  TEXT NOT NULL,
    PRIMARY KEY (hub_id, clinic_id)
);

CREATE TABLE code_clinic (
    code_hash  BYTEA PRIMARY KEY,
    clinic_id  TEXT NOT NULL
);

-- A clinic's own.

CREATE TABLE clinic (
    clinic_id   TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    revision    BIGINT NOT NULL DEFAULT 1,
    nonce       BIGINT NOT NULL,  -- another with each revision: a restored database may come to the same number again
    made_at_ms  BIGINT NOT NULL
);

CREATE TABLE clinic_config (
    clinic_id  TEXT NOT NULL,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (clinic_id, name)
);

CREATE TABLE clinic_certificate (
    clinic_id    TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('root', 'intermediate', 'adopted')),
    pem          TEXT NOT NULL,
    made_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, fingerprint)
);

CREATE TABLE secret (
    clinic_id  TEXT NOT NULL,
    name       TEXT NOT NULL,
    sealed     BYTEA NOT NULL,
    PRIMARY KEY (clinic_id, name)
);

CREATE TABLE site (
    clinic_id   TEXT NOT NULL,
    site_id     TEXT NOT NULL,
    name        TEXT NOT NULL,
    made_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, site_id),
    UNIQUE (clinic_id, name)
);

CREATE TABLE clinic_user (
    clinic_id      TEXT NOT NULL,
    user_id        TEXT NOT NULL,
    email          TEXT NOT NULL,
    name           TEXT NOT NULL,
    roles          TEXT NOT NULL,
    disabled       BIGINT NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    password_hash  TEXT,
    totp_sealed    BYTEA,
    totp_counter   BIGINT NOT NULL DEFAULT 0,
    made_at_ms     BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, user_id),
    UNIQUE (clinic_id, email)
);

CREATE TABLE device (
    clinic_id   TEXT NOT NULL,
    device_id   TEXT NOT NULL,
    site_id     TEXT NOT NULL,
    name        TEXT NOT NULL,
    scope       TEXT NOT NULL CHECK (scope IN ('full', 'front_desk')),
    revoked     BIGINT NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    replaces    TEXT,
    made_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, device_id)
);

CREATE TABLE device_key (
    clinic_id    TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    public_key   BYTEA NOT NULL,
    added_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, device_id, public_key)
);

CREATE TABLE device_author (
    clinic_id  TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    PRIMARY KEY (clinic_id, device_id, user_id)
);

CREATE TABLE session (
    clinic_id     TEXT NOT NULL,
    session_id    TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    device_id     TEXT NOT NULL,
    hub_id        TEXT,
    made_at_ms    BIGINT NOT NULL,
    last_used_ms  BIGINT NOT NULL,
    revoked       BIGINT NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    PRIMARY KEY (clinic_id, session_id)
);

CREATE INDEX session_of_user ON session (clinic_id, user_id);
CREATE INDEX session_of_device ON session (clinic_id, device_id);
CREATE INDEX session_last_used ON session (clinic_id, last_used_ms);

-- The tokens of a session: `fresh` was never used, `used` has successors of which none was used yet, and `ended` one
-- that was; a use of an `ended` token is a theft.
CREATE TABLE refresh_token (
    clinic_id    TEXT NOT NULL,
    session_id   TEXT NOT NULL,
    token_hash   BYTEA NOT NULL,
    parent_hash  BYTEA,
    state        TEXT NOT NULL CHECK (state IN ('fresh', 'used', 'ended')),
    made_at_ms   BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, session_id, token_hash)
);

CREATE TABLE code (
    clinic_id      TEXT NOT NULL,
    code_hash      BYTEA NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('device', 'hub')),
    site_id        TEXT NOT NULL,
    scope          TEXT CHECK (scope IN ('full', 'front_desk')),
    replaces       TEXT,
    made_by        TEXT,
    made_at_ms     BIGINT NOT NULL,
    expires_at_ms  BIGINT NOT NULL,
    used_by_key    BYTEA,
    used_as        TEXT,
    used_at_ms     BIGINT,
    PRIMARY KEY (clinic_id, code_hash)
);

CREATE TABLE hub (
    clinic_id      TEXT NOT NULL,
    hub_id         TEXT NOT NULL,
    site_id        TEXT NOT NULL,
    name           TEXT NOT NULL,
    public_key     TEXT NOT NULL,
    certificate    TEXT NOT NULL,
    url            TEXT,
    revoked        BIGINT NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    made_at_ms     BIGINT NOT NULL,
    last_seen_ms   BIGINT,
    PRIMARY KEY (clinic_id, hub_id)
);

-- What may be shown once only (the `jti` of an assertion or a proof), until it would not be taken any more.
CREATE TABLE proof (
    clinic_id      TEXT NOT NULL,
    issuer         TEXT NOT NULL,
    jti            TEXT NOT NULL,
    expires_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, issuer, jti)
);

CREATE INDEX proof_expires ON proof (clinic_id, expires_at_ms);

-- Failures by whom or whence. Where no clinic is known (a wrong code) the clinic_id is the empty text.
CREATE TABLE attempt (
    clinic_id         TEXT NOT NULL,
    subject           TEXT NOT NULL,
    failures          BIGINT NOT NULL,
    window_ends_ms    BIGINT NOT NULL,
    locked_until_ms   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (clinic_id, subject)
);

CREATE INDEX attempt_ends ON attempt (clinic_id, window_ends_ms);
