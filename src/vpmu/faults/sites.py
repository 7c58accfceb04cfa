"""Where a fault can be ordered: the sites, what a rule can match there, and what it can do there.

A site is named after the layer that asks and what it is about to do. The word behind a key says which values
it takes (`values.KINDS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COMMON: Mapping[str, str] = {
    "hart": "natural",
    "call": "calls",
    "after": "time",
    "before": "time",
    "pc": "range",
}
"""What every rule can match: hart, n-th call that the other words match (`3`, `2-5`, a list; from 1), virtual
time, pc of the guest.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One place. `match` and `effect`: key -> kind of its value; `matches` is `match` with the common ones.

    `timed`: no call of the guest leads there; it is asked at every entry into the guest, and the engine stops
    for it at the times that rules name.
    """

    name: str
    summary: str
    effect: Mapping[str, str]
    match: Mapping[str, str] = field(default_factory=dict)
    timed: bool = False

    @property
    def layer(self) -> str:
        """The layer in a trace."""
        return self.name.partition(".")[0]

    @property
    def matches(self) -> dict[str, str]:
        """All keys of `match`."""
        return {**self.match, **COMMON}


_EVENT = {"event": "event"}
_COUNT = {"value": "word", "add": "number", "xor": "word"}

SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site("perf.create", "perf_event_create_kernel_counter returns an errno, or a NULL pointer",
             {"errno": "errno", "null": "flag"}, _EVENT),
        Site("perf.enable", "perf_event_enable: the event gets no counter (state `error`) or waits for one",
             {"state": "state"}, _EVENT),
        Site("perf.period", "perf_event_period returns an errno, and the old period stays",
             {"errno": "errno"}, _EVENT),
        Site("perf.read", "perf_event_read_value returns another total, or the one it returned last",
             {**_COUNT, "freeze": "flag"}, _EVENT),
        Site("perf.starve", "another user of the host pins hpmcounters: events lose theirs, and go to ERROR",
             {"counters": "positive", "for": "time"}, timed=True),
        Site("hart.counter", "a physical counter changes by itself",
             _COUNT, {"counter": "natural"}, timed=True),
        Site("hart.overflow", "an overflow interrupt of the host is lost, late, or comes twice",
             {"drop": "flag", "delay": "time", "duplicate": "flag"}, {**_EVENT, "counter": "natural"}),
        Site("kvm.snapshot", "KVM's access to shared memory (snapshot page, event table) finds no page",
             {"fault": "flag"}, {"access": "access", "address": "range"}),
        Site("kvm.allocate", "kernel memory for a guest's request is not to be had", {"fail": "flag"}),
        Site("kvm.interrupt", "an interrupt request for the guest is lost, late, or made twice",
             {"drop": "flag", "delay": "time", "duplicate": "flag"}, {"irq": "natural"}),
        Site("kvm.reset", "a vCPU reset leaves the virtual PMU as it is", {"skip": "flag"}),
        Site("kvm.csr", "a trapped counter read returns another value, or traps",
             {**_COUNT, "illegal": "flag"}, {"counter": "natural"}),
        Site("kvm.run", "KVM_RUN fails, the virtual PMU is reset, or all of it is lost (a migration)",
             {"errno": "errno", "reset": "flag", "migrate": "flag"}, timed=True),
        Site("sbi.call", "an SBI call gets another answer, no effect, or an effect twice; or KVM_RUN fails",
             {"error": "sbi", "value": "word", "errno": "errno", "drop": "flag", "duplicate": "flag",
              "delay": "time"},
             {"function": "function", "eid": "word", "fid": "word", "event": "sbi_event",
              "counter": "natural"}),
        Site("host.call", "a function of a real host's kernel is not called, late, or returns another value",
             {"value": "word", "errno": "errno", "skip": "flag", "delay": "time", "result": "number",
              "passed_on": "name"},
             {"function": "name", "caller": "name", "task": "name"}),
        Site("guest.memory", "guest memory changes, or a page of it is removed or becomes read-only",
             {"remove": "flag", "readonly": "flag", "restore": "flag", "xor": "word"},
             {"address": "address"}, timed=True),
    )
}  # fmt: skip
"""All sites by name, from perf down to the guest's memory."""

ALTERNATIVES: frozenset[str] = frozenset({"value", "for"})
"""Effects that go with another one of the same rule."""
