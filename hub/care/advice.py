"""What to do about each check of a hub that is not well: a line that a clinic's IT can act on."""

from __future__ import annotations

from typing import Final

_ADVICE: Final = {
    "writer": "wait a minute; if it stays so, restart the hub and look at its disk",
    "disk": "make room: old backups, or files in the hub's `damaged`, may go as docs/recovery.md says; or take a larger disk",
    "integrity": "the hub mends itself: docs/recovery.md; take a new card or disk when you are there",
    "views": "report this fault; syncing goes on",
    "recovery": "wait until it has filled again; take a new card or disk when you are there: docs/recovery.md",
    "clock": "let the hub reach its cloud or a time server once; take a clock module with a battery",
    "mdns": "give the hub another address or name, or list it in hub_names: docs/lan.md",
    "neighbours": "see whether the site's other hub is on, and in the same network: docs/lan.md",
    "wear": "replace the card soon: docs/runbooks/replace-a-hub.md",
    "temperature": "give it air: away from the sun and other devices, no closed cupboard; clean or add a fan",
    "memory": "stop what else runs on the box; restart the hub at a quiet time",
    "wal": "nothing at first: it is copied by itself; if it stays so, restart the hub at a quiet time",
    "certificate": "run `medxz-hub renew`; the hub must reach its cloud once",
    "backup": "make one that leaves the box: medxz-hub backup --to FOLDER; its key: --show-recovery-key (docs/backup.md)",
    "courier": "send a stick: medxz-hub export --to FOLDER (docs/courier.md); or see why the hub does not reach its cloud",
    "parts": "it was begun again by itself; if that happens again, report what the hub's log says of it",
}


def advice_for(check: str) -> str:
    return _ADVICE.get(check, "see the hub's log, and docs/self-care.md")
