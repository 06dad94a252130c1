-- The fleet: who keeps it, what each ring of hubs is to run, how each hub is, and rollouts. The same tables and columns as
-- sql/sqlite/0005_fleet.sql.
-- readable from: 3

CREATE TABLE fleet_operator (
    operator_id  TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    disabled     BIGINT NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    made_at_ms   BIGINT NOT NULL
);

CREATE TABLE fleet_token (
    token_hash     BYTEA PRIMARY KEY,
    token_id       TEXT NOT NULL UNIQUE,
    operator_id    TEXT NOT NULL,
    made_at_ms     BIGINT NOT NULL,
    expires_at_ms  BIGINT NOT NULL,
    revoked        BIGINT NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1))
);

CREATE TABLE fleet_ring (
    ring               TEXT PRIMARY KEY,
    version            TEXT,
    settings           TEXT NOT NULL DEFAULT '{}',
    settings_revision  BIGINT NOT NULL DEFAULT 0
);

-- `document` is the plan and how far it is, in JSON: it is read and written whole.
CREATE TABLE fleet_rollout (
    rollout_id  TEXT PRIMARY KEY,
    version     TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'paused', 'aborted', 'done')),
    document    TEXT NOT NULL
);

-- A hub as the fleet knows it, beside its row in `hub`: its ring where it was put into one, what it told last, and how
-- far the last rollout that came to it is there.
CREATE TABLE hub_fleet (
    clinic_id          TEXT NOT NULL,
    hub_id             TEXT NOT NULL,
    ring               TEXT,
    heard_at_ms        BIGINT,
    reported_at_ms     BIGINT,
    version            TEXT,
    compatible         TEXT,
    health             TEXT,
    report             TEXT,
    rollout_id         TEXT,
    progress           TEXT,
    since_ms           BIGINT,
    before_version     TEXT,
    why                TEXT,
    PRIMARY KEY (clinic_id, hub_id)
);
