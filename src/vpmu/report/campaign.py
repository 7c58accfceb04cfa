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
from ..kvm.behaviours import BEHAVIOURS
from .html import COLOURS, bars, table, timeline, verdict
from .html import page as whole_page

MAX_ROWS = 5000


def page(plan: CampaignPlan, results: Sequence[Result], cases: Sequence[Case] = ()) -> str:
    """The page."""
    return whole_page(f"Campaign: {plan.name}", _body(plan, results, cases))


def _body(plan: CampaignPlan, results: Sequence[Result], cases: Sequence[Case]) -> Iterator[str]:
    counts = Counter(str(result["verdict"]) for result in results)
    sums = " ".join(verdict(name, f"{counts[name]:,} {COLOURS[name][1]}") for name in COLOURS if counts[name])
    product = (
        f"{len(plan.guests)} guests &times; {len(plan.host_pmus)} host PMUs &times; "
        f"{len(plan.profiles)} profiles &times; "
        f"{len(plan.faults)} faults &times; {len(plan.seeds)} seeds"
    )
    yield f"<p>{len(results):,} runs ({product})</p><p>{sums}</p>"
    for guest in plan.guests:
        yield f"<h2>{escape(guest.name)}</h2>"
        yield _matrix(plan, [result for result in results if result["guest"] == guest.name])
    if cases:
        yield "<h2>Silently wrong, as short as it gets</h2>"
        yield from map(_case, cases)
    yield "<h2>All runs</h2>" + _tools(plan, counts)
    yield _runs(results)


def _matrix(plan: CampaignPlan, results: Sequence[Result]) -> str:
    rows = []
    for fault, faults in plan.faults:
        rules = "<br>".join(f"<code>{escape(rule.source)}</code>" for rule in faults.rules)
        row = [f'{escape(fault)}<div class="muted">{rules}</div>']
        for profile in plan.profiles:
            found = Counter(
                str(result["verdict"])
                for result in results
                if result["fault"] == fault and result["profile"] == profile
            )
            row.append(
                " ".join(
                    f'<a role="button" tabindex="0" data-show="{escape(json.dumps([profile, fault, name]))}">'
                    f"{verdict(name, f'{number} {COLOURS[name][1]}')}</a>"
                    for name, number in found.most_common()
                )
            )
        rows.append(row)
    return table(["fault", *plan.profiles], rows)


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
    numbers = bars([(event, told, truth) for event, told, truth in case.numbers])
    return (
        f'<div class="case"><p>{verdict(Verdict.SILENTLY_WRONG)} <b>{escape(case.profile)}</b>, '
        f"{escape(case.guest)}: {escape(case.finding)} ({case.runs} runs)</p><p>{rules}</p>{steps}{numbers}"
        f"{timeline(case.records)}"
        + (f"<p>It is right without any one of these behaviours:</p><ul>{blamed}</ul>" if blamed else "")
        + "</div>"
    )


def _tools(plan: CampaignPlan, counts: Counter[str]) -> str:
    verdicts = "".join(f"<option>{escape(name)}</option>" for name in COLOURS if counts[name])
    profiles = "".join(f"<option>{escape(profile)}</option>" for profile in plan.profiles)
    return (
        '<div class="tools"><input id="find" type="search" placeholder="find: guest, fault, reason…" '
        'aria-label="find"><select id="verdict" aria-label="verdict"><option value="">every verdict</option>'
        f'{verdicts}</select><select id="profile" aria-label="profile">'
        '<option value="">every profile</option>'
        f'{profiles}</select><span id="shown" class="muted"></span></div>'
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
        words = {name: escape(str(result[name])) for name in ("verdict", "profile", "guest", "fault")}
        rows.append(
            f'<tr data-verdict="{words["verdict"]}" data-profile="{words["profile"]}">'
            f"<td>{result['run']}</td><td>{words['guest']}</td><td>{words['profile']}</td>"
            f"<td>{words['fault']}</td><td>{result['seed']}</td><td>{verdict(result['verdict'])}</td>"
            f"<td><details><summary>{escape(str(result['reason'])) or 'open'}</summary>"
            f"<pre>{escape(chr(10).join(lines))}</pre></details></td></tr>"
        )
    note = f"<p>The first {MAX_ROWS:,} are listed.</p>" if len(results) > MAX_ROWS else ""
    heads = "".join(
        f"<th>{h}</th>" for h in ("run", "guest", "profile", "fault", "seed", "verdict", "reason")
    )
    return (
        f'{note}<div class="wide"><table id="runs"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
