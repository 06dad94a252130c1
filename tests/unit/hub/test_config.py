"""The hub's settings: where they come from, which source wins, and that every problem is told at once."""

import re
from pathlib import Path

import pytest

from hub.config import Settings, load_settings
from medxz import limits
from medxz.errors import ConfigurationError
from medxz.program import settings as sources
from medxz.program.settings import PORT_DEFAULT, Packaged, Program

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def problems(flags=None, environ=None, config=None):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(flags or {}, environ or {}, config)
    return list(caught.value.problems)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    return folder


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


def test_what_stands_without_any_source(data: Path) -> None:
    """With nothing but the directory, the hub serves TLS to the LAN on 8443 with the limits' defaults."""
    settings = load_settings({"data": str(data)}, {})
    assert (settings.bind_host, settings.port, settings.plain_http, settings.mdns) == (
        "::", 8443, False, True,
    )  # fmt: skip
    assert settings.keep_own_days == limits.KEEP_OWN_DAYS
    assert settings.offline_session_hours == limits.OFFLINE_SESSION_HOURS
    assert settings.requests_per_s == limits.REQUESTS_PER_S
    assert settings.places.key_file == data.with_name("hub.key")
    assert settings.places.socket == data.with_name("hub.sock")


def test_the_packages_own_hub_has_its_settings_in_etc(tmp_path: Path, data: Path) -> None:
    """In the package's directory the file in /etc is read where it exists, else DIR/hub.toml; elsewhere never that one."""
    inside, outside = data / "hub.toml", tmp_path / "etc.toml"
    inside.write_text("port = 1\n")

    class Here(Settings):
        PROGRAM = Program("medxz-hub", "hub", Packaged(data, outside))

    def port(folder: Path) -> int:
        return sources.load_settings(Here, {"data": folder}, {}).port

    assert port(data) == 1
    outside.write_text("port = 2\n")
    assert port(data) == 2
    other = tmp_path / "other"
    other.mkdir()
    assert port(other) == PORT_DEFAULT


