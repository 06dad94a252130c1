"""What can be wrong with a cloud, looked into one by one: each finding says what to do.

It looks at the files and the database itself, and changes nothing: a cloud may run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from cloud.store import CloudStore, open_store
from medxz.clock import SystemClock
from medxz.errors import ConfigurationError, MedxzError
from medxz.ids import RandomIds
from medxz.program.finding import Finding, find_directory, find_key, find_space
from medxz.store.authority import clinics
from medxz.trust.certificates import Credential, needs_renewal

if TYPE_CHECKING:
    from cloud.config import CloudPlaces, Settings
    from medxz.store.authority.base import Tx
    from medxz.store.authority.clinics import Certificate, Clinic

_RESTORE: Final = "stop the cloud, keep a copy of its files and its key, and restore a backup"
_INIT: Final = "medxz-cloud init --data DIR --clinic NAME --site NAME --admin-email E --admin-password-file F"


async def examine(settings: Callable[[], Settings], environ: Mapping[str, str]) -> list[Finding]:
    """Every finding, in the order in which a cloud needs the things to be well."""
    try:
        found = settings()
    except ConfigurationError as error:
        detail, hint = "; ".join(error.problems), "mend them: docs/configuration.md"
        return [Finding("settings", ok=False, detail=detail, hint=hint)]
    places = found.places
    findings = [
        Finding("settings", ok=True, detail="every one is known and fits"),
        find_directory(places, _INIT),
        find_key(places, environ),
        find_space(places, "cloud"),
        _running(places),
    ]
    try:
        async with open_store(found, environ, SystemClock(), RandomIds()) as store:
            findings += await _store(store)
    except MedxzError as error:
        hint = error.hint or _RESTORE
        findings.append(Finding("database", ok=False, detail=str(error), hint=hint))
    return findings


def _running(places: CloudPlaces) -> Finding:
    try:
        url = places.url_file.read_text("utf-8").strip()
    except OSError:
        return Finding("cloud", ok=True, detail="does not run here")
    return Finding("cloud", ok=True, detail=f"runs at {url}, or was ended without warning")


async def _store(store: CloudStore) -> list[Finding]:
    held = await store.transactions.read(clinics.everyone)
    place, server = store.transactions.place, store.server
    return [
        Finding("database", ok=True, detail=f"{place}: server {server.server_id}, epoch {server.epoch}"),
        Finding("clinics", ok=bool(held), detail=f"{len(held)} of them", hint="" if held else _INIT),
        *[await _certificates(store, clinic) for clinic in held],
    ]


async def _certificates(store: CloudStore, clinic: Clinic) -> Finding:
    """The newest intermediate is the one that works."""

    async def read(tx: Tx) -> list[Certificate]:
        return await clinics.certificates(tx, clinic.clinic_id)

    name = f"CA of {clinic.clinic_id}"
    working = [held for held in await store.transactions.read(read) if held.kind == "intermediate"]
    if not working:
        return Finding(name, ok=False, detail="there is no intermediate certificate", hint=_RESTORE)
    certificate = Credential(working[-1].pem.encode(), b"").certificate
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    if needs_renewal(certificate, SystemClock().now_ms()):
        hint = f"medxz-cloud ca import-root --clinic {clinic.clinic_id} --in FILE, with the root's key from its safe"
        return Finding(name, ok=False, detail=f"its intermediate ends on {until}", hint=hint)
    return Finding(name, ok=True, detail=f"its intermediate lasts until {until}")
