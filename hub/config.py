"""The hub's settings: read once, from every source, into one frozen model.

Rising in precedence: `<DIR>/hub.toml` (or --config), the environment (`MEDXZ_HUB_*`), systemd credentials
(`medxz-hub.*`), flags. Refused, all problems together and each with where it came from: names that are not
settings, values that are not theirs, and settings that contradict each other. docs/configuration.md lists them.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from medxz import limits
from medxz.errors import ConfigurationError

ENV_PREFIX: Final = "MEDXZ_HUB_"
CREDENTIAL_PREFIX: Final = "medxz-hub."
CONFIG_BYTES_MAX: Final = 64 * limits.KIB
PORT_DEFAULT: Final = 8443

LogLevel = Literal["debug", "info", "warning", "error"]


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic turns a ValueError into a problem
    return value


Number = Annotated[int, BeforeValidator(_no_truth)]
AnyPath = Annotated[Path, BeforeValidator(lambda value: value if value != "" else None)]


class Settings(BaseModel):
    """Everything that an operator may set. A description here is the one in docs/configuration.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: AnyPath = Field(description="the hub's directory; `medxz-hub init` makes it")
    host: str | None = Field(
        None,
        min_length=1,
        description="address to serve on; unset: every interface, and loopback alone with `plain_http`",
    )
    port: Number = Field(PORT_DEFAULT, ge=0, le=65_535, description="port to serve on; 0: a free one")
    plain_http: bool = Field(False, description="serve without TLS; refused on any address but loopback")
    mdns: bool = Field(True, description="make the hub known on the LAN; understood, without effect so far")
    key_file: AnyPath | None = Field(
        None, description="the key of the store, outside the directory; unset: `<DIR>.key`"
    )
    tls_cert: AnyPath | None = Field(
        None, description="a PEM certificate chain to serve with; unset: one by the hub's own CA"
    )
    tls_key: AnyPath | None = Field(None, description="the PEM key of `tls_cert`; the two come together")
    log_level: LogLevel = Field("info", description="`debug`, `info`, `warning` or `error`")
    keep_own_days: Number = Field(
        limits.KEEP_OWN_DAYS,
        ge=1,
        le=3_650,
        description="days for which a device keeps its own ops in any case",
    )
    offline_session_hours: Number = Field(
        limits.OFFLINE_SESSION_HOURS,
        ge=0,
        le=8_760,
        description="hours for which a session goes on while the cloud can't be reached",
    )
    require_signed_ops: bool = Field(False, description="refuse ops without a signature")
    requests_per_s: Number = Field(
        limits.REQUESTS_PER_S,
        ge=1,
        le=1_000_000,
        description="requests a second of one device; twice that at once",
    )
    ops_per_s: Number = Field(
        limits.OPS_PER_S,
        ge=1,
        le=10_000_000,
        description="ops a second that one device may push; twice that at once",
    )

    @property
    def bind_host(self) -> str:
        if self.host is not None:
            return self.host
        return "127.0.0.1" if self.plain_http else "0.0.0.0"  # noqa: S104  serving the LAN is what a hub is for

    @property
    def places(self) -> Places:
        return Places(self.data, self.key_file)


class Places:
    """Where the files of a hub lie: the store inside its directory, key and socket beside it."""

    def __init__(self, data: Path, key_file: Path | None = None) -> None:
        self.data = Path(os.path.normpath(data.absolute()))
        self.key_file = self._beside(".key") if key_file is None else key_file.absolute()

    @property
    def store(self) -> Path:
        return self.data / "hub.db"

    @property
    def views(self) -> Path:
        """What can be made anew from the store."""
        return self.data / "views.db"

    @property
    def lock(self) -> Path:
        return self.data / "hub.lock"

    @property
    def socket(self) -> Path:
        return self._beside(".sock")

    def _beside(self, ending: str) -> Path:
        return self.data.with_name(self.data.name + ending)


# their credential is the file itself, in place of a text that names one
_FILES: Final = frozenset({"key_file", "tls_cert", "tls_key"})


@dataclass(frozen=True, slots=True)
class _Value:
    value: object
    where: str


