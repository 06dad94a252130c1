-- A device that was enrolled by a code, and the session of who logged in on it last.

-- An enrolment that was begun: its key is here before it is sent, so that the same one is sent again after a crash.
CREATE TABLE enrolment (
    only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
    private_key  BLOB NOT NULL
) STRICT;

ALTER TABLE device ADD COLUMN site_id TEXT;
-- How the server's certificate is held against `ca_pem`: it names the server that the token is of; or it is a hub's,
-- of the clinic's own CA; or it names the address, as everywhere else.
ALTER TABLE device ADD COLUMN tls TEXT NOT NULL DEFAULT 'token' CHECK (tls IN ('token', 'hub', 'address'));

-- An empty `user_id` is nobody, an empty `access_token` none. A session goes on by its `refresh_token`.
ALTER TABLE device ADD COLUMN email TEXT;
ALTER TABLE device ADD COLUMN refresh_token TEXT;
ALTER TABLE device ADD COLUMN token_ends_ms INTEGER;
