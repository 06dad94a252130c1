-- Tokens of operators that read the fleet and decide nothing in it.
-- readable from: 3

ALTER TABLE fleet_token ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0;
