"""`python -m tests.powercut`: a real hub under load, killed, and what its disk had not synced lost by chance.

Ends with status 1 where anything that was acknowledged is missing, or anything is half there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from pathlib import Path

import click

from tests.powercut.cutting import Outcome, Plan, cut_often


@click.command(epilog="Example: python -m tests.powercut --cuts 20 --seed 7")
@click.option("--cuts", default=200, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Of a run before: the same moments, as far as the machine allows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; progress goes to stderr.")
@click.option("--plant", type=click.Choice(["no-sync"]), help="A mistake that must be found.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Where to keep the hub of each loss; a new directory."
)
def main(cuts: int, seed: int | None, as_json: bool, plant: str | None, keep: Path | None) -> None:
    """Cut the power of a hub often, and look whether anything is lost."""
    plan = Plan(secrets.randbelow(2**32) if seed is None else seed, cuts, plant, keep=keep)
    click.echo(f"seed {plan.seed}", err=as_json)
    outcome = asyncio.run(cut_often(plan, lambda line: click.echo(line, err=as_json)))
    click.echo(json.dumps(outcome.told()) if as_json else _shown(outcome))
    sys.exit(1 if outcome.losses else 0)


def _shown(outcome: Outcome) -> str:
    told = outcome.told()
    times = "  ".join(f"{name} {value:.2f} s" for name, value in told["serves_again_s"].items())
    moments = ", ".join(f"{moment} {count}" for moment, count in told["moments"].items())
    lost = "\n".join(f"  {loss}" for loss in outcome.losses)
    return (
        f"{outcome.cuts} power cuts ({moments}), {outcome.killed_before} of them after a kill before\n"
        f"acknowledged: {outcome.acknowledged} ops, {outcome.decisions} decisions; new epochs: {outcome.epochs_begun}\n"
        f"serves again: {times}\n"
        + (f"LOST, seed {outcome.plan.seed}:\n{lost}" if lost else "nothing acknowledged was lost")
    )


if __name__ == "__main__":
    main()
