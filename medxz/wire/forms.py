"""What messages are made of: models that are read, models that are answered, and the forms of single values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from medxz import limits
from medxz.ids import UUID_PATTERN

Uuid = Annotated[str, Field(pattern=f"^{UUID_PATTERN}$")]
Count = Annotated[int, Field(ge=0, le=limits.INTEGER_MAX)]
Json = dict[str, Any]


class Message(BaseModel):
    """What a server reads: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Answer(BaseModel):
    """What a client reads: unknown members are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)
