-- What a device keeps. Numbers of ops are kept as sets of ranges in the wire's form (medxz/have.py): `7` or `[[1,3],[5,9]]`.

CREATE TABLE device (
    only_row            INTEGER PRIMARY KEY CHECK (only_row = 1),
    clinic_id           TEXT NOT NULL,
    device_id           TEXT NOT NULL,
    user_id             TEXT NOT NULL,
    name                TEXT NOT NULL,
    private_key         BLOB NOT NULL,
    next_private_key    BLOB,               -- of a new identity that is being asked for
    server_url          TEXT NOT NULL,
    access_token        TEXT NOT NULL,
    ca_pem              TEXT,
    last_seq            INTEGER NOT NULL DEFAULT 0,
    forgotten           TEXT NOT NULL DEFAULT '0',
    identity_taken      INTEGER NOT NULL DEFAULT 0 CHECK (identity_taken IN (0, 1)),
    cloud_through       INTEGER NOT NULL DEFAULT 0,
    cloud_epoch         TEXT,
    open_conflicts      INTEGER NOT NULL DEFAULT 0,
    keep_own_days       INTEGER NOT NULL,
    require_signed_ops  INTEGER NOT NULL DEFAULT 0 CHECK (require_signed_ops IN (0, 1)),
    configured_ms       INTEGER
) STRICT;

-- Every op that is here, in the order in which it came to be here. `own_seq` is the number of an op that this device
-- wrote under its present identity; `mine` stays when the identity changes.
CREATE TABLE op (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    op_id        BLOB NOT NULL UNIQUE,
    entity_type  TEXT NOT NULL,
    entity_id    BLOB NOT NULL,
    device_id    BLOB NOT NULL,
    device_seq   INTEGER NOT NULL,
    own_seq      INTEGER UNIQUE,
    mine         INTEGER NOT NULL CHECK (mine IN (0, 1)),
    held_ms      INTEGER NOT NULL,
    body         BLOB NOT NULL
) STRICT;

CREATE INDEX op_entity ON op (entity_id, entity_type);

-- The ops of an entity that are nobody's parent, as far as this device knows.
CREATE TABLE head (
    entity_id    BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    op_id        BLOB NOT NULL,
    PRIMARY KEY (entity_id, entity_type, op_id)
) STRICT, WITHOUT ROWID;

-- Ops that are known to be somebody's parent, and were not here when that was learnt, or are here no longer.
CREATE TABLE absent_parent (
    entity_id    BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    op_id        BLOB NOT NULL,
    PRIMARY KEY (entity_id, entity_type, op_id)
) STRICT, WITHOUT ROWID;

-- What each server's log, as it is since its epoch began, holds of this device's numbers. `settled`: need not be
-- offered there again. `stored`: proven by an answer, or by the op's coming back in a pull.
CREATE TABLE log (
    server_id    TEXT NOT NULL,
    epoch        TEXT NOT NULL,
    url          TEXT NOT NULL,
    kind         TEXT CHECK (kind IN ('hub', 'cloud')),  -- unknown until the server was met
    settled      TEXT NOT NULL DEFAULT '0',
    stored       TEXT NOT NULL DEFAULT '0',
    cursor       TEXT,
    cloud_epoch  TEXT,
    seen_ms      INTEGER NOT NULL,
    PRIMARY KEY (server_id, epoch)
) STRICT, WITHOUT ROWID;

-- Epochs of the cloud that a server has been seen to leave: what is still said of them says nothing any more.
CREATE TABLE past_cloud_epoch (
    epoch  TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Ops of this device that a server has rejected for good, or would not read.
CREATE TABLE parked (
    op_id      BLOB PRIMARY KEY REFERENCES op (op_id),
    code       TEXT NOT NULL,
    field      TEXT,
    message    TEXT NOT NULL,
    server_id  TEXT NOT NULL,
    parked_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ops that a hub has stored and the cloud would not.
CREATE TABLE refused_upstream (
    op_id    BLOB PRIMARY KEY,
    code     TEXT NOT NULL,
    seen_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done here, each row chained to the one before by its hash.
CREATE TABLE audit (
    number  INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,
    action  TEXT NOT NULL,
    detail  TEXT NOT NULL,
    hash    BLOB NOT NULL
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never changed');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never deleted');
END;
