-- The lock: whose password opens it, and since when it is shut.

CREATE TABLE locking (
    only_row       INTEGER PRIMARY KEY CHECK (only_row = 1),
    password_hash  TEXT,                        -- of who logged in last, by Argon2id; without one nothing is locked
    locked_ms      INTEGER,                     -- since then; NULL: it is open
    used_ms        INTEGER NOT NULL DEFAULT 0,  -- when a person used it last, about
    failures       INTEGER NOT NULL DEFAULT 0,  -- passwords that were tried since the last right one
    tried_ms       INTEGER                      -- the last of them
) STRICT;

INSERT INTO locking (only_row) VALUES (1);

-- What who is logged in may do, as the session's last answer said; NULL: nobody has said.
ALTER TABLE device ADD COLUMN roles TEXT;
