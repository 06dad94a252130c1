-- How far the logs of the site's other hubs were read: of each the cursor, in the epoch that its log had.

CREATE TABLE neighbour (
    hub_id  TEXT PRIMARY KEY,
    epoch   TEXT NOT NULL,
    cursor  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
