"""Whether one op may be stored, and under which code not: identity, provenance and the author's role.

Judged from memory. What only the log can know, an id or a number used twice, is decided in its transaction. The
author's roles count, not those of whoever is logged in when the op is pushed. An op that a hub has acknowledged is
refused for four reasons alone; anything else that this server knows better is marked for review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medxz.op import Operation, signature_holds
from medxz.roles import writable
from medxz.service.gate import Caller
from medxz.store.directory import Directory


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an op is not simply stored. `final` is false where offering it again later may help."""

    code: str
    message: str
    final: bool = True


class Judge:
    """Judges the ops of one caller's push by what the registry knows now."""

    def __init__(self, caller: Caller, directory: Directory, *, require_signed_ops: bool) -> None:
        self._caller: Final = caller
        self._directory: Final = directory
        self._require_signed_ops: Final = require_signed_ops
        self._lawful: set[tuple[str, str, str]] = set()

    def passes_all(self, ops: Sequence[Operation]) -> bool:
        """Whether all of these may be stored, by one look at what they have in common. False: `judge` each."""
        kinds = {
            (op.clinic_id, op.device_id, op.user_id, op.entity_type, op.hash, op.signature) for op in ops
        }
        caller = self._caller
        return not self._require_signed_ops and all(
            clinic_id == caller.clinic_id
            and self._hands_in_for(device_id)
            and hash_ is None
            and signature is None
            and self._judge_author(device_id, user_id, entity_type) is None
            for clinic_id, device_id, user_id, entity_type, hash_, signature in kinds
        )

    def judge(self, op: Operation) -> Verdict | None:
        """None where the op may be stored."""
        caller = self._caller
        if op.clinic_id != caller.clinic_id:
            return Verdict("wrong_clinic", "the op belongs to another clinic than the token")
        if not self._hands_in_for(op.device_id):
            return Verdict("wrong_device", "the op was made by another device than the token's")
        if op.hash is not None and op.hash != op.digest().hex():
            return Verdict("bad_hash", "the hash is not that of this op")
        provenance = (op.device_id, op.user_id, op.entity_type)
        if provenance not in self._lawful:
            verdict = self._judge_author(*provenance)
            if verdict is not None:
                return verdict
            self._lawful.add(provenance)
        if op.signature is not None:
            return self._judge_signature(op, op.signature)
        if self._require_signed_ops:
            return Verdict(
                "bad_signature", "this clinic requires signed operations, and this one is not signed"
            )
        return None

    def _hands_in_for(self, device_id: str) -> bool:
        """A device for itself, a hub for whoever is at it."""
        return device_id == self._caller.device_id or self._caller.hub_id is not None

    def _judge_author(self, device_id: str, user_id: str, entity_type: str) -> Verdict | None:
        device = self._directory.devices.get(device_id)
        user = self._directory.users.get(user_id)
        if device is None or user is None or user_id not in device.authors:
            return Verdict(
                "unknown_author", "no session of this author on this device is known here yet", final=False
            )
        if user.disabled:
            return Verdict("forbidden", "the author was disabled")
        if device.revoked:
            return Verdict("forbidden", "the device was revoked")
        if entity_type not in writable(user.roles):
            return Verdict("forbidden", f"the author's roles do not write {entity_type}")
        return None

    def _judge_signature(self, op: Operation, signature: str) -> Verdict | None:
        device = self._directory.devices.get(op.device_id)
        keys = device.public_keys if device is not None else ()
        if not keys:
            return Verdict("unknown_key", "no key of this device is known here yet", final=False)
        digest = op.digest()
        if any(signature_holds(digest, signature, key) for key in keys):
            return None
        return Verdict("bad_signature", "the signature is by none of this device's keys")
