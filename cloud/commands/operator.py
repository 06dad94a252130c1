"""`medxz-cloud operator …`: who may read and steer the fleet, across clinics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloud.commands.device import Span
from cloud.options import At, at_cloud
from medxz import limits
from medxz.clock import format_time
from medxz.commandline import Example, Examples, Uuid
from medxz.program.listing import cursor_option, limit_option, more_text, page, table

if TYPE_CHECKING:
    from cloud.fleet.operators import Operators
    from cloud.office import Office

_DAY_S = 86_400
operator_option = click.option("--operator", "who", required=True, help="The operator's name or id.")


@click.group(cls=Examples, example="medxz-cloud operator add --data /var/lib/medxz-cloud --name Ada")
def operator() -> None:
    """Operators: they read and steer the fleet of all clinics, and see nothing of any patient."""


@operator.command(
    cls=Example, example="medxz-cloud operator add --data /var/lib/medxz-cloud --name Ada --json"
)
@at_cloud
@click.option("--name", required=True, help="What they are called; a playbook may be one too.")
def add(at: At, name: str) -> None:
    """A new operator. Who has a token of theirs is one: `operator token` makes it."""
    operator_id = at.run(lambda office: _operators(office).add(name))
    at.tell({"operator_id": operator_id}, f"{name} is an operator: {operator_id}")


@operator.command(
    cls=Example,
    example="medxz-cloud operator token --data /var/lib/medxz-cloud --operator Ada --expires 30d --json",
)
@at_cloud
@operator_option
@click.option("--expires", type=Span(), help="How long it is good, in whole days: 30d. [default: 365d]")
@click.option("--read-only", is_flag=True, help="It reads the fleet and decides nothing: for an inventory.")
def token(at: At, who: str, expires: int | None, read_only: bool) -> None:
    """A token for /v1/fleet. It is shown this once; whoever has it is that operator until it ends or is revoked."""
    days = limits.OPERATOR_TOKEN_DAYS if expires is None else -(-expires // _DAY_S)
    if days > limits.OPERATOR_TOKEN_DAYS_MAX:
        raise click.UsageError(f"--expires is at most {limits.OPERATOR_TOKEN_DAYS_MAX}d")
    text, row = at.run(lambda office: _operators(office).token(who, days, read_only=read_only))
    ends = format_time(row.expires_at_ms)
    told = {
        "access_token": text,
        "token_id": row.token_id,
        "operator_id": row.operator_id,
        "expires_at": ends,
        "read_only": row.read_only,
    }
    at.tell(told, f"{text}\nIt is good until {ends}, and is not shown again.")


@operator.command("list", cls=Example, example="medxz-cloud operator list --data /var/lib/medxz-cloud --json")
@at_cloud
@limit_option
@cursor_option
def list_operators(at: At, limit: int, cursor: str | None) -> None:
    """Every operator, and the tokens that are not over: never their text."""

    async def act(office: Office) -> list[dict[str, Any]]:
        found, tokens = await _operators(office).list()
        now_ms = office.store.authority.clock.now_ms()
        return [
            {
                "operator_id": row.operator_id,
                "name": row.name,
                "disabled": row.disabled,
                "tokens": [
                    {
                        "token_id": token.token_id,
                        "expires_at": format_time(token.expires_at_ms),
                        "read_only": token.read_only,
                    }
                    for token in tokens
                    if token.operator_id == row.operator_id
                    and not token.revoked
                    and token.expires_at_ms > now_ms
                ],
            }
            for row in found
        ]

    answer = page("operators", at.run(act), "operator_id", limit, cursor)
    rows = [row | {"tokens": len(row["tokens"])} for row in answer["operators"]]
    at.tell(answer, table(rows, "operator_id", "name", "disabled", "tokens") + more_text(answer))


@operator.command(
    cls=Example, example="medxz-cloud operator disable --data /var/lib/medxz-cloud --operator Ada"
)
@at_cloud
@operator_option
@click.option("--undo", is_flag=True, help="Let them have tokens again.")
def disable(at: At, who: str, undo: bool) -> None:
    """Shut an operator out at once, with every token."""
    at.run(lambda office: _operators(office).disable(who, disabled=not undo))
    at.tell({"disabled": not undo}, f"{who} may have tokens again." if undo else f"{who} is shut out.")


@operator.command(
    cls=Example,
    example="medxz-cloud operator revoke --data /var/lib/medxz-cloud --token 0199d0a2-7c4e-7b0e-a1c5-0b1d9f3f5a10",
)
@at_cloud
@click.option("--token", "token_id", type=Uuid(), required=True, help="Its token_id, as `list` tells it.")
def revoke(at: At, token_id: str) -> None:
    """End one token, at once."""
    at.run(lambda office: _operators(office).revoke(token_id))
    at.tell({"revoked": True}, f"The token {token_id} is over.")


def _operators(office: Office) -> Operators:
    from cloud.fleet.operators import Operators

    return Operators(office.store.authority)
