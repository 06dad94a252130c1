"""The one page of a box that belongs to no clinic yet, as HTML: its state, what is wrong, and a field for the code.

It works without JavaScript, with a keyboard, a screen reader and a telephone; it loads nothing. Nothing that was typed or
read is shown again but the cloud's address and the hub's name, and those escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

from hub.boot.records import Found, State
from hub.boot.reporting import details, headline, of_the_card, where

STYLE: Final = """
:root{color-scheme:light dark;--line:#767676;--bad:#a3140c;--good:#0b5e2a;--press:#0b4f8a}
@media(prefers-color-scheme:dark){:root{--bad:#ff9c94;--good:#86dfa4;--press:#1c6db5}}
body{font:1.0625rem/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:38rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:1.5rem 0 .25rem}
.state{border-left:.4rem solid var(--line);padding:.25rem 1rem;margin:1rem 0}
.bad{border-color:var(--bad)}.good{border-color:var(--good)}.error{color:var(--bad);font-weight:600;margin:.25rem 0}
label{display:block;font-weight:600;margin-top:1rem}.note{margin:0 0 .25rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;border:2px solid var(--line);border-radius:.25rem}
input[aria-invalid]{border-color:var(--bad)}
button{font:inherit;font-weight:600;margin-top:1.25rem;padding:.7rem 1.4rem;border:0;border-radius:.25rem;background:var(--press);color:#fff;min-height:2.75rem}
:focus-visible{outline:3px solid var(--press);outline-offset:2px}
ul{padding-left:1.25rem}pre{white-space:pre-wrap;font:inherit;margin:.5rem 0}
""".strip()


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the form's fields; never a code. `fixed_cloud`: the card's file names it, and nobody else may."""

    token: str
    cloud: str = ""
    name: str = ""
    fixed_cloud: bool = False


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why what was sent can't be used: the field, and what it must be."""

    field: str
    message: str


def first_page(found: Found, state: State, filled: Filled, wrong: tuple[Wrong, ...] = ()) -> str:
    """The whole page."""
    kind = {"claimed": "state good", "refused": "state bad", "waiting": "state bad"}.get(state.phase, "state")
    title = "Mistake: " if wrong else ""
    asks = state.phase not in {"claimed", "trying"}
    refresh = '<meta http-equiv="refresh" content="3">' if state.phase == "trying" else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,">{refresh}'
        f"<title>{title}medxz hub: first start</title><style>{STYLE}</style></head><body><main>"
        "<h1>medxz hub: first start</h1>"
        f'<div class="{kind}" role="status"><p>{escape(headline(state))}</p>{_paragraphs(details(state))}</div>'
        f"{_form(filled, wrong) if asks else _goes_on(state)}"
        f"<h2>The card</h2><pre>{escape(chr(10).join(of_the_card(found)))}</pre>"
        f"<h2>This box</h2>{_paragraphs(where(found, state))}"
        '<p><a href="/">Look again</a></p></main></body></html>\n'
    )


def plain_page(title: str, message: str) -> str:
    """A page that says one thing."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<p>{escape(message)}</p><p><a href="/">To the first page</a></p></main></body></html>\n'
    )


def _form(filled: Filled, wrong: tuple[Wrong, ...]) -> str:
    at = {one.field: one.message for one in wrong}
    summary = f'<p class="error" role="alert">{escape(at[""])}</p>' if "" in at else ""
    if filled.fixed_cloud:
        cloud = f'<p class="note">Cloud: {escape(filled.cloud)}, by the file on the card.</p>'
    else:
        note = "Not needed where you paste the whole text of the code."
        cloud = _field("cloud", "The cloud's address", note, filled.cloud, at, 'type="text" inputmode="url"')
    code_note = "20 letters and digits; the administrator makes it: medxz-cloud code --for hub."
    code = _field(
        "code", "Pairing code", code_note, "", at, 'type="text" autocapitalize="characters" required'
    )
    name_note = "What people will call this hub, as in Reception."
    name = _field(
        "name", "Name of this hub", name_note, filled.name, at, 'type="text" required maxlength="200"'
    )
    return (
        '<h2 id="claim">Make this box a hub of your clinic</h2>'
        f'<form method="post" action="/" aria-labelledby="claim" autocomplete="off">{summary}'
        f'<input type="hidden" name="token" value="{escape(filled.token)}">{cloud}{code}{name}'
        "<button>Claim this box</button></form>"
    )


def _field(name: str, label: str, note: str, value: str, wrong: dict[str, str], attributes: str) -> str:
    said = wrong.get(name)
    error = f'<p class="error" id="{name}-error">{escape(label)}: {escape(said)}</p>' if said else ""
    described = f"{name}-note {name}-error" if said else f"{name}-note"
    more = ' aria-invalid="true" autofocus' if said else ""
    return (
        f'<label for="{name}">{escape(label)}</label><p class="note" id="{name}-note">{escape(note)}</p>{error}'
        f'<input id="{name}" name="{name}" value="{escape(value)}" aria-describedby="{described}" '
        f'spellcheck="false" autocomplete="off" {attributes}{more}>'
    )


def _goes_on(state: State) -> str:
    if state.phase == "claimed":
        return "<p>This page ends now. You can close it, and let tablets in.</p>"
    return "<p>This page looks again by itself.</p>"


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
