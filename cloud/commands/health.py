"""`medxz-cloud health`: what can be wrong with a cloud, looked into one by one, running or not."""

from __future__ import annotations

import asyncio
import os

import click

from cloud.options import At, at_cloud
from medxz.commandline import DONE, FAILED, Example


@click.command(cls=Example, example="medxz-cloud health --data /var/lib/medxz-cloud")
@at_cloud
@click.pass_context
def health(context: click.Context, at: At) -> None:
    """Look into settings, key, database, clinics, certificates and disk; each thing that is wrong says what to do.

    Ends with status 1 when something is wrong.
    """
    from cloud.examine import examine
    from medxz.program.finding import lines_of

    findings = asyncio.run(examine(at.settings, os.environ))
    well = all(finding.ok for finding in findings)
    at.tell({"ok": well, "checks": [finding.told() for finding in findings]}, lines_of(findings))
    context.exit(DONE if well else FAILED)
