-- What is derived from a log. Nothing stands here that the log does not hold: with another schema it is made anew.

CREATE TABLE view_about (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    made_by TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT '',
    through INTEGER NOT NULL DEFAULT 0,
    last_op BLOB,
    dated INTEGER NOT NULL DEFAULT 0 -- how many were ever entered by moment: in which run the next one lies
);

-- Types by numbers, and how many entities there are of each.
CREATE TABLE view_type (
    kind INTEGER PRIMARY KEY,
    entity_type TEXT NOT NULL UNIQUE,
    entities INTEGER NOT NULL
);

-- Every entity, by type. place: the number of a patient's row, or the run in which something is dated.
CREATE TABLE view_entity (
    kind INTEGER NOT NULL,
    entity_id BLOB NOT NULL,
    flags INTEGER NOT NULL,
    place INTEGER,
    seal INTEGER,
    PRIMARY KEY (kind, entity_id)
) WITHOUT ROWID;

-- Conflicts as they are told. Of two kinds of one entity the ids can be the same. Without body: a duplicate, of which
-- is told what its patients say of themselves when it is asked for.
CREATE TABLE view_conflict (
    conflict_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id BLOB NOT NULL,
    body BLOB,
    PRIMARY KEY (conflict_id, kind)
) WITHOUT ROWID;
CREATE INDEX view_conflict_listed ON view_conflict (is_open, conflict_id, kind, entity_type);
CREATE INDEX view_conflict_entity ON view_conflict (entity_type, entity_id);

-- Patients in the order of their names; what they are found by lies in the index under the same number.
CREATE TABLE view_patient (
    place INTEGER PRIMARY KEY,
    entity_id BLOB NOT NULL,
    is_retracted INTEGER NOT NULL,
    sort_name TEXT NOT NULL
);
CREATE VIRTUAL TABLE view_patient_index USING fts5(
    found_by, content='', contentless_delete=1, detail=none, prefix='1 2 3 4 5 6 8', tokenize="ascii tokenchars '#+@!'"
);

-- What is of a patient, by its moments; run by run, so that what is written together lies together.
CREATE TABLE view_dated (
    run INTEGER NOT NULL,
    patient BLOB NOT NULL,
    place INTEGER NOT NULL,
    entity_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (run, patient, place, entity_id, kind)
) WITHOUT ROWID;

-- What two patients should not share; shown: what a finding says of them.
CREATE TABLE view_shared (
    value BLOB NOT NULL,
    patient BLOB NOT NULL,
    PRIMARY KEY (value, patient)
) WITHOUT ROWID;
CREATE INDEX view_shared_patient ON view_shared (patient);
CREATE TABLE view_shown (
    patient BLOB PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE view_link (
    patient BLOB NOT NULL,
    other BLOB NOT NULL,
    PRIMARY KEY (patient, other)
) WITHOUT ROWID;
CREATE INDEX view_link_other ON view_link (other);
CREATE TABLE view_duplicate (
    value BLOB PRIMARY KEY,
    conflict_id BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX view_duplicate_conflict ON view_duplicate (conflict_id);

-- Entities that could not be taken in.
CREATE TABLE view_left_out (
    entity_type TEXT NOT NULL,
    entity_id BLOB NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) WITHOUT ROWID;
