"""Which announced hubs were refused a short while ago, so that a look-alike is not asked at every turn.

Each time the same is refused again it is left alone for longer. Bounded: what would be asked again soonest goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medxz.clock import Clock
from medxz.device.store.file import StoreFile

REFUSED_MS: Final = 60_000
REFUSED_MS_MAX: Final = 3_600_000
REFUSALS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Refused:
    """Who said to be where. `terms`: all that the refusal depends on besides; where that changes it does not count."""

    server_id: str
    addresses: str
    terms: str


class Refusals:
    """The table `refusal`. Every method is one transaction."""

    def __init__(self, file: StoreFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def why(self, who: Refused) -> str | None:
        """Why it is not to be asked again yet; None: ask."""
        now_ms = self._clock.now_ms()
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT why FROM refusal WHERE server_id = ? AND addresses = ? AND terms = ?"
                " AND until_ms > ? AND until_ms <= ?",  # beyond the longest, the clock was another
                (who.server_id, who.addresses, who.terms, now_ms, now_ms + REFUSED_MS_MAX),
            ).fetchall()
        return str(rows[0][0]) if rows else None

    def keep(self, who: Refused, why: str) -> None:
        now_ms = self._clock.now_ms()
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO refusal (server_id, addresses, terms, times, until_ms, why) VALUES (?, ?, ?, 1, ?, ?)"
                " ON CONFLICT DO UPDATE SET terms = excluded.terms, why = excluded.why,"
                " times = CASE terms WHEN excluded.terms THEN min(times + 1, 32) ELSE 1 END",
                (who.server_id, who.addresses, who.terms, now_ms + REFUSED_MS, why),
            )
            connection.execute(
                "UPDATE refusal SET until_ms = ? + min(?, ? << (times - 1)) WHERE server_id = ? AND addresses = ?",
                (now_ms, REFUSED_MS_MAX, REFUSED_MS, who.server_id, who.addresses),
            )
            connection.execute(
                "DELETE FROM refusal WHERE (server_id, addresses) IN"
                " (SELECT server_id, addresses FROM refusal ORDER BY until_ms DESC LIMIT -1 OFFSET ?)",
                (REFUSALS_MAX,),
            )

    def forget(self, server_id: str) -> None:
        """It was met, and is who it says."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM refusal WHERE server_id = ?", (server_id,))
