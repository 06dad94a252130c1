-- What a hub that was claimed keeps of its cloud: the clinic's people, devices, sites and hubs as the cloud told them,
-- how far the exchange of ops has come, and the sessions that went through this hub.

ALTER TABLE user ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE user ADD COLUMN email TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN site_id TEXT NOT NULL DEFAULT '';

-- Who has had a session on a device, as the cloud told; `session` has those that began here.
CREATE TABLE author (
    device_id  TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    PRIMARY KEY (device_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE revoked_session (
    session_id  TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
    site_id  TEXT PRIMARY KEY,
    name     TEXT NOT NULL
) STRICT;

CREATE TABLE hub (
    hub_id      TEXT PRIMARY KEY,
    site_id     TEXT NOT NULL,
    name        TEXT NOT NULL,
    public_key  BLOB NOT NULL,
    revoked     INTEGER NOT NULL CHECK (revoked IN (0, 1)),
    url         TEXT
) STRICT;

-- Which revision of the cloud's directory the tables above are, with its keys and its configuration, in JSON.
CREATE TABLE mirror (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision  INTEGER NOT NULL,
    keys      TEXT NOT NULL,
    config    TEXT NOT NULL
) STRICT;

-- How far that log of the cloud has what is here, and how far it was read. `later` are server_seqs before
-- `pushed_through` that have to be offered again, in JSON.
CREATE TABLE exchange (
    only_row         INTEGER PRIMARY KEY CHECK (only_row = 1),
    server_id        TEXT NOT NULL,
    epoch            TEXT NOT NULL,
    pushed_through   INTEGER NOT NULL,
    letters_through  INTEGER NOT NULL,
    shared_numbers   INTEGER NOT NULL,
    later            TEXT NOT NULL,
    cursor           TEXT
) STRICT;

-- Sessions that were passed on, by the hash of a refresh token of theirs: while the cloud can't be reached they go on.
CREATE TABLE passed_session (
    refresh_hash  BLOB PRIMARY KEY,
    session_id    TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    device_id     TEXT NOT NULL,
    site_id       TEXT NOT NULL,
    roles         TEXT NOT NULL,
    passed_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX passed_session_age ON passed_session (passed_ms);
