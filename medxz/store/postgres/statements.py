"""The statements of a log on PostgreSQL. Each names its clinic first.

What may be long is read in portions: a statement gives rows as long as those before them come to less than a size, and
says how many there would have been.
"""

from __future__ import annotations

from typing import Final

# Appending. The counter's row is changed first: whoever comes later waits there, and finds another count. Where the
# count and nonce are not those that the draft was made on, or an entity that should be new is here, nothing is stored,
# and there is no new nonce.
_COUNTER: Final = """
WITH counter AS (
    UPDATE log SET
        commits = commits + 1, nonce = gen_random_uuid(), last_seq = last_seq + $4, last_ms = $5,
        last_letter = last_letter + $6, last_review = last_review + $7
    WHERE clinic_id = $1 AND commits = $2 AND nonce = $3
        AND NOT EXISTS (SELECT FROM op WHERE op.clinic_id = $1 AND op.entity_id = ANY ($8::uuid[]))
    RETURNING last_seq - $4 AS before, nonce
), past AS (
    INSERT INTO log_past (clinic_id, commits, nonce) SELECT $1, $2, $3 FROM counter
)"""
COUNT: Final = f"{_COUNTER} SELECT nonce FROM counter"
APPEND: Final = f"""{_COUNTER}, stored AS (
    INSERT INTO op (clinic_id, seq, op_id, entity_id, size, front_desk, entity_type, body)
    SELECT $1, before + place, op_id, entity_id, size, front_desk, entity_type, body
    FROM counter, unnest($9::uuid[], $10::uuid[], $11::int[], $12::bool[], $13::text[], $14::bytea[])
        WITH ORDINALITY AS given (op_id, entity_id, size, front_desk, entity_type, body, place)
)
SELECT nonce FROM counter
"""
OP_COLUMNS: Final = ("clinic_id", "seq", "op_id", "entity_id", "size", "front_desk", "entity_type", "body")
LOCK: Final = "SELECT FROM log WHERE clinic_id = $1 FOR UPDATE"
PUT_BLOCK: Final = "INSERT INTO block (clinic_id, number, held) VALUES ($1, $2, $3)"
PUT_LETTER: Final = """
INSERT INTO dead_letter
    (clinic_id, id, device_id, device_seq, op_id, settles, code, field, message, received_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
"""
PUT_REVIEW: Final = """
INSERT INTO review (clinic_id, id, op_id, device_id, user_id, entity_type, entity_id, code, received_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
"""
PUT_SHARED: Final = """
INSERT INTO shared_number (clinic_id, device_id, device_seq, at_commit) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
PUT_BASE: Final = """
INSERT INTO entity_base (clinic_id, entity_id, entity_type, seq, base) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (clinic_id, entity_id, entity_type) DO UPDATE SET seq = excluded.seq, base = excluded.base
"""

# What is here already.
FIND: Final = """
SELECT op.op_id, op.seq, op.body FROM unnest($2::uuid[]) AS asked (op_id)
JOIN op ON op.clinic_id = $1 AND op.op_id = asked.op_id
"""
FIND_DEAD: Final = """
SELECT asked.place, letter.code, letter.field, letter.message
FROM unnest($2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS asked (device_id, device_seq, op_id, place)
JOIN dead_letter AS letter ON letter.clinic_id = $1 AND letter.device_id = asked.device_id
    AND coalesce(letter.device_seq, 0) = asked.device_seq AND coalesce(letter.op_id, '') = asked.op_id
ORDER BY letter.id
"""
PRESENT: Final = """
SELECT place FROM unnest($2::uuid[]) WITH ORDINALITY AS asked (entity_id, place)
WHERE EXISTS (SELECT FROM op WHERE op.clinic_id = $1 AND op.entity_id = asked.entity_id)
"""
BASES: Final = """
SELECT place, seq, base FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS asked (entity_id, entity_type, place)
JOIN entity_base AS own ON own.clinic_id = $1 AND own.entity_id = asked.entity_id
    AND own.entity_type = asked.entity_type
"""

# Opening and following.
MAKE: Final = "INSERT INTO log (clinic_id, cursor_key) VALUES ($1, $2) ON CONFLICT DO NOTHING"
CURSOR_KEY: Final = "SELECT cursor_key FROM log WHERE clinic_id = $1"
# `is_past`: what was known at the count $2 and its nonce $3 is in what is there now.
STANDING: Final = """
SELECT commits, nonce, last_seq, last_ms, last_letter, last_review,
    EXISTS (SELECT FROM log_past WHERE clinic_id = $1 AND commits = $2 AND nonce = $3) AS is_past
FROM log WHERE clinic_id = $1
"""
COUNTS: Final = "SELECT clinic_id, commits, nonce FROM log WHERE clinic_id = ANY ($1::uuid[])"
BLOCKS: Final = "SELECT held FROM block WHERE clinic_id = $1 AND number >= $2 ORDER BY number LIMIT $3"
SETTLING: Final = """
SELECT device_id, device_seq FROM dead_letter
WHERE clinic_id = $1 AND id > $2 AND id <= $3 AND settles AND device_seq IS NOT NULL
"""
SHARED: Final = "SELECT device_id, device_seq FROM shared_number WHERE clinic_id = $1 AND at_commit > $2"

# Reading. $2 < seq <= $3, at most $4 rows, about $5 bytes.
_PORTION: Final = """
SELECT seq, op_id, front_desk, body, there FROM (
    SELECT seq, op_id, front_desk, body, sum(size) OVER (ORDER BY seq) - size AS before, count(*) OVER () AS there
    FROM (
        SELECT seq, op_id, front_desk, size, body FROM op
        WHERE clinic_id = $1 AND seq > $2 AND seq <= $3 {shown} ORDER BY seq LIMIT $4
    ) AS chosen
) AS counted WHERE before < $5 ORDER BY seq
"""
PORTION: Final = {"full": _PORTION.format(shown=""), "front_desk": _PORTION.format(shown="AND front_desk")}
# The same behind an op: in every row, and in one without another where there is no more, what stands at its place.
_PAGE: Final = """
SELECT (SELECT op_id FROM op WHERE clinic_id = $1 AND seq = $2) AS here, page.*
FROM (SELECT) AS once LEFT JOIN ({portion}) AS page ON true ORDER BY seq
"""
PAGE: Final = {scope: _PAGE.format(portion=portion) for scope, portion in PORTION.items()}
OP_ID_AT: Final = "SELECT op_id FROM op WHERE clinic_id = $1 AND seq = $2"
SOUND: Final = "SELECT seq, op_id, body FROM op WHERE clinic_id = $1 AND seq > $2 AND seq <= $3"

# Reading by entity.
OF_ENTITY: Final = """
SELECT seq, body, there FROM (
    SELECT seq, body, sum(size) OVER (ORDER BY seq) - size AS before, count(*) OVER () AS there
    FROM (
        SELECT seq, size, body FROM op
        WHERE clinic_id = $1 AND entity_id = $2 AND entity_type = $3 AND seq > $4 AND seq <= $5
        ORDER BY seq LIMIT $6
    ) AS chosen
) AS counted WHERE before < $7 ORDER BY seq
"""
# Whole entities from behind their places, in the order in which they are asked for, as long as those before come to
# less than a size.
OF_ENTITIES: Final = """
SELECT place, seq, size, body FROM (
    SELECT place, seq, size, body, sum(size) OVER (ORDER BY place) - sum(size) OVER (PARTITION BY place) AS before
    FROM unnest($2::uuid[], $3::text[], $4::bigint[]) WITH ORDINALITY AS asked (entity_id, entity_type, after, place)
    JOIN op ON op.clinic_id = $1 AND op.entity_id = asked.entity_id AND op.entity_type = asked.entity_type
        AND op.seq > asked.after AND op.seq <= $5
) AS counted WHERE before < $6 ORDER BY place, seq
"""
_KEYS: Final = """
SELECT entity_id, sum(size) AS size FROM op
WHERE clinic_id = $1 AND entity_id >= $2 AND seq <= $3 {shown} GROUP BY entity_id ORDER BY entity_id LIMIT $4
"""
_UNDER: Final = """
SELECT entity_id, entity_type, seq, body FROM op
WHERE clinic_id = $1 AND entity_id = ANY ($2::uuid[]) AND seq <= $3 {shown} ORDER BY entity_id, entity_type, seq
"""
_ENTITIES: Final = """
SELECT count(*) FROM (
    SELECT DISTINCT entity_id, entity_type FROM op WHERE clinic_id = $1 AND seq <= $2 {shown}
) AS each
"""
_SHOWN: Final = {"full": "", "front_desk": "AND front_desk"}
KEYS: Final = {scope: _KEYS.format(shown=shown) for scope, shown in _SHOWN.items()}
UNDER: Final = {scope: _UNDER.format(shown=shown) for scope, shown in _SHOWN.items()}
ENTITIES: Final = {scope: _ENTITIES.format(shown=shown) for scope, shown in _SHOWN.items()}

# What people and hubs are told.
REVIEWS: Final = """
SELECT id, op_id::text, device_id, user_id, entity_type, entity_id, code, received_ms FROM review
WHERE clinic_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""
LETTERS: Final = """
SELECT id, device_id, device_seq, op_id, code FROM dead_letter
WHERE clinic_id = $1 AND id > $2 AND settles AND device_seq IS NOT NULL ORDER BY id LIMIT $3
"""
