-- Who may write to the log, what they prove it with, and how far the cloud has come. Small, and held in memory.

CREATE TABLE user (
    user_id   TEXT PRIMARY KEY,
    roles     TEXT NOT NULL,
    disabled  INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1))
) STRICT;

CREATE TABLE device (
    device_id  TEXT PRIMARY KEY,
    scope      TEXT NOT NULL CHECK (scope IN ('full', 'front_desk')),
    revoked    INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT;

CREATE TABLE device_key (
    device_id   TEXT NOT NULL REFERENCES device (device_id),
    public_key  BLOB NOT NULL,
    PRIMARY KEY (device_id, public_key)
) STRICT;

CREATE TABLE session (
    session_id  TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL REFERENCES user (user_id),
    device_id   TEXT REFERENCES device (device_id),
    revoked     INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT;

CREATE TABLE secret (
    name   TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
) STRICT;

-- What the cloud said last: its epoch, how far it has each device's numbers, what it refused.
CREATE TABLE cloud (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch     TEXT
) STRICT;

CREATE TABLE cloud_mark (
    device_id  TEXT PRIMARY KEY,
    through    INTEGER NOT NULL
) STRICT;

CREATE TABLE cloud_refusal (
    op_id      TEXT PRIMARY KEY,
    device_id  TEXT NOT NULL,
    code       TEXT NOT NULL
) STRICT;
