-- Entities: what is known of their ops beside the ops themselves, and what has to be looked at again.

-- Ops of an entity as a line of a snapshot tells them (medxz/merge/line.py): `snapshot` says which one it came with.
-- 0: own ops, kept when they were forgotten. A number beyond `snapshot.complete` is of one that has not come to its
-- end: such lines are not believed.
CREATE TABLE entity_line (
    number       INTEGER PRIMARY KEY,
    entity_id    BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    snapshot     INTEGER NOT NULL,
    quiet        INTEGER NOT NULL CHECK (quiet IN (0, 1)),
    line         BLOB NOT NULL,
    UNIQUE (entity_id, entity_type, snapshot)
) STRICT;

CREATE TABLE snapshot (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    complete    INTEGER NOT NULL DEFAULT 0,     -- the last that came to its end
    reading     INTEGER NOT NULL DEFAULT 0,     -- the last that was begun
    first_line  INTEGER NOT NULL DEFAULT 0,     -- where the lines of that begin
    have        TEXT NOT NULL DEFAULT '{}',     -- which numbers of which devices the complete one told of
    scope       TEXT NOT NULL DEFAULT 'full'    -- what this device may hold, as the last server said that knew
                CHECK (scope IN ('full', 'front_desk'))
) STRICT;

INSERT INTO snapshot (only_row) VALUES (1);

-- Entities that changed after the views (medxz/store/views) last took them in. A quiet one can't be part of a conflict.
CREATE TABLE stale (
    entity_id    BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    quiet        INTEGER NOT NULL CHECK (quiet IN (0, 1)),
    PRIMARY KEY (entity_type, entity_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX stale_loud ON stale (quiet) WHERE quiet = 0;

INSERT INTO stale SELECT DISTINCT entity_id, entity_type, 0 FROM op;

-- When and where a server took an op in, as far as one has told it.
ALTER TABLE op ADD COLUMN server_seq INTEGER;
ALTER TABLE op ADD COLUMN server_received_at TEXT;

-- An entity that has no row here while it has ops: its heads are to be worked out. `retracted`: it is, or may be, so
-- at this head.
ALTER TABLE head ADD COLUMN retracted INTEGER NOT NULL DEFAULT 0;
DELETE FROM head;

-- A device counts its own.
ALTER TABLE device DROP COLUMN open_conflicts;
