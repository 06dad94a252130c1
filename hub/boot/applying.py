"""As root, at each start and before the network: what the card says becomes what this start goes by.

All of it is written under /run, so that the card stays the one place where it is changed, and taking a line out of it
takes its effect away. What was right is kept on the data partition: a card that can't be read, or a section with a
mistake in it, leaves the box as it was and not cut off. Refused: nothing; what is wrong is told.
"""

from __future__ import annotations

import grp
import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from hub.boot.card import OnCard, read_card, remove_code, write_report
from hub.boot.file import SECTIONS, BootFile, Checked, check_bytes, read_ca
from hub.boot.network import networks, supplicant
from hub.boot.places import BootPlaces
from hub.boot.records import ClaimOrder, Found, State, write_whole
from hub.boot.reporting import on_screen, report
from medxz.clock import Clock, SystemClock, format_time

# what an earlier start's settings may serve for: not to be claimed or to open data, and nobody logs in without the card
KEPT_SECTIONS: Final = ("wifi", "network", "system", "page")
HOSTNAME: Final = "medxz"


@dataclass(frozen=True, slots=True)
class Applied:
    """What this start goes by, and where it came from."""

    file: BootFile
    found: Found


def apply_card(
    places: BootPlaces,
    *,
    group: int | None = None,
    set_hostname: Callable[[str], None] = socket.sethostname,
) -> Applied:
    """Read the card and put it into effect. `group`: who may read the claim's code beside root."""
    _finish_claim(places)
    on_card = read_card(places)
    checked = (
        check_bytes(on_card.content, places.card) if on_card.content is not None else Checked(BootFile())
    )
    file, kept = _with_kept(places, on_card, checked)
    found = _found(places, on_card, checked, file, kept)
    if on_card.content is not None:
        _keep(places, file)
    _write_network(places, file)
    _write_ssh(places, file)
    _write_locale(places, file)
    _write_order(places, file, group)
    found.write(places.found, 0o644)
    name = file.system.hostname if file.system is not None and file.system.hostname else HOSTNAME
    set_hostname(name)
    return Applied(file, found)


def _finish_claim(places: BootPlaces) -> None:
    """The power went after the claim, before its code was taken out: now."""
    kept = places.hub.with_name("hub.claim")
    if not (places.hub / "hub.db").is_file() or (order := ClaimOrder.read(kept)) is None:
        return
    if order.code is not None:
        remove_code(places, order.code, format_time(SystemClock().now_ms())[:10])
    kept.unlink(missing_ok=True)


def _with_kept(places: BootPlaces, on_card: OnCard, checked: Checked) -> tuple[BootFile, tuple[str, ...]]:
    """The card's settings, and an earlier start's where the card's can't be used."""
    missing = frozenset(SECTIONS) if on_card.content is None else checked.left_out
    before = _kept(places)
    kept = [name for name in KEPT_SECTIONS if name in missing and getattr(before, name) is not None]
    return checked.file.model_copy(update={name: getattr(before, name) for name in kept}), tuple(kept)


def _kept(places: BootPlaces) -> BootFile:
    try:
        return BootFile.model_validate_json(places.kept.read_bytes())
    except (OSError, ValidationError):
        return BootFile()


def _keep(places: BootPlaces, file: BootFile) -> None:
    """For the next start; written only where it says something new."""
    kept = file.model_dump(mode="json", include=set(KEPT_SECTIONS), exclude_none=True)
    content = json.dumps(kept, sort_keys=True).encode()
    try:
        if places.kept.is_file() and places.kept.read_bytes() == content:
            return
        places.kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(places.kept, content, 0o600)
    except OSError:
        return  # the data partition is not there: this start goes by the card alone


def _found(
    places: BootPlaces, on_card: OnCard, checked: Checked, file: BootFile, kept: tuple[str, ...]
) -> Found:
    return Found(
        has_card=on_card.has_card,
        has_file=on_card.content is not None,
        misnamed=on_card.misnamed,
        problems=tuple((problem.line, problem.message) for problem in checked.problems),
        kept=kept,
        wifi=file.wifi.name if file.wifi is not None else None,
        address=file.network.address if file.network is not None else None,
        has_ssh=file.ssh is not None and file.ssh.enabled,
        has_page=file.page is None or file.page.enabled,
        opened_by=_opened_by(places),
    )


def _opened_by(places: BootPlaces) -> str | None:
    try:
        return places.opened_by.read_text("ascii")[:20].strip() or None
    except (OSError, ValueError):
        return None


def _write_network(places: BootPlaces, file: BootFile) -> None:
    for name, text in networks(file.network, file.wifi).items():
        write_whole(places.networkd / name, text.encode(), 0o644)
    _write_or_remove(
        places.run / "wpa_supplicant.conf", supplicant(file.wifi) if file.wifi is not None else None, 0o600
    )


def _write_ssh(places: BootPlaces, file: BootFile) -> None:
    """The keys' file is what the ssh service starts by: without it there is none."""
    is_on = file.ssh is not None and file.ssh.enabled
    keys = "\n".join([*file.ssh.keys, ""]) if file.ssh is not None and is_on else None
    _write_or_remove(places.authorized_keys, keys, 0o600)


def _write_locale(places: BootPlaces, file: BootFile) -> None:
    """What /etc of an image leads to."""
    language = file.system.language if file.system is not None else None
    write_whole(places.run / "locale.conf", f"LANG={language or 'C.UTF-8'}\n".encode(), 0o644)
    zone = file.system.time_zone if file.system is not None else None
    link, unfinished = places.settings / "localtime", places.settings / ".localtime"
    places.settings.mkdir(parents=True, exist_ok=True)
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(Path("/usr/share/zoneinfo") / (zone or "Etc/UTC"))
    unfinished.replace(link)


def _write_order(places: BootPlaces, file: BootFile, group: int | None) -> None:
    part = file.cloud
    if part is None:
        _write_or_remove(places.order, None, 0o600)
        return
    ca = read_ca(places.card, part.ca_file) if part.ca_file is not None else None
    order = ClaimOrder(cloud_url=part.url, code=part.code, name=part.name, cloud_ca=ca)
    order.write(places.order, 0o600)
    if group is not None:
        shutil.chown(places.order, group=group)
        os.chmod(places.order, 0o640)  # noqa: PTH101  after its group, never before


def _write_or_remove(file: Path, text: str | None, mode: int) -> None:
    if text is None:
        file.unlink(missing_ok=True)
    else:
        write_whole(file, text.encode(), mode)


def group_id(name: str) -> int | None:
    """The group's number; None where this machine has none of that name, and root alone reads the code."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def write_reports(places: BootPlaces, *, screen: bool) -> tuple[str, bool]:
    """Tell how it stands: on the card, and on the box's screen. The text, and whether the card got a new one."""
    text = report(Found.read(places.found) or Found(), State.read(places.state) or State())
    if screen and places.screen.exists():
        with suppress(OSError), places.screen.open("w") as console:
            console.write(on_screen(text))
    return text, write_report(places, text)


def forget_code(places: BootPlaces, clock: Clock | None = None) -> bool:
    """Take the code that was used out of the card's file, and out of this start's order."""
    order = ClaimOrder.read(places.order)
    if order is None or order.code is None:
        return False
    today = format_time((clock or SystemClock()).now_ms())[:10]
    removed = remove_code(places, order.code, today)
    places.order.unlink(missing_ok=True)
    return removed
