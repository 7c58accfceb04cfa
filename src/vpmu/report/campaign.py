"""The page of a campaign: matrix of faults and profiles, the cases, and every run to filter and to open."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from ..campaign.plan import CampaignPlan
from ..campaign.run import Result
from ..campaign.shrink import Case
from ..campaign.verdict import Verdict
from ..profiles.behaviours import BEHAVIOURS
from ..trace.chain_views import as_text as chain_text
from ..trace.chains import chains_of
from ..trace.views import as_text
from .drawings import counts as drawn_counts
from .drawings import timeline
from .html import COLOURS, table, tools, verdict
from .html import page as whole_page

MAX_ROWS = 5000
_NAMES = ("verdict", "profile", "guest", "host_pmu", "fault")


def page(plan: CampaignPlan, results: Sequence[Result], cases: Sequence[Case] = ()) -> str:
    """The page."""
    return whole_page(f"Campaign: {plan.name}", _body(plan, results, cases))


def _body(plan: CampaignPlan, results: Sequence[Result], cases: Sequence[Case]) -> Iterator[str]:
    counts = Counter(str(result["verdict"]) for result in results)
    sums = " ".join(verdict(name, f"{counts[name]:,} {COLOURS[name][1]}") for name in COLOURS if counts[name])
    product = " &times; ".join(
        f"{number} {word}{'s' * (number != 1)}"
        for number, word in (
            (len(plan.guests), "guest"), (len(plan.host_pmus), "host PMU"),
            (len(plan.implementations), "profile"),
            (len(plan.faults), "fault"), (len(plan.seeds), "seed"),
        )
    )  # fmt: skip
    yield f"<p>{len(results):,} runs ({product})</p><p>{sums}</p>"
    for guest in plan.guests:
        for host in plan.host_pmus:
            on = f' <span class="muted">on host PMU {escape(host)}</span>' if len(plan.host_pmus) > 1 else ""
            yield f"<h2>{escape(guest.name)}{on}</h2>"
            yield _matrix(plan, guest.name, host, results)
    if cases:
        yield "<h2>Silently wrong, as short as it gets</h2>"
        yield from map(_case, cases)
    chosen = {"verdict": [name for name in COLOURS if counts[name]], "profile": plan.implementations}
    yield "<h2>All runs</h2>" + tools(chosen, "guest, fault, reason…")
    yield "<p class='muted'>A run's trace: <code>vpmu explain FOLDER:RUN --records</code>.</p>"
    yield _runs(results)


def _matrix(plan: CampaignPlan, guest: str, host: str, results: Sequence[Result]) -> str:
    cells: dict[tuple[object, object], Counter[str]] = {}
    for result in results:
        if (result["guest"], result["host_pmu"]) == (guest, host):
            found = cells.setdefault((result["fault"], result["profile"]), Counter())
            found[str(result["verdict"])] += 1
    rows = []
    for fault, faults in plan.faults:
        rules = "<br>".join(f"<code>{_rule(rule.source)}</code>" for rule in faults.rules)
        row = [f'{escape(fault)}<div class="muted">{rules}</div>']
        for profile in plan.implementations:
            found = cells.get((fault, profile), Counter())
            row.append(
                " ".join(
                    f'<a role="button" tabindex="0" data-show="{_where(profile, fault, name, guest, host)}">'
                    f"{verdict(name, f'{number} {COLOURS[name][1]}')}</a>"
                    for name, number in found.most_common()
                )
            )
        rows.append(row)
    return table(["fault", *plan.implementations], rows)


def _rule(source: str) -> str:
    """A rule that may be broken after a comma."""
    return escape(source).replace(",", ",<wbr>")


def _where(*words: str) -> str:
    return escape(json.dumps(words))


def _case(case: Case) -> str:
    blamed = "".join(
        f"<li><b>{escape(name)}</b>: {escape(BEHAVIOURS[name].summary)} "
        f"<code>{escape(BEHAVIOURS[name].commit)}</code> {escape(BEHAVIOURS[name].subject)}</li>"
        for name in case.behaviours
    )
    rules = (
        "<br>".join(f"<code>--inject {escape(rule)}</code>" for rule in case.rules) or "no fault is needed"
    )
    steps = f"<pre>{escape(chr(10).join(case.steps))}</pre>" if case.steps else ""
    many = f"{case.runs} run{'s' * (case.runs != 1)}"
    return (
        f'<div class="case"><p>{verdict(Verdict.SILENTLY_WRONG)} <b>{escape(case.profile)}</b>, '
        f"{escape(case.guest)}: {escape(case.finding)} ({many})</p><p>{rules}</p>{steps}"
        f"{_drawn(case)}{timeline(case.records)}{_trace(case)}"
        + (f"<p>It is right without any one of these behaviours:</p><ul>{blamed}</ul>" if blamed else "")
        + "</div>"
    )


def _drawn(case: Case) -> str:
    if not case.records:
        return ""
    last = max(record.time for record in case.records)
    return drawn_counts(case.samples, case.records[0].time, last)


def _trace(case: Case) -> str:
    """What went wrong, layer by layer, and the whole trace, to be opened."""
    if not case.records:
        return ""
    chains = "\n\n".join(map(chain_text, chains_of(case.records)))
    told = f"<details><summary>explained</summary><pre>{escape(chains)}</pre></details>" if chains else ""
    trace = escape("\n".join(map(as_text, case.records)))
    return (
        f"{told}<details><summary>trace ({len(case.records)} records)</summary><pre>{trace}</pre></details>"
    )


def _runs(results: Sequence[Result]) -> str:
    rows = []
    order = list(COLOURS)
    shown = sorted(results, key=lambda result: (-order.index(str(result["verdict"])), result["run"]))
    for result in shown[:MAX_ROWS]:
        calls = result.get("calls", {})
        findings = result.get("findings", [])
        assert isinstance(calls, dict)
        assert isinstance(findings, list)
        lines = [str(finding["text"]) for finding in findings]
        lines += [f"{number:6} times {call}" for call, number in calls.items()]
        words = {name: escape(str(result[name])) for name in _NAMES}
        data = " ".join(f'data-{name}="{words[name]}"' for name in _NAMES)
        rows.append(
            f"<tr {data}>"
            f'<td data-head="run">{result["run"]}</td><td data-head="guest">{words["guest"]}</td>'
            f'<td data-head="host">{words["host_pmu"]}</td><td data-head="profile">{words["profile"]}</td>'
            f'<td data-head="fault">{words["fault"]}</td><td data-head="seed">{result["seed"]}</td>'
            f"<td>{verdict(result['verdict'])}</td>"
            f"<td><details><summary>{escape(str(result['reason'])) or 'open'}</summary>"
            f"<pre>{escape(chr(10).join(lines))}</pre></details></td></tr>"
        )
    note = f"<p>The first {MAX_ROWS:,} are listed.</p>" if len(results) > MAX_ROWS else ""
    heads = "".join(
        f"<th>{h}</th>" for h in ("run", "guest", "host", "profile", "fault", "seed", "verdict", "reason")
    )
    return (
        f'{note}<div class="wide"><table id="runs"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
