"""Where this device may go, as it stands on the disk: addresses, how each was when it was last tried, what proves them.

A row is an address. What is told or announced of one adds a row and proves nothing; what was met there says who it is.
Bounded: the addresses that nobody has answered at for longest go first; what a person typed, and where the device is
now, stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from medxz.clock import Clock
from medxz.device.store import audit
from medxz.device.store.file import Connection, StoreFile
from medxz.device.store.identity import Kind, Tls, change_identity, read_identity

if TYPE_CHECKING:
    from medxz import wire

Source = Literal["typed", "name", "config", "mdns"]
State = Literal["unknown", "ready", "down", "refused"]

TARGETS_MAX: Final = 32
CERTIFICATES_CHARS_MAX: Final = 256 * 1_024


@dataclass(frozen=True, slots=True)
class HeldTarget:
    """An address, and how it was when it was last tried. `why` says what was wrong then, `code` who spoke against it."""

    url: str
    kind: Kind | None
    server_id: str | None
    source: Source
    state: State
    is_current: bool
    seen_ms: int
    tried_ms: int | None
    last_ok_ms: int | None
    rtt_ms: float | None
    code: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """An address that somebody names, and who is said to be there."""

    url: str
    kind: Kind
    server_id: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class Trust:
    """What this device holds servers against, and how it looks for them."""

    tls: Tls
    server_url: str
    ca_pem: str | None
    hub_cas: str | None
    cloud_cas: str | None
    site_id: str | None
    routing: Mapping[str, Sequence[Kind]]
    hub_names: Sequence[str]
    looked_ms: int | None


class Targets:
    """The table `target`, and what goes with it. Every method is one transaction."""

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def everything(self) -> list[HeldTarget]:
        """The one in use first, then by when they last answered."""
        with self._file.reading() as connection:
            return all_targets(connection)

    def trust(self) -> Trust:
        with self._file.reading() as connection:
            return read_trust(connection)

    def answered(self, told: Told, rtt_s: float | None) -> None:
        """This server was met at this address."""
        with self._file.transaction() as connection:
            note_answer(connection, told, rtt_s, self._clock.now_ms())

    def failed(self, url: str, why: str, code: str | None = None) -> None:
        """Nobody answered there, or somebody whom the device refuses (`code`)."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE target SET state = ?, why = ?, code = ?, tried_ms = ? WHERE url = ?",
                ("down" if code is None else "refused", why, code, self._clock.now_ms(), url),
            )

    def told(self, found: Sequence[Told]) -> None:
        """Somebody names these addresses."""
        with self._file.transaction() as connection:
            now_ms = self._clock.now_ms()
            for told in found:
                put_told(connection, told, now_ms)
            _drop_oldest(connection)

    def go_to(self, url: str | None, rtt_s: float | None = None) -> None:
        """The device is in step with the server there now; None: with nobody."""
        with self._file.transaction() as connection:
            connection.execute(
                "UPDATE target SET is_current = 0 WHERE is_current = 1 AND url IS NOT ?", (url,)
            )
            if url is not None:
                connection.execute(
                    "UPDATE target SET is_current = 1, state = 'ready', why = NULL, code = NULL,"
                    " rtt_ms = coalesce(?, rtt_ms), last_ok_ms = ? WHERE url = ?",
                    (_ms(rtt_s), self._clock.now_ms(), url),
                )

    def looked(self) -> None:
        """The LAN was searched, and no hub found."""
        with self._file.transaction() as connection:
            change_identity(connection, looked_ms=self._clock.now_ms())


_COLUMNS: Final = (
    "url, kind, server_id, source, state, is_current, seen_ms, tried_ms, last_ok_ms, rtt_ms, code, why"
)


def all_targets(connection: Connection) -> list[HeldTarget]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM target ORDER BY is_current DESC, last_ok_ms DESC, seen_ms, url"  # noqa: S608
    ).fetchall()
    return [
        HeldTarget(url, kind, server_id, source, state, bool(is_current), seen, tried, ok, rtt_ms, code, why)
        for url, kind, server_id, source, state, is_current, seen, tried, ok, rtt_ms, code, why in rows
    ]


def read_trust(connection: Connection) -> Trust:
    rows = connection.execute(
        "SELECT tls, server_url, ca_pem, hub_cas, cloud_cas, site_id, routing, hub_names, looked_ms FROM device"
    ).fetchall()
    if not rows:
        read_identity(connection)  # says what is wrong
    tls, server_url, ca_pem, hub_cas, cloud_cas, site_id, routing, names, looked_ms = rows[0]
    return Trust(
        tls, server_url, ca_pem, hub_cas, cloud_cas, site_id, orjson.loads(routing), orjson.loads(names), looked_ms
    )  # fmt: skip


