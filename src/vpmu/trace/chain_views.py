"""Chains of `trace.chains` for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable

from .chain import Chain, depth, mark
from .views import as_object as record_object
from .views import words

LEGEND = {
    "x": "a layer refused or failed", "!": "a fault that was ordered", "*": "not what the hart did",
    "<": "before", ">": "what the guest then sees",
}  # fmt: skip


def as_text(chain: Chain) -> str:
    """A chain for a person: the sentence, what was before, the layers from the guest down, what came of it;
    the marks are those of LEGEND.
    """
    first = chain.records[0]
    again = f", {chain.times} times" if chain.times > 1 else ""
    lines = [f"{first.time:,} ns, hart {first.hart}: {chain.kind}{again}: {chain.title}"]
    lines += [f"  because of {reason}" for reason in chain.because]
    lines += [f"  < {record.time:,} ns  {words(record)}" for record in chain.earlier]
    ordered = sorted(chain.records, key=lambda record: depth(record.layer))
    lines += [f"  {mark(record)} {record.layer:<5}  {words(record)}" for record in ordered]
    lines += [f"  > {record.time:,} ns  {words(record)}" for record in chain.later]
    return "\n".join(lines)


def legend(chains: Iterable[Chain]) -> str:
    """One line: what the marks mean that these chains have."""
    used: set[str] = set()
    for chain in chains:
        used |= {mark(record) for record in chain.records}
        used |= {"<"} if chain.earlier else set()
        used |= {">"} if chain.later else set()
    return ", ".join(f"{sign} {meaning}" for sign, meaning in LEGEND.items() if sign in used)


def as_object(chain: Chain) -> dict[str, object]:
    """A chain for `--json`."""
    culprit = chain.culprit
    return {
        "kind": chain.kind, "title": chain.title, "time": chain.records[0].time,
        "hart": chain.records[0].hart, "times": chain.times,
        "layer": None if culprit is None else culprit.layer,
        "because": list(chain.because),
        "earlier": [record_object(record) for record in chain.earlier],
        "records": [record_object(record) for record in chain.records],
        "later": [record_object(record) for record in chain.later],
    }  # fmt: skip
