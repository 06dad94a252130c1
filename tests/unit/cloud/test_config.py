"""The cloud's settings, where they are more than a hub's: the database, origins, the URL that others are told."""

from pathlib import Path

import pytest

from cloud.config import Settings, load_settings
from medxz import limits
from medxz.errors import ConfigurationError

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "cloud"
    folder.mkdir()
    return folder


def problems(data: Path, environ=None, **flags) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"data": str(data), **flags}, environ or {})
    return list(caught.value.problems)


def test_what_stands_without_any_source(data: Path) -> None:
    """With nothing but the directory the cloud keeps its files there, and no page of a browser may ask."""
    settings = load_settings({"data": str(data)}, {})
    assert settings.database is None
    assert settings.public_url is None
    assert settings.cors_origins == ()
    assert settings.clinics_open == limits.CLINICS_OPEN_MAX
    assert settings.places.key_file == data.with_name("cloud.key")


def test_later_sources_win(data: Path, tmp_path: Path) -> None:
    """File, environment, credentials, flags: each replaces what the one before said."""
    (data / "cloud.toml").write_text("port = 1\nclinics_open = 1\ncors_origins = ['https://a.example']\n")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "medxz-cloud.database").write_text("postgresql://third/medxz\n")
    environ = {
        "MEDXZ_CLOUD_PORT": "2",
        "MEDXZ_CLOUD_CLINICS_OPEN": "2",
        "MEDXZ_CLOUD_DATABASE": "postgresql://second/medxz",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    settings = load_settings({"data": str(data), "port": 4}, environ)
    assert (settings.port, settings.clinics_open) == (4, 2)
    assert settings.database == "postgresql://third/medxz"
    assert settings.cors_origins == ("https://a.example",)


def test_the_environment_has_several_origins_in_one_text(data: Path) -> None:
    """Origins are divided by commas where a source has one text alone."""
    environ = {"MEDXZ_CLOUD_CORS_ORIGINS": "https://a.example, https://b.example:8443"}
    settings = load_settings({"data": str(data)}, environ)
    assert settings.cors_origins == ("https://a.example", "https://b.example:8443")


@pytest.mark.parametrize("origin", ["*", "null", "a.example", "https://a.example/", "https://a.example/app"])
def test_what_is_no_origin_is_refused(data: Path, origin: str) -> None:
    """An origin is scheme, host and port: nothing that stands for many, and nothing that a browser never sends."""
    [problem] = problems(data, cors_origins=(origin,))
    assert "from --cors-origin" in problem
    assert origin in problem


@pytest.mark.parametrize("url", ["mysql://u@h/d", "cloud.db", "http://h/d"])
def test_a_database_is_a_postgresql(data: Path, url: str) -> None:
    """Anything else than a PostgreSQL's URL is refused."""
    [problem] = problems(data, database=url)
    assert "postgresql://" in problem


def test_a_password_is_not_told(data: Path) -> None:
    """A problem with the database's URL does not repeat it: a password stands in it."""
    [problem] = problems(data, environ={"MEDXZ_CLOUD_DATABASE": "mysql://u:hidden@h/d"})
    assert "hidden" not in problem
    assert "MEDXZ_CLOUD_DATABASE" in problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "http://localhost:1", "https://cloud.example/"])
def test_a_public_url_is_where_others_find_it(data: Path, url: str) -> None:
    """A URL with TLS, or one of this machine, is taken; its last slash does not matter."""
    assert load_settings({"data": str(data), "public_url": url}, {}).public_url == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://cloud.example", "https://cloud.example/v1", "cloud.example"])
def test_another_public_url_is_refused(data: Path, url: str) -> None:
    """Codes and configuration never lead anybody to a place without TLS, or below a path."""
    [problem] = problems(data, public_url=url)
    assert problem.startswith("public_url")


def test_the_document_lists_every_setting() -> None:
    """docs/configuration.md has one row for each setting, with the model's default and description."""
    rows, prefix = [], Settings.PROGRAM.env_prefix
    for name, info in Settings.model_fields.items():
        default = "" if info.is_required() or info.default in (None, ()) else f"`{str(info.default).lower()}`"
        rows.append(f"| `{name}` | `{prefix}{name.upper()}` | {default} | {info.description} |")
    table = [line for line in DOCUMENT.read_text("utf-8").splitlines() if f"| `{prefix}" in line]
    assert table == rows, "\n" + "\n".join(rows)
