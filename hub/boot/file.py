"""The card's file, `medxz-hub.toml`: what may stand in it, and everything that is wrong with it at once.

Written by people with any editor, so it is read with patience: a mark at its beginning, Windows' line ends and groups in a
code mean nothing. Refused: names that are not known (with the one that was meant), values that can't be, and settings that
need each other and come alone. A section with a mistake is left out, and the others count. No message has a secret in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hub.boot import forms
from hub.boot.lines import Problem, line_of, lines_of_keys, read_lines

FILE_BYTES_MAX: Final = 65_536
CA_BYTES_MAX: Final = 65_536
KEYS_MAX: Final = 20

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

_KINDS: Final = {
    "string_type": 'must be text in quotes, as in "Reception"',
    "bool_type": "must be true or false, without quotes",
    "list_type": 'must be a list, as in ["one", "two"]',
    "too_long": f"has more than {KEYS_MAX} entries",
}


def _formed(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CloudPart(_Section):
    """Whose hub it becomes. Without a code the page asks for one, for this cloud alone."""

    url: Annotated[str, _formed(forms.cloud_url)]
    code: Annotated[Annotated[str, _formed(forms.hub_code)] | None, Field(repr=False)] = None
    name: Annotated[str, _formed(forms.shown_name)] | None = None
    ca_file: Annotated[str, _formed(forms.file_on_card)] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.code is not None and self.name is None:
            raise ValueError('name is missing: what people call this hub, as in name = "Reception"')
        return self


class WifiPart(_Section):
    country: Annotated[str, _formed(forms.country)]
    name: Annotated[str, _formed(forms.wifi_name)]
    password: Annotated[Annotated[str, _formed(forms.wifi_password)] | None, Field(repr=False)] = None
    open: bool = False
    hidden: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.password is None and not self.open:
            raise ValueError("password is missing; for a network without one write open = true")
        if self.password is not None and self.open:
            raise ValueError("a network that is open has no password: leave one of the two out")
        return self


class NetworkPart(_Section):
    """A fixed address: of the Wi-Fi where there is a section for it, else of the cable."""

    address: Annotated[str, _formed(forms.address_with_mask)]
    router: Annotated[str, _formed(forms.address)] | None = None
    dns: Annotated[list[Annotated[str, _formed(forms.address)]], Field(max_length=KEYS_MAX)] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        forms.check_router(self.address, self.router)
        return self


class SshPart(_Section):
    enabled: bool
    keys: Annotated[list[Annotated[str, _formed(forms.ssh_key)]], Field(max_length=KEYS_MAX)] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.enabled and not self.keys:
            raise ValueError("keys is missing: the line of your .pub file. There is no login by password")
        return self


class SystemPart(_Section):
    hostname: Annotated[str, _formed(forms.hostname)] | None = None
    language: Annotated[str, _formed(forms.language)] | None = None
    time_zone: Annotated[str, _formed(forms.time_zone)] | None = None


class PagePart(_Section):
    """The page on port 80, until the box is claimed."""

    enabled: bool = True


class DataPart(_Section):
    """For a card that was put into another machine: what opens its data there."""

    recovery_key: Annotated[str, _formed(forms.recovery_key), Field(repr=False)]


class BootFile(_Section):
    """Everything that the card can say."""

    cloud: CloudPart | None = None
    wifi: WifiPart | None = None
    network: NetworkPart | None = None
    ssh: SshPart | None = None
    system: SystemPart | None = None
    page: PagePart | None = None
    data: DataPart | None = None


SECTIONS: Final = tuple(BootFile.model_fields)


@dataclass(frozen=True, slots=True)
class Checked:
    """What is right in the file, what is wrong, and the sections that were left out for it."""

    file: BootFile
    problems: tuple[Problem, ...] = ()
    left_out: frozenset[str] = frozenset()


def check_bytes(content: bytes, card: Path | None = None) -> Checked:
    """Of a whole file. `card`: the folder beside it, in which what it names has to be."""
    if len(content) > FILE_BYTES_MAX:
        return _unreadable(0, f"the file is larger than {FILE_BYTES_MAX // 1024} KiB: is it the right one?")
    if content.startswith(_UTF16_MARKS):
        return _unreadable(0, "the file is saved as UTF-16 (“Unicode”): save it as UTF-8, or as plain text")
    try:
        text = content.removeprefix(_UTF8_MARK).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unreadable(line, "there is a character that is not UTF-8: save the file as UTF-8")
    return check_text(text, card)


def check_text(text: str, card: Path | None = None) -> Checked:
    values, problems, mended = read_lines(text)
    lines = lines_of_keys(mended)
    # a section with a line that can't be read may lack what stood in it
    broken = {_section_at(problem.line, lines) for problem in problems}
    for section in broken & values.keys():
        problems += _problems_of(section, values.pop(section), lines, told=False)
    good: dict[str, Any] = {}
    for section, content in values.items():
        wrong = _problems_of(section, content, lines, told=True)
        problems += wrong
        if not wrong:
            good[section] = content
    file = BootFile.model_validate(good)
    wrong = _card_problems(file, card, lines)
    if wrong:
        file = file.model_copy(update={"cloud": None})
    left_out = frozenset(broken | (values.keys() - good.keys()) | ({"cloud"} if wrong else set()))
    return Checked(file, tuple(sorted({*problems, *wrong})), left_out & frozenset(SECTIONS))


def _unreadable(line: int, message: str) -> Checked:
    return Checked(BootFile(), (Problem(line, message),), frozenset(SECTIONS))


def _section_at(line: int, lines: Mapping[tuple[str, ...], int]) -> str:
    before = [(at, path[0]) for path, at in lines.items() if at <= line and path and len(path) == 1]
    return max(before)[1] if before else ""


def _problems_of(
    section: str, content: object, lines: dict[tuple[str, ...], int], *, told: bool
) -> list[Problem]:
    """What is wrong in one section. Not `told`: without what only seems to be missing."""
    try:
        BootFile.model_validate({section: content})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return [
            Problem(line_of(path, lines), _in_words(path, one["type"], one["msg"]))
            for one in found
            for path in [tuple(str(part) for part in one["loc"])]
            if told or (one["type"] != "missing" and len(path) > 1)
        ]
    return []


def _in_words(path: tuple[str, ...], kind: str, message: str) -> str:
    names = [part for part in path if not part.isdecimal()]
    if kind == "extra_forbidden":
        return _unknown(names)
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"{names[0]} is a section: write [{names[0]}] in a line of its own, and its settings below"
    said = "is missing" if kind == "missing" else _KINDS.get(kind, message.removeprefix("Value error, "))
    place = names[-1] if len(names) > 1 else f"[{names[0]}]"
    return f"{place}: {said}"


def _unknown(names: list[str]) -> str:
    name = names[-1]
    is_section = len(names) == 1
    known = list(SECTIONS) if is_section else _settings_of(names[0])
    what = f"[{name}] is no section" if is_section else f"{name} is no setting of [{names[0]}]"
    elsewhere = [section for section in SECTIONS if name in _settings_of(section)]
    close = get_close_matches(name, known, n=1)
    if close and not (is_section and elsewhere):
        return f"{what}; did you mean {close[0]}?"
    if elsewhere:
        return f"{name} belongs into the section [{elsewhere[0]}]: write it below that line"
    return f"{what}; there are: {', '.join(known)}"


def _settings_of(section: str) -> list[str]:
    return list(_MODELS[section].model_fields)


_MODELS: Final[dict[str, type[_Section]]] = {
    "cloud": CloudPart, "wifi": WifiPart, "network": NetworkPart, "ssh": SshPart,
    "system": SystemPart, "page": PagePart, "data": DataPart,
}  # fmt: skip


def _card_problems(file: BootFile, card: Path | None, lines: dict[tuple[str, ...], int]) -> list[Problem]:
    """Whether what the file names beside it is there."""
    if card is None or file.cloud is None or file.cloud.ca_file is None:
        return []
    try:
        read_ca(card, file.cloud.ca_file)
    except ValueError as error:
        return [Problem(line_of(("cloud", "ca_file"), lines), f"ca_file: {error}")]
    return []


def read_ca(card: Path, name: str) -> str:
    """The cloud's CA as PEM; ValueError in plain words where it can't be had."""
    try:
        content = (card / name).read_bytes()
    except OSError as error:
        raise ValueError(f"there is no readable file {name} beside this one ({error.strerror})") from None
    return forms.pem(content[:CA_BYTES_MAX], name)
