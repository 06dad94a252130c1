-- Which ops are of which entity, by a short key: docs/decisions/0031. Written for thousands of ops at a time; what came
-- since is looked up in memory. A place is twice the seq, and one more where a front desk sees the op.
CREATE TABLE entity_op (
    entity  INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    PRIMARY KEY (entity, place)
) STRICT, WITHOUT ROWID;

-- Keys under which there may be several entities: an id used under two types, or ids whose keys are the same. Who
-- counts entities looks at their ops.
CREATE TABLE shared_key (
    entity  INTEGER PRIMARY KEY
) STRICT;

-- What the first ops of a long entity, through a seq, come to: it takes a further op without reading them.
CREATE TABLE entity_base (
    entity_id    BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    base         BLOB NOT NULL,
    UNIQUE (entity_id, entity_type)
) STRICT;

-- Blocks that were there before there was an index, the open one too: taken into it when the log is opened.
CREATE TABLE block_to_index (
    number  INTEGER PRIMARY KEY
) STRICT;

INSERT INTO block_to_index (number) SELECT number FROM block UNION ALL SELECT count(*) FROM block;
