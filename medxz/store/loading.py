"""What a log holds, read when it is opened: summaries of the full blocks, and the ops behind them themselves."""

from __future__ import annotations

import msgspec
from sqlcipher3 import dbapi2 as sqlcipher

from medxz.clock import parse_time
from medxz.errors import RowCorrupt
from medxz.limits import BLOCK_OPS
from medxz.store.dictionaries import Dictionaries, authors_of
from medxz.store.entity_index import indexed_through, key_of, place_of, rows_of
from medxz.store.held import Held
from medxz.store.record import op_json_of, stored_op
from medxz.store.rows import Beside, records_of


def load_held(connection: sqlcipher.Connection, beside: Beside, dictionaries: Dictionaries) -> Held:
    """What the log holds, from its block summaries, the ops behind the last block, and the dead letters."""
    held = Held()
    for (text,) in connection.execute("SELECT held FROM block ORDER BY number"):  # many: never all at once
        held.take_block(text)
    held.last_seq = len(held.blocks) * BLOCK_OPS
    unindexed = range(indexed_through(len(held.blocks)) + 1, held.last_seq + 1)
    records, damaged = records_of(beside, dictionaries, unindexed)
    held.damaged += damaged
    for key, place in rows_of(sorted(records.items())):
        held.open_entities.add(key, place)
    rows = connection.execute(
        "SELECT seq, front_desk, body FROM op WHERE seq >= ? ORDER BY seq", (held.last_seq,)
    ).fetchall()
    for seq, front_desk, body in rows:
        try:
            op = stored_op(op_json_of(dictionaries.inflate([seq], body, [len(body)])[0]))
        except (RowCorrupt, msgspec.MsgspecError):
            held.take_damaged(seq)
            continue
        held.last_ms = parse_time(op.server_received_at or "")
        if seq > held.last_seq:
            held.take_run(op.device_id, op.device_seq, [bool(front_desk)])
            held.open_entities.add(key_of(op.entity_id), place_of(seq, op.entity_type))
            dictionaries.meet(authors_of([op]))
    for device_id, number in connection.execute(
        "SELECT device_id, device_seq FROM dead_letter WHERE settles = 1"
    ).fetchall():
        held.settle(device_id, number)
    held.shared = set(connection.execute("SELECT device_id, device_seq FROM shared_number").fetchall())
    connection.execute(
        "PRAGMA shrink_memory"
    ).fetchall()  # who writes needs none of the pages that were read here
    return held
