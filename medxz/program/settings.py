"""A program's settings: read once, from every source, into one frozen model.

Rising in precedence: `<DIR>/hub.toml` (or --config), the environment (`MEDXZ_HUB_*`), systemd credentials
(`medxz-hub.*`), flags; the cloud's are called alike. Refused, all problems together and each with where it came from:
names that are not settings, values that are not theirs, and settings that contradict each other.
docs/configuration.md lists them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from medxz import limits
from medxz.errors import ConfigurationError
from medxz.loopback import is_loopback
from medxz.program.origins import Origins
from medxz.program.places import Places

CONFIG_BYTES_MAX: Final = 64 * limits.KIB
PORT_DEFAULT: Final = 8443
EVERY_INTERFACE: Final = "::"  # IPv4 too
EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104  serving others is what a server is for

LogLevel = Literal["debug", "info", "warning", "error"]


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic turns a ValueError into a problem
    return value


Number = Annotated[int, BeforeValidator(_no_truth)]
AnyPath = Annotated[Path, BeforeValidator(lambda value: value if value != "" else None)]
# how a setting reads in a problem: its name, its value, where that came from
Said = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Packaged:
    """The one directory that the package serves, and the file with its settings, which stands where an admin looks."""

    data: Path
    config: Path


@dataclass(frozen=True, slots=True)
class Program:
    """How a program is called, and with it its sources."""

    name: str
    noun: str
    packaged: Packaged | None = None

    @property
    def env_prefix(self) -> str:
        return self.name.upper().replace("-", "_") + "_"

    @property
    def credential_prefix(self) -> str:
        return self.name + "."

    @property
    def config_name(self) -> str:
        return self.noun + ".toml"


class ServerSettings(BaseModel):
    """What an operator may set of any server. A description here is the one in docs/configuration.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    PROGRAM: ClassVar[Program]
    # their credential is the file itself, in place of a text that names one
    FILES: ClassVar[frozenset[str]] = frozenset({"key_file", "tls_cert", "tls_key"})
    # whose values are not told in a problem
    SECRETS: ClassVar[frozenset[str]] = frozenset()
    # flags that are called otherwise than their settings
    FLAGS: ClassVar[Mapping[str, str]] = {"cors_origins": "--cors-origin"}

    @classmethod
    def flag(cls, name: str) -> str:
        return cls.FLAGS.get(name, "--" + name.replace("_", "-"))

    data: AnyPath = Field(description="the program's directory; its `init` makes it")
    host: str | None = Field(
        None,
        min_length=1,
        description="address to serve on; unset: every interface by IPv6 and IPv4, and 127.0.0.1 with `plain_http`",
    )
    port: Number = Field(PORT_DEFAULT, ge=0, le=65_535, description="port to serve on; 0: a free one")
    plain_http: bool = Field(False, description="serve without TLS; refused on any address but loopback")
    key_file: AnyPath | None = Field(
        None, description="the key of the store, outside the directory; unset: `<DIR>.key`"
    )
    tls_cert: AnyPath | None = Field(
        None, description="a PEM certificate chain to serve with; unset: one by the server's own CA"
    )
    tls_key: AnyPath | None = Field(None, description="the PEM key of `tls_cert`; the two come together")
    log_level: LogLevel = Field("info", description="`debug`, `info`, `warning` or `error`")
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

    cors_origins: Origins = Field(
        (), description="origins whose pages may ask, exactly as a browser sends them; unset: none"
    )

    @property
    def bind_host(self) -> str:
        if self.host is not None:
            return self.host
        return "127.0.0.1" if self.plain_http else EVERY_INTERFACE

    @property
    def places(self) -> Places:
        return Places(self.data, self.key_file)

    def contradictions(self, said: Said) -> Iterator[str]:
        """What can't hold together, each as a problem."""
        if self.plain_http and not is_loopback(self.bind_host):
            yield (
                f"{said('plain_http')}: refused with {said('host')}; "
                f"without TLS the {self.PROGRAM.noun} serves 127.0.0.1, ::1 or localhost alone"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            given, lacking = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            yield f"{said(given)}: needs {lacking} too"
        elif self.tls_cert is not None and self.plain_http:
            yield f"{said('tls_cert')}: contradicts {said('plain_http')}"
        for name in ("tls_cert", "tls_key"):
            file: Path | None = getattr(self, name)
            if file is not None and not file.is_file():
                yield f"{said(name)}: there is no such file"
        if not self.data.absolute().name:
            yield f"{said('data')}: is no directory that has others beside it"
            return
        places = self.places
        if places.key_file.resolve().is_relative_to(places.data.resolve()):
            yield f"{said('key_file')}: must lie outside {places.data}, or who takes the data has the key"


S = TypeVar("S", bound=ServerSettings)


def load_settings(
    model: type[S], flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None = None
) -> S:
    """The settings out of every source; ConfigurationError with all problems at once.

    `flags` holds those that were given, by the names of the settings.
    """
    above = _Reading(model)
    above.take_environment(environ)
    above.take_credentials(environ)
    for name, value in flags.items():
        above.take(name, value, model.flag(name))
    reading = _Reading(model)
    file = config or above.default_file()
    if file is not None:
        reading.take_file(file)
    reading.values |= above.values
    reading.problems += above.problems
    settings = reading.validated()
    reading.problems += settings.contradictions(reading.said)
    if reading.problems:
        raise ConfigurationError(reading.problems)
    return settings


@dataclass(frozen=True, slots=True)
class _Value:
    value: object
    where: str


@dataclass(slots=True)
class _Reading(Generic[S]):
    """What was read so far; a later source replaces an earlier one's value."""

    model: type[S]
    values: dict[str, _Value] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, name: str, value: object, where: str) -> None:
        if name in self.model.model_fields:
            self.values[name] = _Value(value, where)
        else:
            near = get_close_matches(name, self.model.model_fields, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            self.problems.append(f"{name}: there is no such setting (from {where}){meant}")

    def said(self, name: str) -> str:
        if name not in self.values:
            return name
        given = self.values[name]
        value = "…" if name in self.model.SECRETS else str(given.value)
        return f"{name} = {value} (from {given.where})"

    def default_file(self) -> Path | None:
        given, program = self.values.get("data"), self.model.PROGRAM
        if given is None:
            return None
        data = Path(str(given.value))
        files = [data / program.config_name]
        if program.packaged is not None and data.absolute() == program.packaged.data:
            files.insert(0, program.packaged.config)
        return next((file for file in files if file.exists()), None)

    def take_file(self, file: Path) -> None:
        try:
            with file.open("rb") as opened:
                text = opened.read(CONFIG_BYTES_MAX + 1)
            if len(text) > CONFIG_BYTES_MAX:
                raise ValueError(f"longer than {CONFIG_BYTES_MAX} bytes")  # noqa: TRY301  told like the others
            table = tomllib.loads(text.decode())
        except OSError as error:
            self.problems.append(f"{file}: {error.strerror}")
            return
        except ValueError as error:
            self.problems.append(f"{file}: not TOML: {error}")
            return
        for name, value in table.items():
            relative = isinstance(value, str) and value and (name in self.model.FILES or name == "data")
            self.take(name, str(file.absolute().parent / value) if relative else value, str(file))

    def take_environment(self, environ: Mapping[str, str]) -> None:
        prefix = self.model.PROGRAM.env_prefix
        for variable, value in sorted(environ.items()):
            if not variable.upper().startswith(prefix):
                continue
            if variable == variable.upper():
                self.take(variable.removeprefix(prefix).lower(), value, variable)
            else:  # somebody believes it to be read
                self.problems.append(f"{variable}: a variable is written in capitals: {variable.upper()}")

    def take_credentials(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            return
        try:
            files = sorted(Path(folder).iterdir())
        except OSError as error:
            self.problems.append(f"{folder}: {error.strerror} (from CREDENTIALS_DIRECTORY)")
            return
        prefix = self.model.PROGRAM.credential_prefix
        for file in files:
            if not file.name.startswith(prefix):
                continue
            name = file.name.removeprefix(prefix)
            where = f"the credential {file.name}"
            if name in self.model.FILES or name not in self.model.model_fields:
                self.take(name, str(file), where)
                continue
            try:
                self.take(name, file.read_bytes()[:CONFIG_BYTES_MAX].decode().strip(), where)
            except (OSError, UnicodeDecodeError) as error:
                self.problems.append(f"{name}: can't be read (from {where}): {error}")

    def validated(self) -> S:
        """The model, without the values that don't fit it: their problems are noted, and the rest is checked."""
        good = {name: given.value for name, given in self.values.items()}
        try:
            return self.model.model_validate(good)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                name = str(problem["loc"][0])
                self.problems.append(self._problem(name, problem["type"], problem["msg"]))
                good.pop(name, None)
        return self.model.model_validate({"data": "unknown", **good})

    def _problem(self, name: str, kind: str, message: str) -> str:
        if kind == "missing":
            variable = self.model.PROGRAM.env_prefix + name.upper()
            return f"{name}: is missing; give {self.model.flag(name)} or set {variable}"
        return f"{self.said(name)}: {message.removeprefix('Value error, ')}"
