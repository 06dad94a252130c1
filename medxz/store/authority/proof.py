"""Whether a clinic's audit is what was written: every chain walked from its beginning, a portion at a time.

An entry that was changed, taken out or put in breaks its chain at its number. A chain that lost its end, or everything,
is found by what a younger chain's beginning says of it; only the youngest end has nobody to speak for it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from medxz import limits
from medxz.store.authority.audit import NOTHING_BEFORE, Noted, chain_ids, ends_named, following, hash_of
from medxz.store.authority.base import Transactions, Tx


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What became of a chain. `first_broken`: the first number that is not what was written, or is not there."""

    chain_id: str
    entries: int
    first_broken: int | None

    @property
    def ok(self) -> bool:
        return self.first_broken is None


async def verify(transactions: Transactions, clinic_id: str) -> list[ChainCheck]:
    """Every chain that is there, and every one that is spoken of; what is appended meanwhile may be left out."""

    async def chains_and_ends(tx: Tx) -> tuple[list[str], dict[str, dict[int, str]]]:
        ends: defaultdict[str, dict[int, str]] = defaultdict(dict)
        for chain_id, number, digest in await ends_named(tx, clinic_id):
            ends[chain_id][number] = digest
        return await chain_ids(tx, clinic_id), ends

    chains, ends = await transactions.read(chains_and_ends)
    return [
        await _verify_chain(transactions, clinic_id, chain_id, ends.get(chain_id, {}))
        for chain_id in sorted({*chains, *ends})
    ]


async def _verify_chain(
    transactions: Transactions, clinic_id: str, chain_id: str, ends: dict[int, str]
) -> ChainCheck:
    """`ends`: what stood at a number, as another chain tells."""
    expected, before, first_broken, count = 1, NOTHING_BEFORE, None, 0
    after = -limits.INTEGER_MAX  # also what was put in where no number is
    while True:
        portion = await transactions.read(partial(_portion, clinic_id, chain_id, after))
        for noted in portion:
            is_next = noted.number == expected and noted.previous_hash == before
            is_itself = noted.hash == hash_of(clinic_id, noted) == ends.get(noted.number, noted.hash)
            if first_broken is None and not (is_next and is_itself):
                first_broken = min(noted.number, expected)
            after, expected, before, count = noted.number, noted.number + 1, noted.hash, count + 1
        if len(portion) < limits.AUDIT_VERIFY_ENTRIES:
            break
    if first_broken is None and max(ends, default=0) >= expected:
        first_broken = expected
    return ChainCheck(chain_id, count, first_broken)


async def _portion(clinic_id: str, chain_id: str, after: int, tx: Tx) -> list[Noted]:
    return await following(tx, clinic_id, chain_id, after, limits.AUDIT_VERIFY_ENTRIES)
