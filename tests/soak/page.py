"""The report of a soak: one HTML page for a clinic's IT, with everything in it. Pure: what was seen goes in, text comes out.

It loads nothing from anywhere and runs nothing, so that it can be sent by mail, opened in ten years, and printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from tests.soak.bounds import HANDLES, JUDGED, MEMORY, THREADS, Judgement, Series, bound_of, is_house
from tests.soak.faults import Fault
from tests.soak.plot import At, Line, Plot, Span, draw
from tests.soak.samples import Sample
from tests.soak.soak import Told
from tests.soak.verdicts import HOUR_S, MIB

_SCALES: Final = {series.name: series.scale for series in JUDGED}
_WORDS: Final = {"flat": "flat", "grows": "grows", "unclear": "too short to tell"}
_NAMES: Final = {"cloud": "the cloud", "hub-a": "hub A", "hub-b": "hub B"}
_GAP_SAMPLES: Final = 3

STYLE: Final = """
:root{--bg:#fff;--fg:#1c2128;--dim:#646c76;--rule:#dfe3e8;--k0:#0b6bcb;--k1:#b3560f;--k2:#2a7d46;--bad:#b3261e;--good:#1a6b35;
--mark:#8250df;--span:#f2c14e55}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e4e8ec;--dim:#98a2ad;--rule:#2c333b;--k0:#6cb2ff;--k1:#f0a35e;--k2:#6fcf8d;
--bad:#ff8a80;--good:#7bd694;--mark:#c3a5ff;--span:#b98a1a40}}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--rule:#ccc}}
*{box-sizing:border-box}
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1200px;padding:24px 20px 60px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 8px;border-top:1px solid var(--rule);padding-top:16px}
p{max-width:75ch}.dim,small{color:var(--dim)}.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}
.told{border-left:5px solid var(--good);padding:6px 0 6px 14px;margin:14px 0;font-size:17px}.told.bad{border-color:var(--bad)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:3px 16px 3px 0;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;color:var(--dim)}td.n,th.n{text-align:right}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:10px 26px}
figure{margin:8px 0;break-inside:avoid}figcaption{font-size:14px}svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font-size:11px}.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:var(--rule)}.mark{stroke:var(--mark);stroke-dasharray:3 3;stroke-width:1.5}.span{fill:var(--span)}
.limit{stroke:var(--bad);stroke-dasharray:7 4}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.line.k0{stroke:var(--k0)}.line.k1{stroke:var(--k1)}.line.k2{stroke:var(--k2)}
.key{font-size:12px;color:var(--dim);margin-left:12px}.key::before{content:"";display:inline-block;width:14px;height:3px;
margin-right:5px;vertical-align:middle;background:var(--k0)}.key.k1::before{background:var(--k1)}.key.k2::before{background:var(--k2)}
"""


def render(told: Told, when: str, machine: str) -> str:
    """The whole page."""
    body = [
        _head(told, when, machine), _what_was_done(told), _verdicts(told.judgements), _legend(told),
        _overview(told),
        *(_of_party(told, party) for party in dict.fromkeys(one.party for one in told.samples)),
        _faults(told.faults), _how_to_read(told),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Soak of {escape(when)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _head(told: Told, when: str, machine: str) -> str:
    findings = told.findings
    unclear = sum(one.told.judged == "unclear" for one in told.judgements)
    if findings:
        said = "".join(f"<li>{escape(one)}</li>" for one in findings)
        box = f'<div class="told bad"><span class="bad">Not as it should be.</span><ul>{said}</ul></div>'
    else:
        short = f" {unclear} of the trends need a longer run to be judged." if unclear else ""
        box = (
            '<div class="told"><span class="good">All is well.</span> Nothing that was promised is missing, all '
            f"hold the same, and nothing grows that should not.{short}</div>"
        )
    early = " It was ended early." if told.was_ended else ""
    return (
        f"<h1>Soak: {_time(told.ran_s)} of work and faults</h1>"
        f'<p class="dim">{escape(when)} · {told.devices} tablets, two hubs of one site, a cloud · seed {told.seed} · '
        f"{escape(machine)}.{early}</p>{box}"
    )


def _what_was_done(told: Told) -> str:
    rows: list[tuple[str, str]] = []
    if told.settled is not None:
        end = told.settled
        rows += [
            ("changes (ops) at the end, the same at the cloud and both hubs", f"{end.ops:,}"),
            ("of them acknowledged to a tablet by a server", f"{end.acknowledged:,}"),
            ("recorded by people at tablets", f"{end.recorded:,}"),
            (
                "records (entities) that every tablet shows alike",
                f"{end.entities:,} on {end.tablets} tablets",
            ),
            ("time until all were in step, once everything was mended", _time(end.heal_s)),
        ]
    acts = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in told.acts.most_common() if name != "arrived"
    )
    rows.append(("ops of others that came to a tablet", f"{told.acts['arrived']:,}"))
    rows += [
        ("what people did", acts),
        ("faults", f"{len(told.faults)}, {len(told.marks)} starts of servers"),
    ]
    lawful = sum(times for one, times in told.problems.items() if one.startswith("lawful"))
    rows.append(("times that a tablet was told to try again later, as it should be", f"{lawful:,}"))
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<h2>What was done</h2><div class="scroll"><table>{cells}</table></div>'


def _verdicts(judgements: Sequence[Judgement]) -> str:
    rows = "".join(map(_verdict_row, judgements))
    return (
        '<h2>Verdicts</h2><div class="scroll"><table><tr><th>of</th><th>series</th><th>verdict</th>'
        '<th class="n">slope an hour</th><th class="n">may be</th><th class="n">greatest</th><th class="n">limit</th>'
        f'<th class="n">watched</th></tr>{rows}</table></div>'
    )


def _verdict_row(one: Judgement) -> str:
    scale = _SCALES.get(one.series, 1.0)
    told, bound = one.told, one.bound
    is_limit = bound.most is not None
    slope = "" if is_limit else f"{told.per_hour / scale:+.2f}"
    may = "" if is_limit else f"{bound.per_hour / scale:+.2f}"
    limit = f"{bound.most / scale:.0f}" if bound.most is not None else ""
    looks = {"flat": "good", "grows": "bad", "unclear": "dim"}[told.judged]
    word = ("within" if told.judged == "flat" else "beyond") if is_limit else _WORDS[told.judged]
    unit = f" {one.unit}" if one.unit else ""
    cells = "".join(
        f'<td class="n">{cell + unit if cell else ""}</td>'
        for cell in (slope, may, f"{told.most / scale:.1f}", limit)
    )
    return (
        f"<tr><td>{escape(_name(one.party))}</td><td>{escape(one.series)}</td>"
        f'<td class="{looks}">{word}</td>{cells}<td class="n">{_time(told.watched_s)}</td></tr>'
    )


def _legend(told: Told) -> str:
    return (
        "<h2>Over time</h2><p>Yellow bands: something around this process was broken just then. Violet lines: the process "
        "was started again, after it was killed or stopped. Both say more when the mouse rests on them.</p>"
        if told.samples
        else ""
    )


def _overview(told: Told) -> str:
    spans = [_span(fault) for fault in told.faults]
    pushes = [one for one in told.pushes if one.pushes]
    hubs = [one for one in told.samples if not is_house(one.party)]
    plots = [
        Plot(
            "How long a push takes", "ms",
            [Line("median", [[(one.at_s, one.median_ms) for one in pushes]]),
             Line("95 of 100 are faster than", [[(one.at_s, one.p95_ms) for one in pushes]])],
            told.ran_s, spans=spans,
        ),
        Plot(
            "Ops stored", "", [
                Line(_name(party), [[(one.at_s, one.ops) for one in hubs if one.party == party]])
                for party in dict.fromkeys(one.party for one in hubs if one.party != "cloud")
            ], told.ran_s, spans=spans,
        ),
    ]  # fmt: skip
    return f'<h3>All together</h3><div class="plots">{"".join(map(draw, plots))}</div>'


def _of_party(told: Told, party: str) -> str:
    samples = [one for one in told.samples if one.party == party]
    spans = [_span(one) for one in told.faults if party in one.target or is_house(party)]
    marks = [
        Span(one.at_s, one.at_s, f"{_time(one.at_s)}: started again ({one.why})")
        for one in told.marks
        if one.party == party
    ]

    def line(name: str, value: Callable[[Sample], float]) -> Line:
        return Line(name, list(_pieces(samples, value, told.pace.sample_s)))

    def of(series: Series) -> Callable[[Sample], float]:
        return lambda one: series.value(one) / series.scale

    limit = bound_of(party, JUDGED[3]).most
    plots = [
        Plot("Memory", "MiB", [line("own (PSS)", of(MEMORY)), line("with what is shared (RSS)", lambda one: one.rss / MIB)],
             told.ran_s, marks, spans),
        Plot("Open handles and threads", "", [line("handles", of(HANDLES)), line("threads", of(THREADS))],
             told.ran_s, marks, spans),
        Plot("On the disk", "MiB", [line("write-ahead log", lambda one: one.wal / MIB),
             line("databases", lambda one: one.database / MIB)], told.ran_s, marks, spans,
             limit=None if limit is None else limit / MIB),
        Plot("Processor", "% of one core", [Line("used", list(_used(samples)))], told.ran_s, marks, spans),
    ]  # fmt: skip
    return f'<h3>{escape(_name(party))}</h3><div class="plots">{"".join(map(draw, plots))}</div>'


def _faults(faults: Sequence[Fault]) -> str:
    rows = "".join(
        f'<tr><td class="n">{_time(one.at_s)}</td><td>{escape(one.kind)}</td><td>{escape(one.target)}</td>'
        f'<td class="n">{one.lasts_s:.1f} s</td></tr>'
        for one in faults
    )
    return (
        '<h2>Faults</h2><div class="scroll"><table><tr><th class="n">at</th><th>what</th><th>on</th><th class="n">for</th>'
        f"</tr>{rows}</table></div>"
    )


def _how_to_read(told: Told) -> str:
    return (
        "<h2>How this is judged</h2><p>Each process is watched from one start to the next. The first "
        f"{_time(told.pace.warm_up_s)} of each life do not count: code is loaded and caches fill. What is left of all lives "
        "gives one slope, after a little was taken off for every op that was stored meanwhile, and for every connection. A series grows if that slope "
        "is steeper than it may be, and came to something in the time that was watched. Write-ahead logs have a limit in "
        "place of a slope. The numbers stand in <code>tests/soak/bounds.py</code>, with the reasons.</p>"
        "<p>cut: a link refuses and resets. slow: each piece comes later. swallow: a link takes all and passes nothing. hang: "
        "the process stands still. kill: as by a power cut, and started again. restart: ended well, and started again. off: "
        "killed, and away for a while. All samples lie beside this page in <code>samples.csv</code>, all else in "
        "<code>soak.json</code>.</p>"
    )


def _pieces(
    samples: Sequence[Sample], value: Callable[[Sample], float], sample_s: float
) -> Iterator[list[At]]:
    """A line is broken where the process was another one, or was not seen."""
    piece: list[At] = []
    before: Sample | None = None
    for one in samples:
        if before is not None and (
            one.pid != before.pid or one.at_s - before.at_s > _GAP_SAMPLES * sample_s + 2
        ):
            yield piece
            piece = []
        piece.append((one.at_s, value(one)))
        before = one
    if piece:
        yield piece


def _used(samples: Sequence[Sample]) -> Iterator[list[At]]:
    piece: list[At] = []
    for one, other in pairwise(samples):
        if one.pid == other.pid and other.at_s > one.at_s:
            piece.append((other.at_s, 100 * (other.cpu_s - one.cpu_s) / (other.at_s - one.at_s)))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _span(fault: Fault) -> Span:
    return Span(
        fault.at_s, fault.until_s, f"{_time(fault.at_s)}: {fault.kind} {fault.target}, {fault.lasts_s:.0f} s"
    )


def _name(party: str) -> str:
    if is_house(party):
        return f"tablets, process {party.removeprefix('tablets-')}"
    return _NAMES.get(party, party)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / HOUR_S:.1f} h" if seconds > 2 * HOUR_S else f"{seconds / 60:.1f} min"
