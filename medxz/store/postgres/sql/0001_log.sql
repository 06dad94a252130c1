-- The logs of all clinics of a cloud. The clinic comes first in every key, so that a clinic can be moved, partitioned by
-- or distributed by.

-- One row for each clinic: whoever appends changes it first, so that one transaction of a clinic follows the other, and
-- the order of the numbers is the order of the commits. `commits` counts them, and each gives
-- the row another `nonce`: what was read at a count and its nonce is true as long as those stand. A database that was
-- restored may come to the same count again, and never to the same nonce.
CREATE TABLE log (
    clinic_id    UUID PRIMARY KEY,
    cursor_key   BYTEA NOT NULL,
    commits      BIGINT NOT NULL DEFAULT 0,
    nonce        UUID NOT NULL DEFAULT gen_random_uuid(),
    last_seq     BIGINT NOT NULL DEFAULT 0,
    last_ms      BIGINT NOT NULL DEFAULT 0,
    last_letter  BIGINT NOT NULL DEFAULT 0,
    last_review  BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- The counts and nonces that each log had before: what was read at one of them is still there, and more behind it. They
-- are few beside the ops, and kept, so that whoever was away for long does not read everything anew.
CREATE TABLE log_past (
    clinic_id  UUID NOT NULL,
    commits    BIGINT NOT NULL,
    nonce      UUID NOT NULL,
    PRIMARY KEY (clinic_id, commits, nonce)
);

-- server_seq 1, 2, 3 … without gaps. A body is a compressed record of medxz/store/record.py, a size that of the record.
CREATE TABLE op (
    clinic_id    UUID NOT NULL,
    seq          BIGINT NOT NULL,
    op_id        UUID NOT NULL,
    entity_id    UUID NOT NULL,
    size         INTEGER NOT NULL,
    front_desk   BOOLEAN NOT NULL,
    entity_type  TEXT COLLATE "C" NOT NULL,
    body         BYTEA NOT NULL,
    PRIMARY KEY (clinic_id, seq)
);

ALTER TABLE op ALTER COLUMN body SET STORAGE EXTERNAL;  -- it is compressed already

CREATE UNIQUE INDEX op_once ON op (clinic_id, op_id);
CREATE INDEX op_of_entity ON op (clinic_id, entity_id, entity_type, seq);
CREATE INDEX op_front_desk ON op (clinic_id, seq) WHERE front_desk;

-- Which numbers of which devices each run of 1,000 ops holds; what follows the last is read itself.
CREATE TABLE block (
    clinic_id  UUID NOT NULL,
    number     BIGINT NOT NULL,
    held       BYTEA NOT NULL,
    PRIMARY KEY (clinic_id, number)
);

-- What the first ops of a long entity, through a seq, come to: it takes a further op without reading them.
CREATE TABLE entity_base (
    clinic_id    UUID NOT NULL,
    entity_id    UUID NOT NULL,
    entity_type  TEXT COLLATE "C" NOT NULL,
    seq          BIGINT NOT NULL,
    base         BYTEA NOT NULL,
    PRIMARY KEY (clinic_id, entity_id, entity_type)
);

-- Final rejections, numbered in the order of commit. With `settles`, the number counts as settled although no op has it.
CREATE TABLE dead_letter (
    clinic_id    UUID NOT NULL,
    id           BIGINT NOT NULL,
    device_id    TEXT NOT NULL,
    device_seq   BIGINT,
    op_id        TEXT,
    settles      BOOLEAN NOT NULL,
    code         TEXT NOT NULL,
    field        TEXT,
    message      TEXT NOT NULL,
    received_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, id)
);

CREATE UNIQUE INDEX dead_letter_once
    ON dead_letter (clinic_id, device_id, coalesce(device_seq, 0), coalesce(op_id, ''), code);

-- Ops that were kept although this server knew better, numbered in the order of commit: a person looks at them.
CREATE TABLE review (
    clinic_id    UUID NOT NULL,
    id           BIGINT NOT NULL,
    op_id        UUID NOT NULL,
    device_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    entity_type  TEXT NOT NULL,
    entity_id    TEXT NOT NULL,
    code         TEXT NOT NULL,
    received_ms  BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, id),
    UNIQUE (clinic_id, op_id, code)
);

-- Numbers that two ops share, by the commit that made them so: nobody's have-vector can be taken to mean both.
CREATE TABLE shared_number (
    clinic_id   UUID NOT NULL,
    device_id   TEXT NOT NULL,
    device_seq  BIGINT NOT NULL,
    at_commit   BIGINT NOT NULL,
    PRIMARY KEY (clinic_id, device_id, device_seq)
);

CREATE INDEX shared_number_since ON shared_number (clinic_id, at_commit);
