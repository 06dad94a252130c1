"""What is going on, in words: for the screen, for the file on the card, and for the page. No secret is in any of them."""

from __future__ import annotations

from typing import Final

from hub.boot.places import FILE_NAME
from hub.boot.records import Found, State

_WIDTH: Final = 78
_CLEAR: Final = "\033c"

_PHASES: Final = {
    "no_code": "This box belongs to no clinic yet. It needs a pairing code.",
    "trying": "This box is asking the cloud to be let in.",
    "waiting": "This box could not be let in yet, and goes on trying by itself.",
    "refused": "The pairing code was refused. This box needs another one.",
    "claimed": "Done: this box is a hub of its clinic. Nothing more is to be done here.",
}


def headline(state: State) -> str:
    return _PHASES[state.phase]


def details(state: State) -> list[str]:
    """What the cloud or the network said, and what helps."""
    lines = [f"Cloud: {state.cloud_url}"] if state.cloud_url else []
    if state.phase in {"waiting", "refused"} and state.detail:
        lines.append(f"What went wrong: {state.detail}")
        lines += [f"What helps: {state.hint}"] if state.hint else []
    if state.phase == "claimed":
        lines += [f"Hub {state.hub_id} of the clinic {state.clinic_id}"]
    return lines


def of_the_card(found: Found) -> list[str]:
    """What was found on the card."""
    if not found.has_card:
        return ["The card's own partition can't be read: settings cannot be taken from it."]
    if found.misnamed is not None:
        return [f"There is no {FILE_NAME} on the card, but a {found.misnamed}: rename it to {FILE_NAME}."]
    if not found.has_file:
        return [f"There is no {FILE_NAME} on the card."]
    if not found.problems:
        return [f"{FILE_NAME} is on the card, and all of it can be used."]
    count = len(found.problems)
    lines = [f"{FILE_NAME} has {count} problem{'s' if count > 1 else ''}:"]
    lines += [f"  {line}" for line in found.lines()]
    if found.kept:
        lines.append(f"What it said before still holds for: {', '.join(found.kept)}.")
    return [*lines, "Mend the lines, save the file and start the box again."]


def where(found: Found, state: State) -> list[str]:
    """Where it can be reached."""
    lines = [f"Wi-Fi: {found.wifi}"] if found.wifi else []
    if not state.addresses:
        return [*lines, "No network yet: is the cable in, or the Wi-Fi in the card's file?"]
    lines.append(f"Addresses: {', '.join(state.addresses)}")
    if found.has_page and state.phase != "claimed" and state.port is not None:
        lines.append(f"Page to type a code into: {' or '.join(page_urls(state))}")
    return lines


def page_urls(state: State) -> list[str]:
    port = "" if state.port in {None, 80} else f":{state.port}"
    usable = [text for text in state.addresses if ":" not in text][:2]
    return [f"http://{name}{port}" for name in ([state.host] if state.host else []) + usable]


def report(found: Found, state: State) -> str:
    """The file on the card, and what the screen shows."""
    parts = [
        ["medxz hub: the first start", "=" * 26],
        [headline(state), *details(state)],
        of_the_card(found),
        where(found, state),
        [
            "SSH is on, for the keys in the card's file." if found.has_ssh else "SSH is off.",
            *_of_the_data(found),
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


_OPENED_BY: Final = {
    "tpm": "The data partition is encrypted, and opened by this machine's TPM.",
    "board": "The data partition is encrypted, and opened by this board's serial number: it protects a lost card, not the box.",
    "nothing": "The data partition is encrypted by a key that anybody can have: this board has no number of its own.",
    "recovery-key": "The recovery key opened the data partition. This board opens it from now on: take the key out of the card's file.",
}


def _of_the_data(found: Found) -> list[str]:
    said = _OPENED_BY.get(found.opened_by or "")
    return [said] if said else []


def on_screen(text: str) -> str:
    """The report as a console takes it: cleared before, and every line's end as a terminal wants it."""
    plain = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
    return _CLEAR + plain.replace("\n", "\r\n")