def test_later_sources_win(data: Path, credentials: Path) -> None:
    """File, environment, credentials, flags: each replaces what the one before said."""
    (data / "hub.toml").write_text(
        "port = 1\nlog_level = 'debug'\nkeep_own_days = 1\noffline_session_hours = 1\n"
    )
    environ = {
        "MEDXZ_HUB_PORT": "2",
        "MEDXZ_HUB_KEEP_OWN_DAYS": "2",
        "MEDXZ_HUB_OFFLINE_SESSION_HOURS": "2",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    (credentials / "medxz-hub.port").write_text("3\n")
    (credentials / "medxz-hub.keep_own_days").write_text("3")
    settings = load_settings({"data": str(data), "port": 4}, environ)
    assert settings.log_level == "debug"
    assert settings.offline_session_hours == 2
    assert settings.keep_own_days == 3
    assert settings.port == 4


def test_the_directory_may_come_from_the_environment(data: Path) -> None:
    """The directory that the environment names is the one whose file is read."""
    (data / "hub.toml").write_text("port = 77\n")
    assert load_settings({}, {"MEDXZ_HUB_DATA": str(data)}).port == 77


def test_a_file_of_its_own(tmp_path: Path) -> None:
    """--config reads that file in place of the directory's; its paths count from where it lies."""
    file = tmp_path / "etc" / "hub.toml"
    file.parent.mkdir()
    file.write_text("data = 'store'\nkey_file = 'secret.key'\n")
    settings = load_settings({}, {}, file)
    assert settings.data == tmp_path / "etc" / "store"
    assert settings.places.key_file == tmp_path / "etc" / "secret.key"


def test_a_credential_of_a_file_is_the_file(data: Path, credentials: Path) -> None:
    """The credential named after a setting that names a file is that file."""
    (credentials / "medxz-hub.key_file").write_text("00" * 32)
    settings = load_settings({"data": str(data)}, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert settings.places.key_file == credentials / "medxz-hub.key_file"


def test_every_problem_is_told_with_its_source(data: Path, credentials: Path) -> None:
    """Misspelt names, wrong values and contradictions from four sources come in one error, each with its source."""
    (data / "hub.toml").write_text("prot = 8443\nkeep_own_days = 0\nmdns = 'perhaps'\n")
    (credentials / "medxz-hub.requests_per_sec").write_text("5")
    (credentials / "other-service.token").write_text("is not ours")
    environ = {
        "MEDXZ_HUB_PROT": "1",
        "MEDXZ_HUB_LOG_LEVEL": "loud",
        "medxz_hub_port": "5",
        "MEDXZ_OTHER": "is not ours",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    flags = {
        "data": str(data),
        "port": 70_000,
        "plain_http": True,
        "host": "192.168.1.1",
        "tls_cert": "nowhere.pem",
    }
    told = "\n".join(problems(flags, environ))
    for line in (
        rf"prot: there is no such setting \(from {data}/hub.toml\); did you mean port\?",
        r"prot: there is no such setting \(from MEDXZ_HUB_PROT\); did you mean port\?",
        r"medxz_hub_port: a variable is written in capitals: MEDXZ_HUB_PORT",
        r"requests_per_sec: there is no such setting \(from the credential .*\); did you mean requests_per_s\?",
        r"log_level = loud \(from MEDXZ_HUB_LOG_LEVEL\): ",
        rf"keep_own_days = 0 \(from {data}/hub.toml\): ",
        r"mdns = perhaps ",
        r"port = 70000 \(from --port\): ",
        r"plain_http = True \(from --plain-http\): refused with host = 192.168.1.1 \(from --host\)",
        r"tls_cert = nowhere.pem \(from --tls-cert\): needs tls_key too",
        r"tls_cert = nowhere.pem \(from --tls-cert\): there is no such file",
    ):
        assert re.search(line, told), line
    assert "not ours" not in told
    assert "other" not in told.lower()


def test_no_directory_is_a_problem_among_others() -> None:
    """Where the directory is not named, the rest is checked all the same."""
    told = problems({"port": -1, "plain_http": True, "host": "::"})
    assert [line.partition(":")[0] for line in told] == [
        "data", "port = -1 (from --port)", "plain_http = True (from --plain-http)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", True), ("port", "8443x"), ("port", 1.5), ("port", ""), ("host", ""), ("plain_http", "maybe"),
        ("ops_per_s", 0), ("requests_per_s", 0), ("offline_session_hours", -1), ("log_level", "INFO"), ("data", ""),
        ("data", "/"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(data: Path, name: str, value: object) -> None:
    """A value that is not one of the setting's is a problem that names the setting."""
    [problem] = problems({"data": str(data), name: value})
    assert problem.startswith(name)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.9", "::", "hub.example", "127.0.0.1.example"])
def test_plain_http_stays_on_loopback(data: Path, host: str) -> None:
    """Without TLS the hub serves no address that another machine could reach."""
    [problem] = problems({"data": str(data), "plain_http": True, "host": host})
    assert "plain_http" in problem


@pytest.mark.parametrize("host", [None, "127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_plain_http_serves_loopback(data: Path, host: str | None) -> None:
    """Without TLS, and without or with a loopback address, the hub serves loopback."""
    flags = {"data": str(data), "plain_http": True} | ({"host": host} if host else {})
    assert load_settings(flags, {}).bind_host == (host or "127.0.0.1")


def test_the_key_lies_outside_the_directory(data: Path) -> None:
    """A key file inside the data directory is refused: who carries off the one would have the other."""
    (data.parent / "link").symlink_to(data)
    for file in (data / "hub.key", data.parent / "link" / "hub.key", data / ".." / "hub" / "x"):
        [problem] = problems({"data": str(data), "key_file": str(file)})
        assert "outside" in problem


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2", "\xff\xfe", "#" * 70_000])
def test_a_broken_file_is_a_problem(data: Path, text: str) -> None:
    """A file that is not TOML, or absurdly long, is told as a problem of that file."""
    (data / "hub.toml").write_bytes(text.encode("latin-1"))
    [problem] = problems({"data": str(data)})
    assert problem.startswith(str(data / "hub.toml"))


def test_a_file_that_was_named_must_be_there(data: Path, tmp_path: Path) -> None:
    """--config with a file that is not there is a problem; no hub.toml in the directory is none."""
    load_settings({"data": str(data)}, {})
    [problem] = problems({"data": str(data)}, config=tmp_path / "absent.toml")
    assert "absent.toml" in problem


def test_settings_do_not_change(data: Path) -> None:
    """What was read once stays."""
    settings = load_settings({"data": str(data)}, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_the_document_lists_every_setting() -> None:
    """docs/configuration.md has one row for each setting, with the model's default and description."""
    rows, prefix = [], Settings.PROGRAM.env_prefix
    for name, info in Settings.model_fields.items():
        default = "" if info.is_required() or info.default in (None, ()) else f"`{str(info.default).lower()}`"
        rows.append(f"| `{name}` | `{prefix}{name.upper()}` | {default} | {info.description} |")
    table = [line for line in DOCUMENT.read_text("utf-8").splitlines() if f"| `{prefix}" in line]
    assert table == rows, "\n" + "\n".join(rows)
