"""What a clinic decides about itself, by name, and which values are lawful. Names that are not here are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from medxz import limits
from medxz.accounts.base import PEOPLE, Authority, clinic_of
from medxz.accounts.clinics import check_name
from medxz.errors import Invalid
from medxz.store.authority import clinics, config
from medxz.store.authority.audit import Entry
from medxz.store.authority.base import Tx
from medxz.store.directory import ROUTING, ClinicConfig

_DEFAULTS: Final = ClinicConfig()
_KINDS: Final = ("hub", "cloud")
_PORT_MAX: Final = 65_535
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HUB_NAME: Final = re.compile(rf"({_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?P<port>:[1-9][0-9]{{0,4}})?")


class Config:
    """The use cases about a clinic's configuration."""

    def __init__(self, authority: Authority) -> None:
        self._authority: Final = authority

    async def get(self, clinic_id: str) -> dict[str, Any]:
        """Everything that a clinic may decide, by name, with what counts where it decided nothing."""

        async def read(tx: Tx) -> dict[str, Any]:
            clinic = await clinic_of(tx, clinic_id)
            decided = await config.everything(tx, clinic_id)
            defaults = {name: getattr(_DEFAULTS, name) for name in _CHECKS}
            told = {**defaults, **{name: value for name, value in decided.items() if name in _CHECKS}}
            told["routing"] = {role: list(kinds) for role, kinds in told["routing"].items()}
            return {"name": clinic.name, **told}

        return await self._authority.transactions.read(read)

    async def set(self, clinic_id: str, name: str, value: object, by: str | None = None) -> None:
        """Decide it; None takes the decision back. Invalid (field: the name) where the name or value is not lawful."""
        if name == "name":
            await self._rename(clinic_id, value, by)
            return
        check = _CHECKS.get(name)
        if check is None:
            raise Invalid(f"a clinic decides name, {', '.join(_CHECKS)}; not {name!r}", field=name)
        lawful = None if value is None else check(value)

        async def write(tx: Tx) -> None:
            await clinic_of(tx, clinic_id)
            await config.put(tx, clinic_id, name, lawful)
            detail = {"name": name, "value": lawful}
            await self._authority.trail.append(
                tx, clinic_id, Entry("config_changed", user_id=by, detail=detail)
            )

        await self._authority.decide(write)

    async def _rename(self, clinic_id: str, value: object, by: str | None) -> None:
        if not isinstance(value, str):
            raise Invalid("a clinic's name is a text", field="name")
        name = check_name(value, "name")

        async def write(tx: Tx) -> None:
            await clinic_of(tx, clinic_id)
            await clinics.rename(tx, clinic_id, name)
            detail = {"name": "name", "value": name}
            await self._authority.trail.append(
                tx, clinic_id, Entry("config_changed", user_id=by, detail=detail)
            )

        await self._authority.decide(write)


def _whole(name: str, least: int, most: int) -> Callable[[object], object]:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Invalid(f"{name} is a whole number, {least} to {most}", field=name)
        return value

    return check


def _flag(name: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, bool):
            raise Invalid(f"{name} is true or false", field=name)
        return value

    return check


def _routing(value: object) -> object:
    lawful = isinstance(value, dict) and all(
        role in PEOPLE
        and isinstance(kinds, list)
        and kinds
        and all(kind in _KINDS for kind in kinds)
        and len(set(kinds)) == len(kinds)
        for role, kinds in value.items()
    )
    if not isinstance(value, dict) or not lawful:
        raise Invalid('routing is {role: ["hub", "cloud"]}, in the order to try', field="routing")
    return {**{role: list(kinds) for role, kinds in ROUTING.items()}, **value}


def _hub_names(value: object) -> object:
    texts = value if isinstance(value, list) else [value]
    names = list(dict.fromkeys(text.lower().rstrip(".") if isinstance(text, str) else "" for text in texts))
    if value != texts or len(names) > limits.HUB_NAMES_MAX or not all(_is_hub_name(name) for name in names):
        raise Invalid(
            f'hub_names is a list of at most {limits.HUB_NAMES_MAX} names that lead to hubs, ["hub.clinic.example"],'
            " each with :port where that is not 8443",
            field="hub_names",
        )
    return names


def _is_hub_name(name: str) -> bool:
    found = _HUB_NAME.fullmatch(name)
    return (
        found is not None
        and len(name) <= limits.HUB_NAME_CHARS_MAX
        and int((found["port"] or ":1")[1:]) <= _PORT_MAX
    )


_CHECKS: Final[dict[str, Callable[[object], object]]] = {
    "keep_own_days": _whole("keep_own_days", 1, 3_650),
    "offline_session_hours": _whole("offline_session_hours", 0, 720),
    "require_signed_ops": _flag("require_signed_ops"),
    "routing": _routing,
    "hub_names": _hub_names,
}
