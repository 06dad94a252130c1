"""Pairing codes: how they look, what is kept of them, and who may make them.

A code is letters and digits of which none is taken for another, 8 for a device (ten minutes) and 20 for a hub (thirty
days). The store has a keyed hash: who reads the database can't try codes against it. Refused: a code for a site that the
clinic does not have, a scope for a hub, a hub to replace that is not the clinic's, a life longer than its kind's; to a hub
that asks, anything but a code for a device of its own site.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
from dataclasses import dataclass
from typing import Final, TypedDict, Unpack

from medxz.accounts.base import DAY_MS, MINUTE_MS, Authority, clinic_of, site_of
from medxz.accounts.clinic_cas import root_fingerprint
from medxz.accounts.clinics import check_name
from medxz.accounts.lockout import budget_of_codes, clear
from medxz.clock import format_time
from medxz.errors import Forbidden, Invalid, StoreError
from medxz.scope import Scope
from medxz.service.gate import Caller, require
from medxz.store.authority import codes, hubs
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.authority.codes import CodeKind, CodeRow
from medxz.store.authority.secrets import get_server
from medxz.wire import CodeAnswer, CodeRequest

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CHARS: Final[dict[CodeKind, int]] = {"device": 8, "hub": 20}
LIFE_MS: Final[dict[CodeKind, int]] = {"device": 10 * MINUTE_MS, "hub": 30 * DAY_MS}
CODES_MAX: Final = 1_000
SECRET: Final = "code_key"  # noqa: S105  the name of a secret, not one

_GROUP: Final = 4


@dataclass(frozen=True, slots=True)
class NewCode:
    """`url` is the text of its QR code, `fp` the fingerprint of the clinic's root."""

    code: str
    expires_at_ms: int
    url: str
    fp: str

    @property
    def printed(self) -> str:
        return printed(self.code)

    def told(self) -> CodeAnswer:
        return CodeAnswer(
            code=self.code, expires_at=format_time(self.expires_at_ms), url=self.url, fp=self.fp
        )


class Wanted(TypedDict, total=False):
    """What a code may be beside its kind and its site; and the person or the hub that it is made by."""

    scope: Scope | None
    expires_ms: int | None
    count: int
    replaces: str | None
    device_name: str | None
    made_by: str | None
    hub_id: str | None


class Codes:
    """The use cases about pairing codes."""

    def __init__(self, authority: Authority, public_url: str) -> None:
        """`public_url`: where devices and hubs reach this server, `https://host:port`."""
        self._authority: Final = authority
        self._public_url: Final = public_url.rstrip("/")

    async def make_for(self, caller: Caller, request: CodeRequest) -> CodeAnswer:
        """One, for an administrator, or for a hub where somebody stands with a tablet."""
        require(caller, "hub_or_admin")
        site, made_by = request.site, caller.user_id if caller.hub_id is None else None
        if caller.hub_id is not None:
            own = caller.site_id
            if request.kind != "device" or site not in {own, caller.known.directory.sites.get(own)}:
                raise Forbidden("a hub asks for codes for devices of its own site alone")
            site = own
        [made] = await self.make(
            caller.clinic_id, request.kind, site, scope=request.scope, replaces=request.replaces,
            device_name=request.name, made_by=made_by, hub_id=caller.hub_id,
        )  # fmt: skip
        return made.told()

    async def make(
        self, clinic_id: str, kind: CodeKind, site: str, **wanted: Unpack[Wanted]
    ) -> list[NewCode]:
        """So many codes for a site (its name or id). Invalid names the field that is not lawful."""
        count, replaces = wanted.get("count", 1), wanted.get("replaces")
        scope, life_ms = wanted.get("scope"), _life_ms(kind, wanted)
        name = wanted.get("device_name")
        named = check_name(name, "name") if name is not None else None

        async def make(tx: Tx) -> list[NewCode]:
            await clinic_of(tx, clinic_id)
            now_ms = self._authority.clock.now_ms()
            row = CodeRow(
                kind=kind,
                site_id=(await site_of(tx, clinic_id, site)).site_id,
                scope=(scope or "full") if kind == "device" else None,
                replaces=replaces,
                made_by=wanted.get("made_by"),
                made_at_ms=now_ms,
                expires_at_ms=now_ms + life_ms,
                device_name=named,
            )
            if replaces is not None and await hubs.get(tx, clinic_id, replaces) is None:
                raise Invalid("the clinic has no hub of that id to replace", field="replaces")
            made = [await self._add(tx, clinic_id, row) for _ in range(count)]
            await clear(tx, budget_of_codes(clinic_id))
            await self._note(tx, clinic_id, row, count, wanted.get("hub_id"))
            return made

        return await self._authority.decide(make)

    async def _note(self, tx: Tx, clinic_id: str, row: CodeRow, count: int, hub_id: str | None) -> None:
        detail = {
            "for": row.kind,
            "site_id": row.site_id,
            "scope": row.scope,
            "count": count,
            "replaces": row.replaces,
        }
        entry = Entry("code_made", user_id=row.made_by, hub_id=hub_id, detail=detail)
        await self._authority.trail.append(tx, clinic_id, entry)

    async def _add(self, tx: Tx, clinic_id: str, row: CodeRow) -> NewCode:
        while True:
            code = "".join(randomness.choice(ALPHABET) for _ in range(CHARS[row.kind]))
            if await codes.add(tx, clinic_id, await hash_of(tx, self._authority, code), row):
                fp = await root_fingerprint(tx, clinic_id)
                return NewCode(code, row.expires_at_ms, f"{self._public_url}/#c={code}&fp={fp}", fp)


def _life_ms(kind: CodeKind, wanted: Wanted) -> int:
    """How long it lasts; Invalid where what is wanted does not fit its kind."""
    if kind == "hub" and wanted.get("scope") is not None:
        raise Invalid("a hub has no scope", field="scope")
    if kind == "hub" and wanted.get("device_name") is not None:
        raise Invalid("a hub is named where it is claimed", field="name")
    if kind == "device" and wanted.get("replaces") is not None:
        raise Invalid("a code for a device replaces no hub", field="replaces")
    expires_ms = wanted.get("expires_ms")
    life_ms = LIFE_MS[kind] if expires_ms is None else expires_ms
    if not MINUTE_MS <= life_ms <= max(LIFE_MS[kind], DAY_MS):
        raise Invalid("a device's code lasts a day at most, a hub's thirty", field="expires")
    if not 1 <= wanted.get("count", 1) <= CODES_MAX:
        raise Invalid(f"one to {CODES_MAX} codes at once", field="count")
    return life_ms


def printed(code: str) -> str:
    """In groups of four, as it is printed and read out."""
    return "-".join(code[begin : begin + _GROUP] for begin in range(0, len(code), _GROUP))


def plain(typed: str) -> str:
    """A code as it was made, out of one as it was typed: groups, spaces and case mean nothing."""
    return "".join(letter for letter in typed.upper() if letter.isalnum())


async def hash_of(tx: Tx, authority: Authority, typed: str) -> bytes:
    """What the store knows a code by."""
    key = await get_server(tx, authority.seal, SECRET)
    if key is None:
        raise StoreError("the server was not made to its end: run `medxz-cloud init`")
    return hmac.digest(key, plain(typed).encode(), hashlib.sha256)
