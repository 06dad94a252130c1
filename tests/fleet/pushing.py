"""Somebody who pushes to the cloud all the while, now to this relay and now to that one, and knows what was acknowledged.

As a device does: what is in doubt is pushed again until it is answered; what was answered as stored never is.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Self

import httpx

from tests.fleet.boxes import CloudBox
from tests.lan.hosts import Host
from tests.system.cloud_process import Desk
from tests.system.world import ADMIN, PASSWORD

# longer than a relay may keep anybody waiting
TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.02
OPS: Final = 3


@dataclass(slots=True)
class Told:
    """What came of it so far."""

    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0
    """Answers of 503."""
    lost: int = 0
    """No answer: the relay was gone."""
    codes: set[str] = field(default_factory=set)
    longest_s: float = 0.0
    """Of an answer, whatever it said."""


class FarDesk(Desk):
    """A device at a relay on another machine."""

    def __init__(self, relay: CloudBox, client: httpx.Client) -> None:
        self._client = client
        super().__init__(_Enrolling(relay))  # type: ignore[arg-type]  # it asks no more than this knows

    def post(self, path: str, body: dict[str, Any], token: str | None = "own") -> httpx.Response:
        headers = self.headers if token == "own" else {}
        return self._client.post(self.relay.url + path, json=body, headers=headers)

    def let_in(self) -> httpx.Response:
        """Logged in anew, where the cloud can do that now."""
        wanted = {"email": ADMIN, "password": PASSWORD, "device_id": self.device_id}
        told = self.post("/v1/auth/login", wanted, token=None)
        if told.status_code == 200:
            self.session = told.json()
        return told

    def get(self, path: str, relay: Any = None) -> httpx.Response:
        return self._client.get((relay or self.relay).url + path, headers=self.headers)


class _Enrolling:
    """What `Desk` asks of a relay."""

    def __init__(self, relay: CloudBox) -> None:
        self._relay = relay
        self.url = relay.url

    def code(self, *more: object) -> str:
        return str(self._relay.command("code", "--for", "device", "--site", "North", *more)["code"])


class Pushing:
    """At work from when it is entered until it is left, in a thread of its own on a host of the network."""

    def __init__(self, host: Host, relays: Sequence[CloudBox], ca: Path) -> None:
        self._host = host
        self._client = httpx.Client(verify=ssl.create_default_context(cafile=ca), timeout=TIMEOUT_S)
        self._relays = cycle(_Enrolling(relay) for relay in relays)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pushing")
        self._failed: BaseException | None = None
        self.told = Told()
        with host.namespace.entered():
            self.desk = FarDesk(relays[0], self._client)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(2 * TIMEOUT_S)
        self._client.close()
        if self._failed is not None:
            raise self._failed

    def health(self, relay: CloudBox) -> dict[str, bool]:
        """What a relay says of itself: whether each of its parts is well."""
        with self._host.namespace.entered():
            told = self._client.get(f"{relay.url}/health").json()
        return {check["name"]: check["ok"] for check in told["checks"]}

    def pulled(self) -> list[str]:
        """Every op that the cloud gives out now."""
        with self._host.namespace.entered():
            return self.desk.pulled()

    def _work(self) -> None:
        try:
            with self._host.namespace.entered():
                while not self._ended.is_set():
                    self._push([self.desk.an_op() for _ in range(OPS)])
                    self._ended.wait(PAUSE_S)
        except (AssertionError, OSError, KeyError, httpx.HTTPError) as error:  # one that waits too long, too
            self._failed = error

    def _push(self, ops: list[dict[str, Any]]) -> None:
        """The same again, here and there, until it is answered; or until nobody wants to know any more."""
        while not self._ended.is_set():
            self.desk.relay = next(self._relays)  # type: ignore[assignment]
            began = time.monotonic()
            try:
                answer = self.desk.post("/v1/sync/push", {"ops": ops})
                if answer.status_code == 401:  # these tests take longer than a token lives
                    answer = self.desk.let_in()
                    if answer.status_code == 200:
                        continue
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout):
                self.told.lost += 1
                self._ended.wait(0.2)
                continue
            self.told.longest_s = max(self.told.longest_s, time.monotonic() - began)
            if answer.status_code == 503:
                self.told.refused += 1
                self.told.codes.add(str(answer.json()["code"]))
                self._ended.wait(0.2)
                continue
            assert answer.status_code == 200, answer.text
            assert {result["status"] for result in answer.json()["results"]} <= {"accepted", "duplicate"}
            self.told.acknowledged += [str(op["op_id"]) for op in ops]
            return
