-- Which hub took a hub's place: that one may have the backups that this one laid down.
-- readable from: 3

ALTER TABLE hub ADD COLUMN replaced_by TEXT;
