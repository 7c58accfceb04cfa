"""`vpmu explain RUN`: what went wrong in a run, from its trace."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import FileError, UsageError
from ..files import read_json
from ..trace.chains import MAX_CHAINS, Walker, as_object, as_text, groups
from ..trace.read import Trace, read_trace
from ..trace.recorder import Record
from ..trace.views import as_text as record_text
from .images import campaign_run
from .output import print_json


def explain_runs(names: list[str], *, as_json: bool, records: bool) -> int:
    """Explain traces, or runs of a campaign; the exit status. FileError, UsageError."""
    found = []
    for name in names:
        told = _records(name)
        walker = _walk(told, show=records and not as_json)
        cut = told.cut if isinstance(told, Trace) else None
        if cut is not None:
            print(f"vpmu: {name}:{cut}: the trace is cut off here; what came before is explained",
                  file=sys.stderr)  # fmt: skip
        found.append((name, walker, cut))
    if as_json:
        print_json({
            "runs": [
                {"run": name, "chains": [as_object(chain) for chain in walker.chains],
                 "left_out": walker.left_out, "cut": cut}
                for name, walker, cut in found
            ]
        })  # fmt: skip
    else:
        for name, walker, _ in found:
            _print(name, walker)
    return 1 if any(walker.chains for _, walker, _ in found) else 0


def _walk(records: Iterable[Record], *, show: bool) -> Walker:
    walker = Walker()
    for group in groups(records):
        walker.take(group)
        if show:
            print("\n".join(map(record_text, group)))
    return walker


def _print(name: str, walker: Walker) -> None:
    for chain in walker.chains:
        print(as_text(chain), end="\n\n")
    kinds: dict[str, int] = {}
    for chain in walker.chains:
        kinds[chain.kind] = kinds.get(chain.kind, 0) + chain.times
    told = ", ".join(f"{times} {kind}" for kind, times in kinds.items())
    print(f"{name}: {told or 'nothing was refused, frozen or lost'}")
    if walker.left_out:
        print(f"{walker.left_out} more are not shown: the first {MAX_CHAINS} different ones are")


def _records(name: str) -> Iterable[Record]:
    of_campaign = campaign_run(name)
    return _done_again(*of_campaign) if of_campaign else read_trace(name)


def _done_again(folder: Path, number: int) -> list[Record]:
    """The records of a campaign's run: a run is a function of plan and number, so it can be had again."""
    from ..campaign.plan import CampaignPlan
    from ..campaign.run import record_run

    path = folder / "plan.json"
    content = read_json(path, "campaign")
    try:
        plan = CampaignPlan.from_object(content["plan"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FileError(path, f"not the plan of a campaign: {error}"[:200], layer="campaign") from None
    if number >= len(plan):
        raise UsageError("number of a run", expected=f"0 to {len(plan) - 1}", got=number)
    return record_run(plan, number, folder)
