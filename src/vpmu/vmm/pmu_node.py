"""Values of mhpmevent on our harts, and the device tree's `pmu` node that tells firmware of them.

The ISA leaves the encoding to the vendor. Ours: a generic event of SBI is its event_idx with bit 40 set, a
raw event of the description of the host is its own number. Linux has the binding in
devicetree/bindings/perf/riscv,pmu.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vpmu.spec.sbi_events import standard_events

if TYPE_CHECKING:
    from vpmu.hart.pmu import Selector
    from vpmu.perf.description import HostPmuDescription

GENERIC = 1 << 40


def selectors(host: HostPmuDescription) -> Mapping[int, Selector]:
    """Value of mhpmevent (bits 55:0) -> what it counts, of every event that the host's harts have."""
    events = standard_events()
    generic = {GENERIC | events[name].event_idx: selector for name, _, selector in host.countable()}
    return generic | {config: selector for config, _, selector in host.countable_raw()}


def properties(host: HostPmuDescription) -> dict[str, list[int]]:
    """The three properties of the node, as cells."""
    events = standard_events()
    to_event: list[int] = []
    to_counters: list[int] = []
    for name, counters, _ in host.countable():
        index = events[name].event_idx
        value = GENERIC | index
        mask = sum(1 << counter for counter in counters)
        if mask:
            to_event += [index, value >> 32, value & 0xFFFFFFFF]
            to_counters += [index, index, mask]
    raw: list[int] = []
    for config, counters, _ in host.countable_raw():
        mask = sum(1 << counter for counter in counters)
        raw += [config >> 32, config & 0xFFFFFFFF, 0x00FFFFFF, 0xFFFFFFFF, mask]
    named = {
        "riscv,event-to-mhpmevent": to_event,
        "riscv,event-to-mhpmcounters": to_counters,
        "riscv,raw-event-to-mhpmcounters": raw,
    }
    return {name: cells for name, cells in named.items() if cells}
