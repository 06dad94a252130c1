-- Which ops are of which entity: docs/decisions/0031. Written with each block of 1,000 ops; what came since is looked
-- up in memory.
CREATE TABLE entity_op (
    entity      BLOB NOT NULL,
    seq         INTEGER NOT NULL,
    front_desk  INTEGER NOT NULL,
    PRIMARY KEY (entity, seq)
) STRICT, WITHOUT ROWID;

-- What the first ops of a long entity, through a seq, come to: it takes a further op without reading them.
CREATE TABLE entity_base (
    entity       BLOB NOT NULL,
    entity_type  TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    base         BLOB NOT NULL,
    UNIQUE (entity, entity_type)
) STRICT;

-- Blocks that were full before there was an index: taken into it when the log is opened.
CREATE TABLE block_to_index (
    number  INTEGER PRIMARY KEY
) STRICT;

INSERT INTO block_to_index (number) SELECT number FROM block;
