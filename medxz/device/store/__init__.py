"""The device's encrypted store: its ops, its outbox, what servers hold of it, its audit.

Every method is one transaction: done and durable, or not done. An op and its audit entry commit together. The store
blocks; whoever must not wait hands its methods to a worker. What entities look like is asked of `entities`; a snapshot
goes to `snapshots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medxz import limits
from medxz.clock import Clock
from medxz.device.person import roles_text
from medxz.device.store import (
    audit,
    exchange,
    forgetting,
    heads,
    locks,
    logs,
    recording,
    refusals,
    renewal,
    rows,
    safety,
    sessions,
    targets,
)
from medxz.device.store.drafts import Draft
from medxz.device.store.entities import Entities
from medxz.device.store.file import StoreFile
from medxz.device.store.identity import Identity, Kind, change_identity, read_identity
from medxz.device.store.snapshot import Snapshots
from medxz.device.token import TokenClaims
from medxz.errors import ConfigurationError
from medxz.have import Have
from medxz.ids import Ids
from medxz.merge.entity import Entity
from medxz.op import Operation
from medxz.replicate import LogId, Meeting, Outgoing

if TYPE_CHECKING:
    from medxz import wire

__all__ = ["DeviceStore", "Draft", "Identity"]

LOCK_WAIT_S: Final = 5.0


class DeviceStore:
    """One folder, one device, one writing process."""

    def __init__(
        self, folder: Path, key: bytes | str, clock: Clock, *, create: bool = False, read_only: bool = False,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:  # fmt: skip
        self._file = StoreFile(folder, key, create=create, read_only=read_only, wait_s=lock_wait_s)
        self._clock = clock
        self.is_read_only = read_only
        self.entities = Entities(self._file, clock)
        self.snapshots = Snapshots(self._file, clock)
        self.targets = targets.Targets(self._file, clock)
        self.refusals = refusals.Refusals(self._file, clock)
        self.locks = locks.Locks(self._file, clock)
        if not read_only:
            try:
                self.entities.prepare()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._file.close()

    # ---------------------------------------------------------------------------------------- identity

    def begin(
        self, claims: TokenClaims, *, name: str, server_url: str, access_token: str, ca_pem: str | None
    ) -> None:
        """Become this device, with a key of its own; or, being it already, take this server and token."""
        with self._file.transaction() as connection:
            if connection.execute("SELECT 1 FROM device").fetchall():
                held = read_identity(connection)
                _is_for(claims, held)
                locks.refuse_if_locked(connection, self._clock.now_ms())
                _takes_tokens(held)
                change_identity(
                    connection, user_id=claims.user_id, server_url=server_url, access_token=access_token,
                    ca_pem=ca_pem or held.ca_pem, tls="token", email=None, refresh_token=None, token_ends_ms=None,
                    roles=roles_text(claims.roles),
                )  # fmt: skip
                locks.put_password(connection, None, self._clock.now_ms())
                targets.begin_at(connection, server_url, None, self._clock.now_ms())
                return
            private_key = Ed25519PrivateKey.generate().private_bytes_raw()
            connection.execute(
                "INSERT INTO device (only_row, clinic_id, device_id, user_id, name, private_key, server_url,"
                " access_token, ca_pem, keep_own_days, roles) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    claims.clinic_id, claims.device_id, claims.user_id, name, private_key, server_url,
                    access_token, ca_pem, limits.KEEP_OWN_DAYS, roles_text(claims.roles),
                ),
            )  # fmt: skip
            targets.begin_at(connection, server_url, None, self._clock.now_ms())
            audit.append(
                connection, self._clock.now_ms(), "begun",
                clinic_id=claims.clinic_id, device_id=claims.device_id,
            )  # fmt: skip

    def identity(self) -> Identity:
        with self._file.reading() as connection:
            return read_identity(connection)

    def configure(self, config: wire.ConfigAnswer, log: LogId) -> None:
        """What the server with this log tells of the clinic."""
        with self._file.transaction() as connection:
            targets.take_config(connection, config, self._clock.now_ms())
            told_by = logs.find_log(connection, log)
            if told_by is not None and told_by.kind == "hub":
                targets.trust_cloud(connection, config.cloud_ca_certificates, self._clock.now_ms())
            change_identity(
                connection, keep_own_days=config.keep_own_days, require_signed_ops=config.require_signed_ops,
                configured_ms=self._clock.now_ms(),
            )  # fmt: skip

    def next_private_key(self) -> bytes:
        """The key for a new identity, made once: asking again after a crash sends the same."""
        with self._file.transaction() as connection:
            key = read_identity(connection).next_private_key
            if key is None:
                key = Ed25519PrivateKey.generate().private_bytes_raw()
                change_identity(connection, next_private_key=key)
            return key

    def renew(self, new: renewal.NewIdentity, ids: Ids) -> int:
        with self._file.transaction() as connection:
            return renewal.renew(connection, new, ids, self._clock.now_ms())

    # ---------------------------------------------------------------------------------------- sessions

    def key_to_enrol(self) -> bytes:
        """The key of a device that is being enrolled, made once: asking again after a crash sends the same."""
        with self._file.transaction() as connection:
            return sessions.key_to_enrol(connection)

    def enrolled(self, new: sessions.Enrolled) -> None:
        with self._file.transaction() as connection:
            sessions.enrolled(connection, new, self._clock.now_ms())

    def session(self) -> sessions.Session:
        with self._file.reading() as connection:
            return sessions.read_session(connection)

    def log_in(self, session: sessions.Session, password_hash: str) -> None:
        with self._file.transaction() as connection:
            sessions.log_in(connection, session, password_hash, self._clock.now_ms())

    def go_on(self, before: sessions.Session, after: sessions.Session) -> sessions.Session:
        with self._file.transaction() as connection:
            return sessions.go_on(connection, before, after, self._clock.now_ms())

    def session_has_ended(self, before: sessions.Session) -> None:
        with self._file.transaction() as connection:
            sessions.has_ended(connection, before, self._clock.now_ms())

    def log_out(self) -> None:
        with self._file.transaction() as connection:
            sessions.log_out(connection, self._clock.now_ms())

    # --------------------------------------------------------------------------------------------- ops

    def record(self, draft: Draft) -> Operation:
        """Give the draft its number and its parents, and keep it, with its audit entry."""
        now_ms = self._clock.now_ms()
        with self._file.transaction() as connection:
            return recording.write(connection, draft, now_ms)

    def page(self, after: int, limit: int, arrived_only: bool = False) -> list[rows.HeldOp]:
        with self._file.reading() as connection:
            return rows.read_page(connection, after, limit, arrived_only=arrived_only)

    def last_position(self) -> int:
        with self._file.reading() as connection:
            return rows.last_position(connection)

    def heads_of(self, entity_type: str, entity_id: str) -> tuple[str, ...]:
        with self._file.reading() as connection:
            entity = Entity(read_identity(connection).clinic_id, entity_type, entity_id)
            return tuple(head.op_id for head in heads.heads_of(connection, entity))

    def forget(self) -> int:
        """Let go of own ops that the cloud has and that are older than the clinic keeps them; returns how many.

        What merging needs of them stays.
        """
        now_ms, forgotten, some = self._clock.now_ms(), 0, forgetting.OPS_AT_ONCE
        while some == forgetting.OPS_AT_ONCE:
            with self._file.transaction() as connection:
                some = forgetting.forget_some(connection, now_ms)
            forgotten += some
        return forgotten

    def verify_audit(self) -> int:
        with self._file.reading() as connection:
            return audit.verify(connection)

    # ------------------------------------------------------------------------------------------ safety

    def levels(self) -> safety.Levels:
        with self._file.reading() as connection:
            return safety.read_levels(connection)

    def counts(self) -> dict[safety.Level, int]:
        with self._file.reading() as connection:
            return safety.count_levels(connection)

    def safety_of(self, op_id: str) -> safety.Level | None:
        with self._file.reading() as connection:
            return safety.safety_of(connection, op_id)

    def parked(self) -> list[safety.Parked]:
        with self._file.reading() as connection:
            return safety.parked_ops(connection)

    def refused_upstream(self) -> list[safety.RefusedUpstream]:
        with self._file.reading() as connection:
            return safety.refused_ops(connection)

    # ----------------------------------------------------------------------------------------- servers

    def last_log(self) -> logs.HeldLog | None:
        """The log that was last heard from."""
        with self._file.reading() as connection:
            found = logs.all_logs(connection)
            return found[-1] if found else None

    def knows(self, log: LogId) -> bool:
        with self._file.reading() as connection:
            held = logs.find_log(connection, log)
            return held is not None and held.kind is not None

    def meet(self, status: wire.StatusAnswer, url: str, kind: Kind | None) -> Meeting:
        """Take in how a server stands, and whether somebody else has written under this identity."""
        with self._file.transaction() as connection:
            now_ms = self._clock.now_ms()
            meeting = exchange.meet(connection, status, url, kind, now_ms)
            held = logs.get_log(connection, meeting.log, url)
            if held.kind is not None:
                met = targets.Told(url, held.kind, meeting.log.server_id, "config")
                targets.note_answer(connection, met, None, now_ms)
            return meeting

    def waiting(self, log: LogId) -> int:
        with self._file.reading() as connection:
            return exchange.waiting(connection, log)

    def outbox(self, log: LogId, after: int, ops_max: int, bytes_max: int) -> list[Outgoing]:
        with self._file.reading() as connection:
            return exchange.outbox(connection, log, after, ops_max, bytes_max)

    def settle(self, url: str, batch: Sequence[Outgoing], answer: wire.PushAnswer) -> bool:
        """Remember the results under the log that gave them; False where a number was somebody else's."""
        with self._file.transaction() as connection:
            return exchange.settle(connection, url, batch, answer, self._clock.now_ms())

    def park(self, log: LogId, url: str, op: Outgoing, code: str, message: str) -> None:
        """Take out of the queue what that server will not even read."""
        from medxz import wire

        with self._file.transaction() as connection:
            held = logs.get_log(connection, log, url)
            result = wire.PushResult(op_id=op.op_id, status="rejected", code=code, message=message)
            exchange.park(connection, held, op, result, self._clock.now_ms())

    def cursor(self, log: LogId) -> str | None:
        with self._file.reading() as connection:
            return logs.cursor_of(connection, log)

    def later_cursor(self, log: LogId) -> str | None:
        with self._file.reading() as connection:
            return logs.later_cursor(connection, log)

    def begin_at(self, log: LogId, url: str, cursor: str) -> None:
        with self._file.transaction() as connection:
            logs.put_cursor(connection, log, url, cursor, self._clock.now_ms())

    def have(self) -> Have:
        """Which numbers of which devices are here, or were before they were forgotten."""
        with self._file.reading() as connection:
            return exchange.have(connection)

    def apply(self, log: LogId, url: str, ops: Sequence[Operation], cursor: str) -> list[Operation]:
        """Take in a page and the cursor after it; returns the ops that were new here."""
        with self._file.transaction() as connection:
            return exchange.apply(connection, log, url, ops, cursor, self._clock.now_ms())


def _is_for(claims: TokenClaims, held: Identity) -> None:
    if (claims.clinic_id, claims.device_id) != (held.clinic_id, held.device_id):
        raise ConfigurationError(
            [f"the token is for device {claims.device_id}, this store is device {held.device_id}"]
        )


def _takes_tokens(held: Identity) -> None:
    # nobody here can tell a token from what somebody wrote himself, and it says what may be seen
    if held.tls != "token":
        raise ConfigurationError(["people log in on this device, it takes no tokens: `medxz login`"])