@dataclass(slots=True)
class _Reading:
    """What was read so far; a later source replaces an earlier one's value."""

    values: dict[str, _Value] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, name: str, value: object, where: str) -> None:
        if name in Settings.model_fields:
            self.values[name] = _Value(value, where)
        else:
            near = get_close_matches(name, Settings.model_fields, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.problems.append(f"{name}: there is no such setting (from {where}){meant}")

    def said(self, name: str) -> str:
        """How a setting reads in a problem: its name, its value, where that came from."""
        if name not in self.values:
            return name
        given = self.values[name]
        return f"{name} = {given.value!s} (from {given.where})"


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None = None
) -> Settings:
    """The settings out of every source; ConfigurationError with all problems at once.

    `flags` holds those that were given, by the names of the settings.
    """
    above = _Reading()
    _read_environment(above, environ)
    _read_credentials(above, environ)
    for name, value in flags.items():
        above.take(name, value, "--" + name.replace("_", "-"))
    reading = _Reading()
    file = config or _default_file(above)
    if file is not None:
        _read_file(reading, file)
    reading.values |= above.values
    reading.problems += above.problems
    settings = _validated(reading)
    reading.problems += _contradictions(settings, reading)
    if reading.problems:
        raise ConfigurationError(reading.problems)
    return settings


def _default_file(above: _Reading) -> Path | None:
    data = above.values.get("data")
    file = Path(str(data.value)) / "hub.toml" if data is not None else None
    return file if file is not None and file.exists() else None


def _read_file(reading: _Reading, file: Path) -> None:
    try:
        with file.open("rb") as opened:
            text = opened.read(CONFIG_BYTES_MAX + 1)
        if len(text) > CONFIG_BYTES_MAX:
            raise ValueError(f"longer than {CONFIG_BYTES_MAX} bytes")  # noqa: TRY301  told like the others
        table = tomllib.loads(text.decode())
    except OSError as error:
        reading.problems.append(f"{file}: {error.strerror}")
        return
    except ValueError as error:
        reading.problems.append(f"{file}: not TOML: {error}")
        return
    for name, value in table.items():
        relative = isinstance(value, str) and value and (name in _FILES or name == "data")
        reading.take(name, str(file.absolute().parent / value) if relative else value, str(file))


def _read_environment(reading: _Reading, environ: Mapping[str, str]) -> None:
    for variable, value in sorted(environ.items()):
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        if variable == variable.upper():
            reading.take(variable.removeprefix(ENV_PREFIX).lower(), value, variable)
        else:  # somebody believes it to be read
            reading.problems.append(f"{variable}: a variable is written in capitals: {variable.upper()}")


def _read_credentials(reading: _Reading, environ: Mapping[str, str]) -> None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return
    try:
        files = sorted(Path(folder).iterdir())
    except OSError as error:
        reading.problems.append(f"{folder}: {error.strerror} (from CREDENTIALS_DIRECTORY)")
        return
    for file in files:
        if not file.name.startswith(CREDENTIAL_PREFIX):
            continue
        name = file.name.removeprefix(CREDENTIAL_PREFIX)
        where = f"the credential {file.name}"
        if name in _FILES or name not in Settings.model_fields:
            reading.take(name, str(file), where)
            continue
        try:
            reading.take(name, file.read_bytes()[:CONFIG_BYTES_MAX].decode().strip(), where)
        except (OSError, UnicodeDecodeError) as error:
            reading.problems.append(f"{name}: can't be read (from {where}): {error}")


def _validated(reading: _Reading) -> Settings:
    """The model, without the values that don't fit it: their problems are noted, and the rest is checked further."""
    good = {name: given.value for name, given in reading.values.items()}
    try:
        return Settings.model_validate(good)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0])
            reading.problems.append(_problem(reading, name, problem["type"], problem["msg"]))
            good.pop(name, None)
    return Settings.model_validate({"data": "unknown", **good})


def _problem(reading: _Reading, name: str, kind: str, message: str) -> str:
    if kind == "missing":
        flag = "--" + name.replace("_", "-")
        return f"{name}: is missing; give {flag} or set {ENV_PREFIX}{name.upper()}"
    return f"{reading.said(name)}: {message.removeprefix('Value error, ')}"


def _contradictions(settings: Settings, reading: _Reading) -> Iterator[str]:
    if settings.plain_http and not is_loopback(settings.bind_host):
        yield (
            f"{reading.said('plain_http')}: refused with {reading.said('host')}; "
            "without TLS the hub serves 127.0.0.1, ::1 or localhost alone"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, lacking = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        yield f"{reading.said(given)}: needs {lacking} too"
    elif settings.tls_cert is not None and settings.plain_http:
        yield f"{reading.said('tls_cert')}: contradicts {reading.said('plain_http')}"
    for name in ("tls_cert", "tls_key"):
        file: Path | None = getattr(settings, name)
        if file is not None and not file.is_file():
            yield f"{reading.said(name)}: there is no such file"
    if not settings.data.absolute().name:
        yield f"{reading.said('data')}: is no directory that has others beside it"
        return
    places = settings.places
    if places.key_file.resolve().is_relative_to(places.data.resolve()):
        yield f"{reading.said('key_file')}: must lie outside {places.data}, or who takes the data has the key"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; no name but localhost is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
