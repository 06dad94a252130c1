-- Hubs that announced themselves and were refused: not asked again before `until_ms`, as long as they announce the same
-- `addresses` under the same `terms` (what they say of their CA, what this device trusts, from where it asks).
CREATE TABLE refusal (
    server_id  TEXT NOT NULL,
    addresses  TEXT NOT NULL,
    terms      TEXT NOT NULL,
    times      INTEGER NOT NULL,
    until_ms   INTEGER NOT NULL,
    why        TEXT NOT NULL,
    PRIMARY KEY (server_id, addresses)
) STRICT, WITHOUT ROWID;
