"""What a command over the control socket is asked with: read strictly, and refused with the name that is not what it must be."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from medxz.errors import Invalid


class Arguments(BaseModel):
    """Those of one command."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def read(cls, arguments: dict[str, Any]) -> Self:
        """The request, or Invalid with the field that is not what it must be."""
        try:
            return cls.model_validate(arguments)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0]) if first["loc"] else None
            message = first["msg"].removeprefix("Value error, ")
            raise Invalid(f"{name}: {message}" if name else message, field=name) from None
