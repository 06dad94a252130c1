"""`medxz-hub renew`: the certificate that the running hub shows, renewed now where that is due."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from hub.options import data_option, json_option, places_of
from medxz.commandline import Example
from medxz.program.outcome import tell

_BY: Final = {
    "hub": "by the hub's own CA",
    "cloud": "by the clinic's CA",
    "operator": "from the files of your own (tls_cert, tls_key)",
}


@click.command(cls=Example, example="medxz-hub renew --data /var/lib/medxz/hub")
@data_option
@json_option
def renew(data: Path, as_json: bool) -> None:
    """Renew the running hub's certificate where that is due; files of your own are read anew.

    A hub does so by itself every hour: this is for a machine whose certificates other tools bring, and to be sure. No
    connection is cut. Ends with status 3 where it is due and the cloud can't be reached.
    """
    from hub import ask

    answer = ask.ask(places_of(data).socket, "renew")
    tell(answer, as_json, _in_words(answer))


def _in_words(answer: dict[str, Any]) -> str:
    if answer["by"] is None:
        return "This hub serves without TLS: there is no certificate."
    did = "A new certificate is shown" if answer["renewed"] else "The certificate is not due"
    return f"{did}, {_BY[answer['by']]}; it is good until {answer['serves_until']}."
