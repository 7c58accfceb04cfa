"""`vpmu explain RUN`: what went wrong in a run, from its trace."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HOST_LOST_STATUS, FileError, UsageError
from ..files import read_json
from ..trace.chain_views import as_object, as_text, legend
from ..trace.chains import MAX_CHAINS, Walker, groups
from ..trace.read import Trace, read_trace
from ..trace.recorder import Record
from ..trace.views import as_text as record_text
from .images import campaign_run
from .output import print_json

if TYPE_CHECKING:
    from ..campaign.plan import CampaignPlan


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a campaign says of a run, and why."""

    text: str
    reason: str
    behaviours: tuple[tuple[str, str], ...]
    """Each of these, switched off, makes the counts right; with commit and subject."""


def explain_runs(names: list[str], *, as_json: bool, records: bool) -> int:
    """Explain traces, or runs of a campaign; the exit status. FileError, UsageError."""
    kinds: set[str] = set()
    told = []
    for name in names:
        of_campaign = campaign_run(name)
        verdict = None
        if of_campaign:
            plan, number = _plan(*of_campaign), of_campaign[1]
            found: Iterable[Record] = _done_again(plan, number, of_campaign[0])
            verdict = _verdict(plan, number, of_campaign[0])
        else:
            found = read_trace(name)
        walker = _walk(found, show=records and not as_json)
        kinds.update(chain.kind for chain in walker.chains)
        cut = found.cut if isinstance(found, Trace) else None
        if cut is not None:
            say = f"vpmu: {name}:{cut}: the trace is cut off here; what came before is explained"
            print(say, file=sys.stderr)
        if as_json:
            told.append({**_as_object(name, walker, verdict), "cut": cut})
        else:
            _print(name, walker, verdict)
    if as_json:
        print_json({"runs": told})
    return HOST_LOST_STATUS if "host lost" in kinds else 1 if kinds else 0


def _walk(records: Iterable[Record], *, show: bool) -> Walker:
    walker = Walker()
    for group in groups(records):
        walker.take(group)
        if show:
            print("\n".join(map(record_text, group)))
    walker.finish()
    return walker


def _as_object(name: str, walker: Walker, verdict: Verdict | None) -> dict[str, object]:
    told: dict[str, object] = {
        "run": name, "chains": [as_object(chain) for chain in walker.chains],
        "left_out": walker.left_out, "probes_left_out": walker.probed, "counts_judged": walker.judged,
    }  # fmt: skip
    if verdict is not None:
        told |= {
            "verdict": verdict.text, "reason": verdict.reason,
            "behaviours": [behaviour for behaviour, _ in verdict.behaviours],
        }  # fmt: skip
    return told


def _print(name: str, walker: Walker, verdict: Verdict | None) -> None:
    for chain in walker.chains:
        print(as_text(chain), end="\n\n")
    marks = legend(walker.chains)
    if marks:
        print(f"marks: {marks}")
    kinds: dict[str, int] = {}
    for chain in walker.chains:
        kinds[chain.kind] = kinds.get(chain.kind, 0) + chain.times
    told = ", ".join(f"{times} {kind}" for kind, times in kinds.items())
    nothing = "nothing was refused, frozen, lost or wrong" if walker.judged else (
        "nothing was refused, frozen or lost (the trace does not say whether its counts were right)"
    )  # fmt: skip
    print(f"{name}: {told or nothing}")
    if verdict is not None:
        print(f"verdict: {verdict.text}{': ' if verdict.reason else ''}{verdict.reason}")
        for behaviour, commit in verdict.behaviours:
            print(f"right without {behaviour} ({commit})")
    if walker.probed:
        print(f"left out: {walker.probed} refusals while the guest's driver looked which events there are")
    if walker.left_out:
        print(f"{walker.left_out} more are not shown: the first {MAX_CHAINS} different ones are")


def _plan(folder: Path, number: int) -> CampaignPlan:
    from ..campaign.plan import CampaignPlan

    path = folder / "plan.json"
    content = read_json(path, "campaign")
    try:
        plan = CampaignPlan.from_object(content["plan"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(path, f"not the plan of a campaign: {error}"[:200], layer="campaign") from None
    if number >= len(plan):
        raise UsageError("number of a run", expected=f"0 to {len(plan) - 1}", got=number)
    return plan


def _done_again(plan: CampaignPlan, number: int, folder: Path) -> list[Record]:
    """The records of a campaign's run: a run is a function of plan and number, so it can be had again."""
    from ..campaign.run import record_run

    return record_run(plan, number, folder)


def _verdict(plan: CampaignPlan, number: int, folder: Path) -> Verdict:
    """The run's verdict; of a wrong one also the behaviours that make the difference."""
    from ..campaign.run import Runner
    from ..campaign.shrink import blamed
    from ..campaign.verdict import Verdict as Verdicts
    from ..profiles.behaviours import BEHAVIOURS

    result = Runner(plan, folder).run(number)
    names = blamed(plan, number) if result["verdict"] == Verdicts.SILENTLY_WRONG else ()
    behaviours = tuple(
        (name, f"{BEHAVIOURS[name].commit} {BEHAVIOURS[name].subject}".strip()) for name in names
    )
    return Verdict(str(result["verdict"]), str(result["reason"]), behaviours)