def put_told(connection: Connection, told: Told, now_ms: int) -> None:
    """What was met there counts for more than what is said, but by the clinic; what a person typed stays typed."""
    connection.execute(
        "INSERT INTO target (url, kind, server_id, source, seen_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (url) DO UPDATE SET seen_ms = excluded.seen_ms,"
        " state = CASE WHEN excluded.source = 'config' AND server_id IS NOT excluded.server_id"
        " THEN 'unknown' ELSE state END,"
        " kind = CASE WHEN last_ok_ms IS NULL OR excluded.source = 'config' THEN excluded.kind ELSE kind END,"
        " server_id = CASE WHEN last_ok_ms IS NULL OR excluded.source = 'config'"
        " THEN excluded.server_id ELSE server_id END,"
        " source = CASE source WHEN 'typed' THEN source ELSE excluded.source END",
        (told.url, told.kind, told.server_id, told.source, now_ms),
    )


def note_answer(connection: Connection, told: Told, rtt_s: float | None, now_ms: int) -> None:
    """This server was met there; who named the address stays as it is."""
    connection.execute(
        "INSERT INTO target (url, kind, server_id, source, seen_ms, state, tried_ms, last_ok_ms, rtt_ms)"
        " VALUES (:url, :kind, :server_id, :source, :now_ms, 'ready', :now_ms, :now_ms, :rtt_ms)"
        " ON CONFLICT (url) DO UPDATE SET kind = :kind, server_id = :server_id, seen_ms = :now_ms, state = 'ready',"
        " tried_ms = :now_ms, last_ok_ms = :now_ms, rtt_ms = coalesce(:rtt_ms, rtt_ms), code = NULL, why = NULL",
        {
            "url": told.url, "kind": told.kind, "server_id": told.server_id, "source": told.source,
            "now_ms": now_ms, "rtt_ms": _ms(rtt_s),
        },
    )  # fmt: skip


def begin_at(connection: Connection, url: str, kind: Kind | None, now_ms: int) -> None:
    """The one address that a device begins with."""
    connection.execute("DELETE FROM target")
    connection.execute(
        "INSERT INTO target (url, kind, source, seen_ms) VALUES (?, ?, 'typed', ?)", (url, kind, now_ms)
    )


def take_config(connection: Connection, config: wire.ConfigAnswer, now_ms: int) -> None:
    """What the clinic decided: in which order to go where, and by which CAs its hubs are proven."""
    identity = read_identity(connection)
    change_identity(
        connection,
        routing=orjson.dumps(config.routing).decode(),
        hub_names=orjson.dumps(list(config.hub_names)).decode(),
    )
    if identity.tls == "token":
        return
    trust_hubs(connection, config.ca_certificates, now_ms)
    take_targets(connection, config.targets, now_ms)


def take_targets(connection: Connection, targets: Sequence[wire.Target], now_ms: int) -> None:
    """Those that the clinic names now; one that it names no longer goes, where nobody typed it and it was never met."""
    named = [Told(one.url.rstrip("/"), one.kind, one.server_id, "config") for one in targets[:TARGETS_MAX]]
    for told in named:
        put_told(connection, told, now_ms)
    urls = [told.url for told in named]
    marks = ", ".join("?" * len(urls))
    connection.execute(
        f"DELETE FROM target WHERE source = 'config' AND is_current = 0 AND url NOT IN ({marks})",  # noqa: S608
        urls,
    )
    _drop_oldest(connection)


def trust_hubs(connection: Connection, ca_certificates: Sequence[str], now_ms: int) -> None:
    """The clinic's CAs of now, as a server of the old ones tells them: a CA that will come is known before it does."""
    identity, pem = read_identity(connection), joined(ca_certificates)
    if not pem or pem == read_trust(connection).hub_cas:
        return
    change_identity(connection, hub_cas=pem)
    if identity.tls == "hub":
        change_identity(connection, ca_pem=pem)
    audit.append(connection, now_ms, "trusted", ca_certificates=len(ca_certificates))


def trust_cloud(connection: Connection, ca_certificates: Sequence[str], now_ms: int) -> None:
    """The roots by which this device's hub trusts the cloud; none: those of the system. What was given by hand stays, and
    so does what the cloud proved itself by where the device was enrolled there: no hub's word makes another one of it.
    """
    pem = joined(ca_certificates) or None
    [(held, is_given, tls)] = connection.execute(
        "SELECT cloud_cas, cloud_cas_given, tls FROM device"
    ).fetchall()
    if is_given or tls == "address" or pem == held or (pem is not None and len(pem) > CERTIFICATES_CHARS_MAX):
        return
    change_identity(connection, cloud_cas=pem)
    audit.append(connection, now_ms, "trusted_cloud", ca_certificates=len(ca_certificates))


def joined(ca_certificates: Sequence[str]) -> str:
    return "".join(text if text.endswith("\n") else text + "\n" for text in ca_certificates)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 1)


def _drop_oldest(connection: Connection) -> None:
    connection.execute(
        "DELETE FROM target WHERE url IN (SELECT url FROM target WHERE source != 'typed' AND is_current = 0"
        " ORDER BY coalesce(last_ok_ms, 0) DESC, seen_ms DESC LIMIT -1 OFFSET ?)",
        (TARGETS_MAX,),
    )
