"""Numbered migrations of a PostgreSQL: the log's and the authority's stand side by side in one database.

Several relays may start at once: whoever comes first runs what is new, under an advisory lock, and the others wait.
Everything that is new runs in one transaction. A database that a newer version has written is refused, untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medxz.store.migrations import read_migrations, refuse_newer
from medxz.store.postgres.pool import Pool

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_LOCK: Final = 0x6D6564787A  # "medxz": one lock for all that it keeps in a database
_TABLE: Final = "CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, reached INTEGER NOT NULL CHECK (reached > 0))"
_PUT: Final = (
    "INSERT INTO migration (name, reached) VALUES ($1, $2)"
    " ON CONFLICT (name) DO UPDATE SET reached = excluded.reached"
)


async def migrate(pool: Pool, name: str, folder: Traversable) -> int:
    """Bring the tables that go by this name up to the newest migration in the folder; how many ran."""
    scripts = read_migrations(folder)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT to_regclass('migration')") is None:
            await connection.execute(_TABLE)
        reached = await connection.fetchval("SELECT reached FROM migration WHERE name = $1", name) or 0
        refuse_newer(reached, len(scripts))
        for script in scripts[reached:]:
            await connection.execute(script)
        if len(scripts) > reached:
            await connection.execute(_PUT, name, len(scripts))
    return len(scripts) - reached
