-- Where this device may go: the servers that it was told of, has found or has met, each at an address.

-- `kind` and `server_id` are unknown until somebody says them. `source`: who named the address. `state`: how it was when
-- it was last tried; `why` says what was wrong then, `code` that a certificate or an answer spoke against it.
CREATE TABLE target (
    url         TEXT PRIMARY KEY,
    kind        TEXT CHECK (kind IN ('hub', 'cloud')),
    server_id   TEXT,
    source      TEXT NOT NULL CHECK (source IN ('typed', 'name', 'config', 'mdns')),
    state       TEXT NOT NULL DEFAULT 'unknown' CHECK (state IN ('unknown', 'ready', 'down', 'refused')),
    is_current  INTEGER NOT NULL DEFAULT 0 CHECK (is_current IN (0, 1)),
    seen_ms     INTEGER NOT NULL,
    tried_ms    INTEGER,
    last_ok_ms  INTEGER,
    rtt_ms      REAL,
    code        TEXT,
    why         TEXT
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX target_current ON target (is_current) WHERE is_current = 1;

-- What a hub's certificate must be of: the clinic's CAs, whatever this device was enrolled at. A cloud's: the CA that was
-- given (`cloud_cas_given`), or what a hub tells; NULL is what the system trusts.
ALTER TABLE device ADD COLUMN hub_cas TEXT;
ALTER TABLE device ADD COLUMN cloud_cas TEXT;
ALTER TABLE device ADD COLUMN cloud_cas_given INTEGER NOT NULL DEFAULT 0 CHECK (cloud_cas_given IN (0, 1));
UPDATE device SET hub_cas = ca_pem WHERE tls = 'hub';
UPDATE device SET cloud_cas = ca_pem, cloud_cas_given = ca_pem IS NOT NULL WHERE tls = 'address';

-- What the clinic decided, as its servers told it, in JSON: which kinds of servers a role tries, in which order; the
-- names by which hubs are found.
ALTER TABLE device ADD COLUMN routing TEXT NOT NULL DEFAULT '{}';
ALTER TABLE device ADD COLUMN hub_names TEXT NOT NULL DEFAULT '[]';
-- When the LAN was last searched, and no hub found.
ALTER TABLE device ADD COLUMN looked_ms INTEGER;

-- The last op that was here when the log was read to `cursor`: where others came since, from elsewhere, reading goes on
-- by what is here.
ALTER TABLE log ADD COLUMN read_to INTEGER NOT NULL DEFAULT 0;

INSERT INTO target (url, kind, server_id, source, state, seen_ms, last_ok_ms)
SELECT server_url, coalesce(log.kind, CASE tls WHEN 'hub' THEN 'hub' END), log.server_id, 'typed',
       CASE WHEN log.server_id IS NULL THEN 'unknown' ELSE 'ready' END, coalesce(log.seen_ms, 0), log.seen_ms
FROM device LEFT JOIN log ON log.url = device.server_url AND log.kind IS NOT NULL
ORDER BY log.seen_ms DESC LIMIT 1;
