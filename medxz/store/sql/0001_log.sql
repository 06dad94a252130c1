-- The log of one clinic on one server. docs/decisions/0020 says why it has this shape.

CREATE TABLE log (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    clinic_id   TEXT NOT NULL,
    server_id   TEXT NOT NULL,
    epoch       TEXT NOT NULL,
    cursor_key  BLOB NOT NULL,
    clean_stop  INTEGER NOT NULL CHECK (clean_stop IN (0, 1))
) STRICT;

-- Compression dictionaries, each for the ops from one server_seq on: a log can be read wherever it is carried.
CREATE TABLE dictionary (
    first_seq  INTEGER PRIMARY KEY,
    bytes      BLOB NOT NULL
) STRICT;

-- server_seq 1, 2, 3 … without gaps. A body is a compressed record of medxz/store/record.py.
CREATE TABLE op (
    seq         INTEGER PRIMARY KEY,
    front_desk  INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;

CREATE INDEX op_front_desk ON op (seq) WHERE front_desk = 1;

-- Where an op lies: an id is stored once. An op's own row does not say it again: its record does.
CREATE TABLE op_place (
    op_id  BLOB PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which numbers of which devices each run of 1,000 ops holds; the rest of the log is read at start.
CREATE TABLE block (
    number  INTEGER PRIMARY KEY,
    held    BLOB NOT NULL
) STRICT;

-- Final rejections. With `settles`, the number counts as settled although no op has it.
CREATE TABLE dead_letter (
    id           INTEGER PRIMARY KEY,
    device_id    TEXT NOT NULL,
    device_seq   INTEGER,
    op_id        TEXT,
    settles      INTEGER NOT NULL CHECK (settles IN (0, 1)),
    code         TEXT NOT NULL,
    field        TEXT,
    message      TEXT NOT NULL,
    received_ms  INTEGER NOT NULL
) STRICT;

-- Once each, those without a number or an id too: NULLs would be different every time.
CREATE UNIQUE INDEX dead_letter_once ON dead_letter (device_id, ifnull(device_seq, 0), ifnull(op_id, ''), code);

-- Ops that were kept although this server knew better: a person looks at them.
CREATE TABLE review (
    id           INTEGER PRIMARY KEY,
    op_id        TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    entity_type  TEXT NOT NULL,
    entity_id    TEXT NOT NULL,
    code         TEXT NOT NULL,
    received_ms  INTEGER NOT NULL,
    UNIQUE (op_id, code)
) STRICT;

-- Numbers that two ops share: nobody's have-vector can be taken to mean both.
CREATE TABLE shared_number (
    device_id   TEXT NOT NULL,
    device_seq  INTEGER NOT NULL,
    PRIMARY KEY (device_id, device_seq)
) STRICT;
