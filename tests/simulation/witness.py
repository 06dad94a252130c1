"""Who tells the ledger what was promised: it looks at what tablets were told, and hears what foreign clients read and push.

A tablet's promises are read out of its own store, where it keeps which server has which of its numbers: often, and before
anything happens that may take a promise back. Refused: to say of a moment later than that at which it looked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from medxz.device.store.file import Connection
from medxz.device.store.identity import Identity, read_identity
from medxz.device.store.logs import HeldLog, all_logs
from medxz.ids import uuid_text
from medxz.op import Operation
from tests.simulation.ledger import Ledger, Level
from tests.simulation.parties.device import TabletParty
from tests.simulation.parties.foreign import Answered, Resumed, Seen

_decode = msgspec.json.Decoder(Operation).decode


@dataclass
class Witness:
    """`party_at` names the party that answers at an address, `parties_of` those that call themselves so."""

    ledger: Ledger
    now_s: Callable[[], float]
    party_at: Callable[[str], str | None]
    parties_of: Callable[[str], tuple[str, ...]]
    cloud: str
    device_ids: dict[str, str] = field(default_factory=dict)
    _changes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: dict[tuple[str, str], set[int]] = field(default_factory=dict)

    # -------------------------------------------------------------------------------------------- tablets

    def look(self, tablet: TabletParty) -> None:
        """Take down what this tablet holds and knows to be safe, if anything has changed since the last look."""
        if not tablet.is_up:
            return
        with tablet.device._store._file.reading() as connection:
            changes = (id(connection), connection.total_changes)
            if self._changes.get(tablet.name) == changes:
                return
            self._changes[tablet.name] = changes
            again = self._recorded_again(tablet, connection)
            identity = read_identity(connection)
            self.device_ids[tablet.name] = tablet.device_id = identity.device_id  # it may have got another
            own = _own(connection)
            parked = {
                uuid_text(op_id): code
                for op_id, code in connection.execute("SELECT op_id, code FROM parked").fetchall()
            }
            self._take(tablet, identity, own, again, parked, all_logs(connection))

    def _take(
        self, tablet: TabletParty, identity: Identity, own: dict[int, Operation], again: dict[str, str],
        parked: dict[str, str], logs: list[HeldLog],
    ) -> None:  # fmt: skip
        at, ledger = self.now_s(), self.ledger
        for op in own.values():
            if op.op_id not in ledger.authors:
                ledger.authored(op, tablet.name, at, again=again.get(op.op_id))
                ledger.acked(op.op_id, "here", tablet.name, None, None, at, told=tablet.name)
        for op_id, code in parked.items():
            ledger.rejected(op_id, tablet.name, code, at)
        for held in logs:
            party = self.party_at(held.url)
            if party is None:
                continue
            level: Level = "cloud" if held.kind == "cloud" else "hub"
            told = self._told.setdefault(
                (tablet.name, f"{held.id.server_id} {held.id.epoch} {identity.device_id}"), set()
            )
            for number, op in own.items():
                if number in held.stored and number not in told:
                    told.add(number)
                    ledger.acked(
                        op.op_id, level, party, held.id.server_id, held.id.epoch, at, told=tablet.name
                    )
        told = self._told.setdefault(
            (tablet.name, f"cloud {identity.cloud_epoch} {identity.device_id}"), set()
        )
        for number, op in own.items():
            if number <= identity.cloud_through and number not in told and op.op_id not in parked:
                told.add(number)
                ledger.acked(op.op_id, "cloud", self.cloud, None, identity.cloud_epoch, at, told=tablet.name)

    def _recorded_again(self, tablet: TabletParty, connection: Connection) -> dict[str, str]:
        """New op -> the one that it repeats, as the audit tells."""
        rows = connection.execute("SELECT detail FROM audit WHERE action = 'recorded_again'").fetchall()
        told = [json.loads(detail) for (detail,) in rows]
        return {str(one["op_id"]): str(one["instead_of"]) for one in told}

    # ----------------------------------------------------------------------------------- foreign clients

    def seen(self, reader: str, party: str, page: Seen) -> None:
        self.ledger.read(
            reader, party, page.server_id, page.epoch, after=page.after, cursor=page.cursor, ops=page.ops,
            scope=page.scope, at_end=page.at_end, at=self.now_s(),
        )  # fmt: skip

    def resumed(self, reader: str, party: str, got: Resumed) -> None:
        self.ledger.resumed(
            reader, party, got.server_id, got.epoch, cursor=got.cursor, have=got.have, at=self.now_s()
        )

    def made(self, pusher: str, op: Operation) -> None:
        self.ledger.authored(op, pusher, self.now_s())

    def answered(self, told: str, answer: Answered) -> None:
        """What a server said of an op, at the moment at which it was heard."""
        parties, at = self.parties_of(answer.server_id), self.now_s()
        level: Level = "cloud" if parties == (self.cloud,) else "hub"
        if len(parties) != 1:
            return  # a card was copied: the tablet's store tells at which address
        if answer.is_stored:
            self.ledger.acked(
                answer.op_id, level, parties[0], answer.server_id, answer.epoch, at,
                seq=answer.server_seq, told=told,
            )  # fmt: skip
        elif answer.status == "rejected":
            self.ledger.rejected(answer.op_id, parties[0], answer.code or "", at)


def _own(connection: Connection) -> dict[int, Operation]:
    rows = connection.execute("SELECT own_seq, body FROM op WHERE own_seq IS NOT NULL").fetchall()
    return {own_seq: _decode(body) for own_seq, body in rows}
