-- The fleet: who keeps it, what each ring of hubs is to run, how each hub is, and rollouts. The same tables and columns as
-- sql/postgres/0005_fleet.sql.
-- readable from: 3

CREATE TABLE fleet_operator (
    operator_id  TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    disabled     INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    made_at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE fleet_token (
    token_hash     BLOB PRIMARY KEY,
    token_id       TEXT NOT NULL UNIQUE,
    operator_id    TEXT NOT NULL,
    made_at_ms     INTEGER NOT NULL,
    expires_at_ms  INTEGER NOT NULL,
    revoked        INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE fleet_ring (
    ring               TEXT PRIMARY KEY,
    version            TEXT,
    settings           TEXT NOT NULL DEFAULT '{}',
    settings_revision  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- `document` is the plan and how far it is, in JSON: it is read and written whole.
CREATE TABLE fleet_rollout (
    rollout_id  TEXT PRIMARY KEY,
    version     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'paused', 'aborted', 'done')),
    document    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A hub as the fleet knows it, beside its row in `hub`: its ring where it was put into one, what it told last, and how
-- far the last rollout that came to it is there.
CREATE TABLE hub_fleet (
    clinic_id          TEXT NOT NULL,
    hub_id             TEXT NOT NULL,
    ring               TEXT,
    heard_at_ms        INTEGER,
    reported_at_ms     INTEGER,
    version            TEXT,
    compatible         TEXT,
    health             TEXT,
    report             TEXT,
    rollout_id         TEXT,
    progress           TEXT,
    since_ms           INTEGER,
    before_version     TEXT,
    why                TEXT,
    PRIMARY KEY (clinic_id, hub_id)
) STRICT, WITHOUT ROWID;
