-- Who did what, and when: chains of entries that only grow. Each entry holds the hash of the one before it.

CREATE TABLE audit (
    clinic_id      TEXT NOT NULL,
    chain_id       TEXT NOT NULL,
    number         INTEGER NOT NULL CHECK (number > 0),
    at_ms          INTEGER NOT NULL,
    event          TEXT NOT NULL,
    user_id        TEXT,
    device_id      TEXT,
    hub_id         TEXT,
    patient_id     TEXT,
    encounter_id   TEXT,
    entity_type    TEXT,
    entity_id      TEXT,
    address        TEXT,
    detail         TEXT NOT NULL,
    previous_hash  TEXT NOT NULL,
    hash           TEXT NOT NULL,
    PRIMARY KEY (clinic_id, chain_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_at ON audit (clinic_id, at_ms, chain_id, number);
CREATE INDEX audit_patient ON audit (clinic_id, patient_id, at_ms) WHERE patient_id IS NOT NULL;
CREATE INDEX audit_encounter ON audit (clinic_id, encounter_id, at_ms) WHERE encounter_id IS NOT NULL;
CREATE INDEX audit_user ON audit (clinic_id, user_id, at_ms) WHERE user_id IS NOT NULL;
CREATE INDEX audit_device ON audit (clinic_id, device_id, at_ms) WHERE device_id IS NOT NULL;

CREATE TRIGGER audit_not_updated BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit only grows');
END;

CREATE TRIGGER audit_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit only grows');
END;

-- INSERT OR REPLACE takes a row away without a DELETE trigger, unless recursive triggers are on.
CREATE TRIGGER audit_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (
    SELECT 1 FROM audit
    WHERE clinic_id = NEW.clinic_id AND chain_id = NEW.chain_id AND number = NEW.number
)
BEGIN
    SELECT RAISE(ABORT, 'the audit only grows');
END;
