"""Operators and their tokens: who may read the fleet across clinics, and nothing of anybody's records.

A token is shown once, when it is made; it is good until its day, or until it or its operator is shut out, which counts
with the next request. Refused: a name that is taken, tokens of an operator who is disabled.
"""

from __future__ import annotations

from typing import Final

from medxz import limits
from medxz.accounts.base import DAY_MS, Authority
from medxz.accounts.clinics import check_name
from medxz.errors import Invalid, NotFound, SessionRevoked, TokenExpired, TokenInvalid
from medxz.service.fleet import Operator
from medxz.store.authority import operators
from medxz.store.authority.attempts import NO_CLINIC
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.operators import OperatorRow, TokenRow
from medxz.trust.operators import is_operators, new_operator_token, operator_token_hash


class Operators:
    """The use cases. `operator` is one's id or name."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def add(self, name: str) -> str:
        """A new one; their id."""
        checked, operator_id = check_name(name, "name"), self._authority.ids.uuid7()

        async def add(tx: Tx) -> str:
            if not await operators.add(tx, operator_id, checked, self._authority.clock.now_ms()):
                raise Invalid("there is an operator of that name", field="name")
            await self._note(tx, "operator_added", operator_id)
            return operator_id

        return await self._authority.decide(add)

    async def token(
        self, operator: str, days: int = limits.OPERATOR_TOKEN_DAYS, *, read_only: bool = False
    ) -> tuple[str, TokenRow]:
        """A new token and what is kept of it."""
        text, now_ms = new_operator_token(), self._authority.clock.now_ms()

        async def make(tx: Tx) -> TokenRow:
            found = await _found(tx, operator)
            if found.disabled:
                raise Invalid("this operator is disabled", field="operator")
            row = TokenRow(
                self._authority.ids.uuid7(),
                found.operator_id,
                now_ms,
                now_ms + days * DAY_MS,
                read_only=read_only,
            )
            await operators.add_token(tx, operator_token_hash(text), row)
            await self._note(tx, "operator_token", found.operator_id, token_id=row.token_id)
            return row

        return text, await self._authority.decide(make)

    async def list(self) -> tuple[list[OperatorRow], list[TokenRow]]:
        """All of them, and all their tokens."""

        async def read(tx: Tx) -> tuple[list[OperatorRow], list[TokenRow]]:
            return await operators.everyone(tx), await operators.tokens(tx)

        return await self._authority.transactions.read(read)

    async def disable(self, operator: str, *, disabled: bool = True) -> None:
        """Shut one out, with every token; `disabled=False` lets them have new ones."""

        async def write(tx: Tx) -> None:
            found = await _found(tx, operator)
            await operators.set_disabled(tx, found.operator_id, disabled=disabled)
            ended = await operators.revoke_of(tx, found.operator_id) if disabled else 0
            event = "operator_disabled" if disabled else "operator_enabled"
            await self._note(tx, event, found.operator_id, tokens=ended)

        await self._authority.decide(write)

    async def revoke(self, token_id: str) -> None:
        """One token, and no other."""

        async def write(tx: Tx) -> None:
            operator_id = await operators.revoke_token(tx, token_id)
            if operator_id is None:
                raise NotFound(
                    f"there is no token {token_id}; `medxz-cloud operator list` shows those there are"
                )
            await self._note(tx, "operator_token_revoked", operator_id, token_id=token_id)

        await self._authority.decide(write)

    async def identify(self, bearer: str | None) -> Operator:
        """Whose token it is. TokenInvalid, TokenExpired or SessionRevoked."""
        if bearer is None or not is_operators(bearer):
            raise TokenInvalid("this is no operator's token")
        digest = operator_token_hash(bearer)
        found = await self._authority.transactions.read(lambda tx: operators.of_token(tx, digest))
        if found is None:
            raise TokenInvalid("nobody here has this token")
        token, operator = found
        if token.revoked or operator.disabled:
            raise SessionRevoked("this token was revoked")
        if self._authority.clock.now_ms() >= token.expires_at_ms:
            raise TokenExpired("the token has ended: medxz-cloud operator token makes another")
        return Operator(operator.operator_id, operator.name, token.token_id, token.read_only)

    async def _note(self, tx: Tx, event: str, operator_id: str, **detail: object) -> None:
        await self._authority.trail.append(tx, NO_CLINIC, Entry(event, user_id=operator_id, detail=detail))


async def _found(tx: Tx, operator: str) -> OperatorRow:
    found = await operators.find(tx, operator)
    if found is None:
        raise NotFound(
            f"there is no operator {operator!r}; `medxz-cloud operator list` shows those there are"
        )
    return found
