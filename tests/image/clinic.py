"""A clinic around a machine: a cloud on this machine, as the guest reaches it, and a tablet that speaks to the hub in the guest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import httpx
import trustme

from tests.image.machine import HOST, Machine, wait_for
from tests.system.world import CLOUD, NURSE, CloudProcess, EnrolledTablet, done

SITE: Final = "North"
CA_FILE: Final = "cloud-ca.pem"
SERVING_S: Final = 600.0
TYPED_S: Final = 120.0


class Cloud(CloudProcess):
    """With a certificate for the address by which a guest knows this machine, by a CA that comes on the card."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, SITE)
        self.add_user(NURSE)
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, "127.0.0.1")
        self.ca = authority.cert_pem.bytes().decode()
        self.ca_file = folder / CA_FILE
        self.ca_file.write_text(self.ca)
        self._key, self._chain = folder / "tls.key", folder / "tls.pem"
        issued.private_key_pem.write_to_path(str(self._key))
        self._chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        self.seen_from_inside = f"https://{HOST}:{self.port}"
        self.url = f"https://127.0.0.1:{self.port}"

    def start(self) -> Cloud:
        self.run(
            "--public-url",
            self.seen_from_inside,
            "--tls-cert",
            self._chain,
            "--tls-key",
            self._key,
            plain=False,
        )
        return self

    def hubs(self) -> list[dict[str, Any]]:
        return list(self.command("hub", "list")["hubs"])

    def ask_operator(self, *words: object) -> dict[str, Any]:
        """A command that is for the whole cloud and no clinic."""
        return done(CLOUD, *words, "--data", self.data)


def card_file(cloud: Cloud, machine: Machine, code: str | None) -> str:
    """`medxz-hub.toml` as an administrator writes it; ssh is on, for it is how a test looks inside."""
    lines = [
        "[cloud]", f'url = "{cloud.seen_from_inside}"', *([f'code = "{code}"'] if code else []),
        'name = "Reception"', f'ca_file = "{CA_FILE}"',
        "[ssh]", "enabled = true", f'keys = ["{machine.public_key}"]',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def flashed(machine: Machine, cloud: Cloud) -> str:
    """What a person does with a fresh card before it goes into the box; the code on it."""
    code = cloud.code("hub", SITE)
    machine.card.write(CA_FILE, cloud.ca)
    machine.card.write("medxz-hub.toml", card_file(cloud, machine, code))
    return code


def flashed_without_code(machine: Machine, cloud: Cloud) -> None:
    """The card knows the cloud and its CA; the code is for the box's page."""
    machine.card.write(CA_FILE, cloud.ca)
    machine.card.write("medxz-hub.toml", card_file(cloud, machine, None))


class FirstPage:
    """The page of a box that nobody has claimed yet, as a browser in its network has it."""

    def __init__(self, machine: Machine) -> None:
        self.url = f"http://127.0.0.1:{machine.ports[80]}"

    def is_there(self) -> bool:
        try:
            return httpx.get(self.url, timeout=20).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def type(self, code: str) -> httpx.Response:
        with httpx.Client(base_url=self.url, timeout=TYPED_S) as browser:
            token = re.search('name="token" value="([^"]+)"', browser.get("/").text)
            assert token is not None
            form = {"token": token[1], "code": code, "name": "Reception"}
            return browser.post("/", data=form, headers={"Origin": self.url})


def health(machine: Machine) -> dict[str, Any] | None:
    """What the hub in there says of itself; None where it does not answer."""
    try:
        # its certificate is by a CA of its own, which only the devices it let in know
        answer = httpx.get(f"{machine.url}/health", verify=False, timeout=20)
    except httpx.HTTPError:
        return None
    return dict(answer.json())


def wait_until_served(machine: Machine, seconds: float = SERVING_S) -> float:
    return wait_for(lambda: health(machine) is not None, "a hub that serves", seconds)


class Tablet(EnrolledTablet):
    """A device of the clinic that talks to the hub in the guest."""

    def __init__(self, store: Path, machine: Machine, cloud: Cloud) -> None:
        self.store = store
        self.email = NURSE
        self.cloud = cloud
        self._watching = []
        made = cloud.command("code", "--for", "device", "--site", SITE)
        told = self.ask(
            "enroll",
            "--code",
            made["code"],
            "--fp",
            made["fp"],
            "--server",
            machine.url,
            "--name",
            store.name,
        )
        self.device_id = str(told["device_id"])
        self.login()

    def push(self, family: str) -> str:
        op_id = self.record(family)
        self.sync()
        return op_id
