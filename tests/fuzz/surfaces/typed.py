"""What people type or paste: a QR's text, what an operator wrote into a file, and lines of the control socket."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from cloud.config import load_settings as load_cloud
from hub.ask import Json
from hub.config import load_settings as load_hub
from hub.control import REQUEST_BYTES_MAX, ControlServer
from medxz.clock import SystemClock
from medxz.device.invitation import read_invitation
from medxz.errors import ConfigurationError, Invalid
from medxz.web import make_log
from tests.fuzz.surface import Surface, holds

# --------------------------------------------------------------------------------------------- invitations


def invitation_seeds() -> Sequence[bytes]:
    fingerprint = "ab" * 32
    return [
        f"https://10.0.0.7:8443/#c=ABCD2345&fp={fingerprint}".encode(),
        f"https://[fd00::9]:8443/#c=ABCD2345&fp={fingerprint[:16]}".encode(),
        b"ABCD2345", b"http://127.0.0.1:8443/#c=A", b"https://medxz.local/#fp=AB:CD:ab", b"https://:443/#c=1",
        b"https://user:pass@host/#c=A&c=B", b"ftp://a/#c=b", b"https://[fe80::1%25eth0]:1/#c=x", b"https://a:99999/#c=A",
    ]  # fmt: skip


def take_invitation(data: bytes) -> str:
    """An invitation whose address can be asked, or all that is wrong with it; read again it is the same."""
    text = data.decode("utf-8", "replace")
    try:
        invitation = read_invitation(text, None, None)
    except ConfigurationError as error:
        for problem in error.problems:
            problem.encode("utf-8", "strict")
        return " ".join(
            sorted(problem[:16].encode("ascii", "replace").decode() for problem in error.problems)
        )
    url = invitation.server_url
    parts = urlsplit(url)
    holds("an address that can be asked", parts.scheme in ("http", "https") and parts.hostname, url)
    try:
        host = httpx.URL(url + "/v1/info").raw_host
    except httpx.InvalidURL:
        host = b""
    holds("an address that the client can ask", host, url)
    holds("plain HTTP on this machine alone", parts.scheme == "https" or parts.hostname in ("localhost", "::1")
          or str(parts.hostname).startswith("127."), url)  # fmt: skip
    holds(
        "the code does not show",
        "ABCD2345" not in repr(invitation).replace(url, "") or "ABCD2345" not in invitation.code,
    )
    again = (
        read_invitation(invitation.code, url, invitation.fingerprint)
        if "://" not in invitation.code
        else None
    )
    holds(
        "read again it is the same",
        again in (invitation, None) or invitation.code.strip() != invitation.code,
        again,
    )
    return f"read {parts.scheme} {invitation.fingerprint is not None}"


# ------------------------------------------------------------------------------------------------ settings


@cache
def folder() -> Path:
    """Files of settings, in memory where there is a place for that."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="medxz-fuzz-", dir=memory if memory.is_dir() else None))
    (made / "data").mkdir()
    return made


def settings_seeds() -> Sequence[bytes]:
    data = str(folder() / "data")
    return [
        f'data = "{data}"\nport = 8443\nlog_level = "debug"\nmdns = false\nkeep_own_days = 3\n'.encode(),
        f'data = "{data}"\nhost = "127.0.0.1"\nplain_http = true\ncors_origins = ["https://a.example"]\n'.encode(),
        f'data = "{data}"\ndatabase = "postgresql://u:secret@h,i/d"\npublic_url = "https://c.example/"\nstreams = 2\n'.encode(),
        b'port = "8443"\nports = 1\n[table]\na = 1979-05-27T07:32:00Z\n', b'data = ""', b'key_file = "x"\n', b"\xff",
        b"\x00MEDXZ_HUB_PORT=7\nMEDXZ_HUB_DATA=/x\nMEDXZ_CLOUD_DATABASE=mysql://secret", b"port = nan\nrequests_per_s=1e9",
    ]  # fmt: skip


def take_settings(data: bytes) -> str:
    """Settings of a hub and of a cloud: read, or every problem told; never a secret."""
    environ: dict[str, str] = {}
    flags: dict[str, object] = {"data": str(folder() / "data")}
    file = None
    if data.startswith(b"\x00"):
        pairs = [line.partition("=") for line in data[1:].decode("utf-8", "surrogateescape").split("\n")]
        environ = {name: value for name, _, value in pairs if name and "\x00" not in name + value}
        environ.pop("CREDENTIALS_DIRECTORY", None)
    else:
        file = folder() / "fuzz.toml"
        file.write_bytes(data)
    told = []
    for load, name in ((load_hub, "hub"), (load_cloud, "cloud")):
        try:
            settings: Any = load(flags, environ, file)
        except ConfigurationError as error:
            holds("something is told", error.problems)
            told.append(f"{name} {min(len(error.problems), 4)}")
        else:
            holds("within its bounds", 0 <= settings.port <= 65_535 and settings.ops_per_s >= 1)
            holds("frozen settings are read again", settings == load(flags, environ, file))
            told.append(f"{name} read")
    return " ".join(told)


# -------------------------------------------------------------------------------------------- control socket


async def _echo(arguments: Json) -> Json:
    return {"said": sorted(arguments)}


async def _refuse(arguments: Json) -> Json:
    raise Invalid("not like this")


@cache
def server() -> ControlServer:
    log = make_log(io.BytesIO(), SystemClock())
    return ControlServer(Path("/tmp/never"), {"echo": _echo, "refuse": _refuse}, log)


def control_seeds() -> Sequence[bytes]:
    return [
        b'{"command":"echo","arguments":{"a":[1,"x"]}}\n', b'{"command":"refuse"}\n{"command":"echo"}\n',
        b'{"command":"reboot"}\n\n{}\n', b'[]\n"echo"\n7\n', b'{"command":["echo"]}\n', b'{"command":"echo","arguments":[]}\n',
        b"x" * 2_000,
    ]  # fmt: skip


class Taking:
    """Where answers go."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    async def drain(self) -> None:
        return


def take_control(data: bytes) -> str:
    """Each line is answered by one line, which says that it is granted or by which code it is not."""
    writer: Any = Taking()

    async def converse() -> None:
        reader = asyncio.StreamReader(limit=REQUEST_BYTES_MAX)
        reader.feed_data(data)
        reader.feed_eof()
        await server()._converse(reader, writer)

    loop = _loop()
    loop.run_until_complete(converse())
    answers = [orjson.loads(line) for line in writer.lines]
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    holds("one answer a line", len(answers) == lines, len(answers), lines)
    holds("each says whether", all(one["ok"] in (True, False) for one in answers))
    holds("nothing broke", all(one.get("code") != "internal" for one in answers))
    return " ".join(sorted({one.get("code", "ok") for one in answers}))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


SURFACES: Final = (
    Surface(
        "invitation",
        "read_invitation, the client's URL",
        take_invitation,
        invitation_seeds,
        is_json=False,
        bytes_max=512,
    ),
    Surface(
        "settings",
        "load_settings of hub and cloud: TOML, environment",
        take_settings,
        settings_seeds,
        is_json=False,
        bytes_max=2_048,
    ),
    Surface("control", "ControlServer, lines", take_control, control_seeds, bytes_max=2_048),
)
