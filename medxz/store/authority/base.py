"""What a database is to the authority's tables: statements in transactions, on either of the two.

Statements have their values as `$1 … $n`, and no `$` elsewhere. Flags are 0 and 1; times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

Changed = Callable[[Collection[str]], Awaitable[None]]


class TryAgain(Exception):
    """Raised inside a transaction that sees less than this process knows to be committed: it is run anew."""


class Tx(Protocol):
    """An open transaction. Its statements go one after another: none is begun before the one before it has ended."""

    @property
    def may_be_stale(self) -> bool:
        """Whether what was committed a moment ago may be missing from what it sees; TryAgain helps then."""
        ...

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement; the rows that it gives, if it gives any."""
        ...

    def changed(self, clinic_id: str) -> None:
        """Once this is committed, those who watch are told that this clinic's directory is another."""
        ...

    def after_commit(self, then: Callable[[], None]) -> None:
        """Once this is committed, and before `run` returns, this is called; never where it is not."""
        ...


class Hints(Protocol):
    """What processes tell each other. It may be lost: whoever hears it looks now and then as well."""

    def open(self) -> None: ...

    def tell(self, clinic_id: str) -> None: ...

    async def close(self) -> None: ...


class Transactions(Protocol):
    """Runs functions in transactions, each as if it were alone."""

    @property
    def place(self) -> str:
        """Where the database is, for people: without a password."""
        ...

    async def run(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        """What `fn` returns, once all that it wrote is durable; where it raises, nothing of it was written.

        `fn` may be run again, with another transaction, so it has no effects but through it. What shall be kept of a
        refusal (a failure that is counted) is returned by `fn` and raised outside of it.
        StorageFull, Overloaded (nothing is known of what was written: ask again) or StoreError.
        """
        ...

    async def read(self, fn: Callable[[Tx], Awaitable[T]]) -> T:
        """The same for a function that only reads: it sees one state of the database and never holds up a writer."""
        ...

    def on_change(self, listener: Changed) -> None:
        """After each commit that said so, tell this listener which clinics' directories changed; `run` waits for it.

        What it raises is the mistake of whoever gave it. Where somebody stops waiting for `run`, it may not be told.
        """
        ...

    def hints(self, heard: Callable[[str | None], None]) -> Hints | None:
        """A way to hear what other processes tell at once; None where there is none, and only looking helps."""
        ...

    async def close(self) -> None: ...


class Effects:
    """What a transaction has to do once it is committed: the half of a `Tx` that knows no database."""

    def __init__(self) -> None:
        self._clinics: Final[set[str]] = set()
        self._then: Final[list[Callable[[], None]]] = []

    def changed(self, clinic_id: str) -> None:
        self._clinics.add(clinic_id)

    def after_commit(self, then: Callable[[], None]) -> None:
        self._then.append(then)

    def committed(self) -> None:
        for then in self._then:
            then()

    async def tell(self, listeners: Iterable[Changed]) -> None:
        if self._clinics:
            for listener in listeners:
                await listener(frozenset(self._clinics))
