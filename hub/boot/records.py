"""What the parts of a first boot leave for each other in files: whom to be claimed by, what was found on the card, how far
the claim is. Read strictly; what can't be read counts as not there, since the next start writes it anew.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub.boot.lines import Problem

RECORD_BYTES_MAX: Final = 262_144

Phase = Literal["no_code", "trying", "waiting", "refused", "claimed"]


class Record(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, file: Path) -> Self | None:
        try:
            with file.open("rb") as stream:
                return cls.model_validate_json(stream.read(RECORD_BYTES_MAX))
        except (OSError, ValidationError):
            return None

    def write(self, file: Path, mode: int = 0o600) -> None:
        write_whole(file, self.model_dump_json().encode() + b"\n", mode)


class ClaimOrder(Record):
    """Whom the box is to be claimed by; None where nobody has said it."""

    cloud_url: str | None = None
    code: str | None = Field(None, repr=False)
    name: str | None = None
    cloud_ca: str | None = None

    @property
    def is_whole(self) -> bool:
        return None not in (self.cloud_url, self.code, self.name)


class Found(Record):
    """What was on the card. It has no secret in it: anybody on the box may read it.

    `kept`: the sections for which an earlier start's settings serve, because the card's can't be used.
    """

    has_card: bool = False
    has_file: bool = False
    misnamed: str | None = None
    problems: tuple[tuple[int, str], ...] = ()
    kept: tuple[str, ...] = ()
    wifi: str | None = None
    address: str | None = None
    has_ssh: bool = False
    has_page: bool = True
    opened_by: str | None = None

    def lines(self) -> list[str]:
        return [str(Problem(line, message)) for line, message in self.problems]


class State(Record):
    """How far the claim is. `detail` and `hint` are for people; no secret is in them."""

    phase: Phase = "no_code"
    detail: str = ""
    hint: str = ""
    cloud_url: str | None = None
    attempts: int = 0
    host: str | None = None
    addresses: tuple[str, ...] = ()
    port: int | None = None
    hub_id: str | None = None
    clinic_id: str | None = None
    site_id: str | None = None


def write_whole(file: Path, content: bytes, mode: int) -> None:
    """The whole file or the one before it, whenever the power goes; never open wider than `mode`, not for a moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
