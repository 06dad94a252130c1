"""Who may claim the box by its page, and with what: the decisions behind the form.

Anybody on the clinic's network can open it, and so can a page of the internet in somebody's browser. Refused: a name in
`Host` that is not this box's (a foreign name that was made to point here), a form that another site sent or that did not
come from this page, another cloud than the card's, and codes for a while after five were refused. A code that was typed
is told to the cloud, and to nobody else.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from hub.boot import forms
from hub.boot.claiming import Claiming
from hub.boot.records import ClaimOrder, Found
from hub.console.first_page import STYLE, Filled, Wrong, first_page, plain_page
from hub.notefile import read_note_file, write_note_file
from medxz.clock import Clock
from medxz.web.plain import Asked, Shown

REFUSED_FREE: Final = 5
LOCK_S: Final = 60.0
LOCK_S_MAX: Final = 900.0
# how long an answer waits for what the cloud says; then the page looks again by itself
PATIENCE_S: Final = 8.0
HOST_CHARS_MAX: Final = 255

_OWN_NAME: Final = re.compile(r"localhost|[a-z0-9-]{1,63}(\.local)?")


class Refusals(BaseModel):
    """How many there were, over every start of the box."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    count: Annotated[int, Field(ge=0)] = 0


class Guard:
    """Counts the codes that were refused. After the free ones each locks the form, for longer each time.

    `file` keeps the count: who has the box started anew waits once more. What time it is, such a box does not know.
    """

    def __init__(self, clock: Clock, file: Path | None = None) -> None:
        self._clock: Final = clock
        self._file: Final = file
        self._refused = read_note_file(file, Refusals).count if file is not None else 0
        self._locked_until = 0.0
        self._lock()

    def refused(self) -> None:
        self._refused += 1
        self._lock()
        if self._file is not None:
            with suppress(OSError):  # then it counts for as long as this process lives
                write_note_file(self._file, Refusals(count=self._refused))

    def _lock(self) -> None:
        over = self._refused - REFUSED_FREE
        if over >= 0:
            self._locked_until = self._clock.monotonic() + min(LOCK_S_MAX, LOCK_S * 2.0 ** min(over, 8))

    @property
    def wait_s(self) -> int:
        """For how long nobody may try; 0: now."""
        left = self._locked_until - self._clock.monotonic()
        return 0 if left <= 0 else int(left) + 1


@dataclass(slots=True)
class _Sent:
    cloud: str
    code: str
    name: str


class FirstRun:
    """The page of one box. `seen` hears when somebody has seen that it is claimed; `refusals` is where they are counted."""

    def __init__(
        self,
        claiming: Claiming,
        found: Found,
        card: ClaimOrder | None,
        clock: Clock,
        seen: Callable[[], None],
        *,
        refusals: Path | None = None,
    ) -> None:
        self._claiming: Final = claiming
        self._found: Final = found
        self._card: Final = card or ClaimOrder()
        self._guard: Final = Guard(clock, refusals)
        self._token: Final = secrets.token_urlsafe(24)
        self._seen: Final = seen
        claiming.when_refused = self._guard.refused

    async def show(self, asked: Asked) -> Shown:
        """The answer to a request."""
        if not is_own_host(asked.host):
            message = "This box is opened as http://medxz.local or by its address, as in http://192.168.1.20."
            return Shown(plain_page("Not by this name", message), 421, STYLE)
        if asked.path == "/state" and asked.method in {"GET", "HEAD"}:
            return Shown(self._claiming.state.model_dump_json() + "\n", content_type="application/json")
        if asked.path != "/":
            return Shown(plain_page("Nothing here", "This box has one page so far."), 404, STYLE)
        if asked.method in {"GET", "HEAD"}:
            return self._page(self._filled())
        if asked.method != "POST":
            return Shown(plain_page("Not so", "This page is opened, or its form is sent."), 405, STYLE)
        return await self._posted(asked)

    async def _posted(self, asked: Asked) -> Shown:
        if not self._came_from_here(asked):
            message = (
                "The form did not come from this page, or the box was started anew: open the page again."
            )
            return Shown(plain_page("Not sent", message), 403, STYLE)
        if self._claiming.state.phase in {"trying", "claimed"}:
            return Shown("", 303, location="/")
        sent = self._sent(asked)
        filled = self._filled(sent)
        if wait_s := self._guard.wait_s:
            wrong = Wrong("", f"Too many codes were refused. Try again in {_minutes(wait_s)}.")
            return self._page(filled, (wrong,), 429, wait_s)
        order, wrongs = _checked(sent, self._card)
        if order is None:
            return self._page(filled, wrongs, 422)
        self._claiming.take(order)
        await self._claiming.settled(PATIENCE_S)
        return Shown("", 303, location="/")

    def _came_from_here(self, asked: Asked) -> bool:
        token = asked.form.get("token", "")
        is_ours = token.isascii() and hmac.compare_digest(token, self._token)
        is_same = asked.origin in {None, f"http://{asked.host}"}
        return is_ours and is_same and asked.fetch_site in {None, "same-origin"}

    def _sent(self, asked: Asked) -> _Sent:
        """What was typed; the whole text of a code has the cloud's address in it."""
        code, cloud = asked.form.get("code", "").strip(), asked.form.get("cloud", "").strip()
        if "#" in code:
            parts = urlsplit(code) if code.isprintable() else urlsplit("")
            code = parse_qs(parts.fragment).get("c", [""])[0]
            cloud = cloud or f"{parts.scheme}://{parts.netloc}"
        return _Sent(cloud, code, asked.form.get("name", "").strip())

    def _filled(self, sent: _Sent | None = None) -> Filled:
        fixed = self._card.cloud_url
        cloud = fixed or (sent.cloud if sent is not None else self._claiming.state.cloud_url or "")
        name = sent.name if sent is not None else self._card.name or ""
        return Filled(self._token, cloud, name, fixed is not None)

    def _page(
        self, filled: Filled, wrong: tuple[Wrong, ...] = (), status: int = 200, retry_s: int | None = None
    ) -> Shown:
        state = self._claiming.state
        if state.phase == "claimed":
            self._seen()
        return Shown(first_page(self._found, state, filled, wrong), status, STYLE, retry_after_s=retry_s)


def is_own_host(host: str) -> bool:
    """Whether a browser may have asked for this box by that name: an address, a bare name, or one of mDNS.

    A name of the internet's DNS could be anybody's, who makes it point here and then reads this page as his own.
    """
    if len(host) > HOST_CHARS_MAX:
        return False
    try:
        name = urlsplit(f"//{host.lower()}").hostname or ""
    except ValueError:
        return False
    if _OWN_NAME.fullmatch(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _checked(sent: _Sent, card: ClaimOrder) -> tuple[ClaimOrder | None, tuple[Wrong, ...]]:
    """What is to be done, or what is wrong with it, all at once."""
    wrong: list[Wrong] = []

    def formed(field: str, check: Callable[[str], str], text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            wrong.append(Wrong(field, str(error)))
            return ""

    cloud = card.cloud_url or formed("cloud", forms.cloud_url, sent.cloud)
    code = formed("code", forms.hub_code, sent.code)
    name = formed("name", forms.shown_name, sent.name)
    if wrong:
        return None, tuple(wrong)
    return ClaimOrder(cloud_url=cloud, code=code, name=name, cloud_ca=card.cloud_ca), ()


def _minutes(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 90 else f"{-(-seconds // 60)} minutes"
