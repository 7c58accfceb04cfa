"""The hash of a machine's state: what the guest has and can come to see, and nothing of the engine's.

Two machines with the same hash go on alike. It is the same for both engines, whatever tier ran, on any host,
before a snapshot and after its restore. So these stay out: pointers, decoded code, caches of translations,
statistics, and the tags of the modelled TLB and cache, which the reference engine has not. A counter that
runs goes in as the value it has, not as what that value is made of. What is 0, none or empty is not written:
a register or an attribute that a later version adds changes no hash.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..hart import state as layout
from ..hart.host_caches import forget_translations
from ..hart.state import PAGE_DIRTY, PAGE_HASHED
from ..kvm.pmu import VcpuPmu
from ..perf.event import PerfEvent
from ..perf.host_event import HostPmuEvent, _s64
from ..perf.host_pmu import HostPmuPerf
from ..perf.injection import FaultyEvent
from ..spec.perf import U64
from .snapshot import _providers
from .snapshot_hart import _PMP
from .snapshot_kinds import OPTIONAL
from .snapshot_pages import find_backings, find_slots, find_written, runs
from .snapshot_perf import events_of
from .snapshot_state import _COUNTER, _FW, _INTERRUPTS, _PAGE, _VCPU_INTERRUPTS
from .snapshot_values import State, attributes, picked

if TYPE_CHECKING:
    from ..hart.hart import Hart
    from ..hart.memory import HostMemory
    from ..hart.pmu import PhysicalPmu
    from ..see.guest_hart import GuestHart
    from .machine import Machine
    from .snapshot import Snapshot

PAGE = 4096
DIGEST = 16  # bytes
_ZEROS = bytes(PAGE)
_MADE_HASHED = bytes(
    flags & ~PAGE_DIRTY | PAGE_HASHED if flags & PAGE_DIRTY else flags for flags in range(256)
)
_NOT_HASHED = bytes(flags & PAGE_DIRTY for flags in range(256))
_CLEAN = bytes(flags for flags in range(256) if not flags & PAGE_DIRTY)
_EMPTY = (0, None, "", b"", ())

ENGINE_WORDS = frozenset(
    """
    n n_fold n_start ctx exit exit_a exit_b exit_c fault insn length dbase trap_n trap_fuel shared contexts
    epoch across counters as_guest as_store fp_on fp_other gva tval2 tinst guest_superpages python_m
    passing watched host_ieee more stitched
    """.split()  # noqa: SIM905 - rows of names
)
"""Words of a hart's block by which an engine works: pointers, budgets, the last stop, what follows from other
words.
"""
COUNT_WORDS = frozenset(name for name in layout.STATE if name.startswith(("count_", "traps_")))
CONTROL_WORDS = frozenset(("pc", "mode", "virt", "fflags", "frm", "reservation", "reserved_value"))
_VCPU = (
    "mp_state", "blocking", "suspended", "timer", "reset_to", "mmio", "sbi_pending", "steal_time_area",
    "firmware_features", "software_events", "events_masked",
)  # fmt: skip
_SAID = ("_output", "_muted")
"""Of the console: what the guest has said, which is the host's."""


def state_hash(machine: Machine) -> str:
    """32 hexadecimal digits. MachineError where the counters are a real host's."""
    whole = hashlib.blake2b(digest_size=DIGEST)
    for name, digest in state_parts(machine).items():
        whole.update(f"{name}={digest}\n".encode())
    return whole.hexdigest()


def state_parts(machine: Machine) -> dict[str, str]:
    """The hash of each part: registers, CSRs, counts, PMU and vCPU of each hart; devices; memory."""
    parts: dict[str, str] = {}
    for part, value in state_values(machine).items():
        parts[part] = _digest(value)
    parts["memory"] = _memory(machine)
    return parts


def pmu_digest(machine: Machine, hart: int) -> str:
    """The hash of the PMU of one hart alone, as state_parts has it."""
    perf = tuple(_providers(machine))[hart]
    return _digest(_pmu(machine.vcpus[hart], perf))


def state_values(machine: Machine) -> dict[str, State]:
    """What is hashed, by part, memory left out."""
    values: dict[str, State] = {}
    for number, (vcpu, perf) in enumerate(zip(machine.vcpus, _providers(machine), strict=True)):
        for part, value in _hart(vcpu.hart).items():
            values[f"hart {number} {part}"] = value
        values[f"hart {number} PMU"] = _pmu(vcpu, perf)
        kept = _VCPU_INTERRUPTS if hasattr(vcpu.interrupts, "stray") else _INTERRUPTS
        values[f"hart {number} vCPU"] = {
            **picked(vcpu, _VCPU),
            **picked(vcpu.interrupts, kept),
            "extensions": {int(key): on for key, on in vcpu.extensions._enabled.items()},
            "ran": vcpu.extensions.ran_at_least_once,
        }
    values["devices"] = _devices(machine)
    return values


def _hart(hart: Hart) -> dict[str, State]:
    words = hart.words
    named = {name: words[at] for name, at in layout.STATE.items() if name not in ENGINE_WORDS}
    registers: State = {f"x{i}": words[layout.X + i] for i in range(1, 32)}
    registers |= {f"f{i}": words[layout.F + i] for i in range(32)}
    registers |= {name: named.pop(name) for name in CONTROL_WORDS}
    counts: State = {name: named.pop(name) for name in COUNT_WORDS}
    raw = words.cast("B")
    return {
        "registers": registers,
        "CSRs": {**named, "pmp": bytes(raw[_PMP : _PMP + layout.PMP_SIZE]) if hart.whole else b""},
        "counts": counts,
    }


def _pmu(vcpu: GuestHart, perf: HostPmuPerf) -> State:
    pmu, physical = vcpu.pmu, perf.physical
    counters = pmu.counters if isinstance(pmu, VcpuPmu) else []
    owned = {counter.idx: _inner(counter.event) for counter in counters if counter.event is not None}
    held = [event for event in owned.values() if isinstance(event, HostPmuEvent)]
    found = {id(event): event for event in (*events_of(vcpu, perf), *held)}
    events = sorted(found.values(), key=lambda event: event.serial)
    numbers = {id(event): number for number, event in enumerate(events)}
    state: State = {
        "plain": attributes(pmu),
        "csrs": attributes(vcpu.csrs) if hasattr(vcpu, "csrs") else None,
        "events": [_event(event, physical) for event in events],
        "active": {index: numbers[id(event)] for index, event in perf._cpu.active.items()},
        "waiting": [numbers[id(event)] for event in perf._cpu.waiting],
        "held": sorted(perf._cpu.firmware.held),
        "physical": {index: _counter(physical, index) for index in physical._counters},
        "order": [counter.index for counter in physical._running],
        "requests": list(physical._requests),
        "holders": sorted([[str(one) for one in what], index] for what, index in physical._holders.items()),
    }
    if isinstance(pmu, VcpuPmu):
        state["counters"] = {
            counter.idx: {
                **picked(counter, _COUNTER),
                "event": 1 + numbers.get(id(owned[counter.idx]), -1) if counter.idx in owned else None,
            }
            for counter in counters
        }
        state["fw"] = {code: picked(one, _FW) for code, one in enumerate(pmu.fw)}
        state["page"] = picked(pmu.snapshot, _PAGE)
    return state


def _inner(event: PerfEvent) -> PerfEvent:
    """The event itself, where a fault plan stands before it."""
    return event.inner if isinstance(event, FaultyEvent) else event


def _value(physical: PhysicalPmu, index: int) -> int:
    """The value of a counter now, without settling it."""
    counter = physical._counters[index]
    return counter.base + (physical._count(counter) - counter.mark if counter.running else 0)


def _counter(physical: PhysicalPmu, index: int) -> State:
    counter, value = physical._counters[index], _value(physical, index)
    return {
        "value": value & counter.mask,
        "overflow": counter.overflow or (counter.interrupts and value > counter.mask),
        "running": counter.running,
        "selector": [str(event) for event in counter.selector],
        "counted": [str(event) for event in counter.counted],
        "modes": int(counter.modes),
    }


def _event(event: HostPmuEvent, physical: PhysicalPmu) -> State:
    delta = 0
    if event._index is not None and not event._up_to_date:
        delta = _value(physical, event._index) - event._prev_count & event._mask
    return {
        "attr": list(map(int, event.attr)),  # PerfType among them: from a file it is a number
        "state": str(event.state),
        "modes": int(event._modes),
        "counter": event._index,
        "period": [event._attr_period, event._hw_period, _s64(event._period_left - delta)],
        "count": event._count + delta & U64,
        "noise": event.host_noise,
        "handled": event._handler is not None,
    }


def _devices(machine: Machine) -> State:
    board = machine.board
    console = {name: value for name, value in attributes(machine.console).items() if name not in _SAID}
    devices = {"serial": machine.serial, "second_serial": board.second_serial, "plic": machine.plic}
    return {
        "console": console,
        "htif": board.htif,
        "turns": machine.turns.state(),
        "virtio": [device.hashed() for device in board.virtio],
        **{name: None if device is None else attributes(device) for name, device in devices.items()},
    }


def _kept(name: str, value: object) -> bool:
    """0, of what can also be none."""
    return name in OPTIONAL and value == 0


def _plain(value: object) -> object:
    """The one form of a value: what is empty left out, tables and sets in order."""
    if isinstance(value, Mapping):
        items = ((str(key), _plain(item)) for key, item in value.items())
        return tuple(sorted((key, item) for key, item in items if item not in _EMPTY or _kept(key, item)))
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(_plain, value)))  # type: ignore[type-var]
    if isinstance(value, list | tuple | deque):
        return tuple(map(_plain, value))
    if isinstance(value, bytes | bytearray):
        return bytes(value) if value.strip(b"\0") else b""
    return int(value) if isinstance(value, bool) else value


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(_plain(value)).encode(), digest_size=DIGEST).hexdigest()


# ------------------------------------------------------------ memory


class PageHashes:
    """The hash of every page that is not all zeros, with its place; the sum of all is what memory is. It
    begins with those of the machine's last snapshot, which are made once for that snapshot.
    """

    def __init__(self, machine: Machine, backings: list[HostMemory]) -> None:
        self.backings = backings
        self.stale: set[tuple[int, int]] = set()
        """Pages that somebody has brought into another state, by backing and number."""
        from vpmu.vmm.snapshot import Snapshot

        base = _of_snapshot(machine.base) if isinstance(machine.base, Snapshot) else []
        self.pages = [dict(pages) for pages in base[: len(backings)]]
        self.pages += [{} for _ in range(len(backings) - len(self.pages))]
        self.total = sum(sum(pages.values()) for pages in self.pages)
        if machine.base is not None and not base:  # a moment, which has no pages of its own
            self.update(machine.base.stored)

    def update(self, written: list[bytes]) -> None:
        """Pages of each backing have been written."""
        for number, mask in enumerate(written):
            for first, last in runs(mask):
                for page in range(first, last):
                    self._look(number, page)
        for number, page in self.stale:
            self._look(number, page)
        self.stale.clear()

    def _look(self, number: int, page: int) -> None:
        pages, new = self.pages[number], _page(self.backings[number], number, page)
        self.total += new - pages.get(page, 0)
        pages[page] = new


def _memory(machine: Machine) -> str:
    """Only pages that were written since the last time are looked at."""
    memory = machine.memory
    memory.stale.settle()
    backings = find_backings(memory)
    flags = bytes(memory._flags.view[: memory._next_page])
    known = machine.hashed
    if known is None or [*map(id, known.backings)] != [*map(id, backings)]:
        known = machine.hashed = PageHashes(machine, backings)
        known.update(find_written(memory, backings, flags))
    else:
        known.update(find_written(memory, backings, flags.translate(_NOT_HASHED)))
    if flags.translate(None, _CLEAN):
        memory._flags.view[: memory._next_page] = flags.translate(_MADE_HASHED)
        for vcpu in machine.vcpus:
            forget_translations(vcpu.hart, writes_only=True)
    slots = [
        (slot.base, slot.size, slot.backing, slot.offset, slot.readonly)
        for slot in find_slots(memory, backings)
    ]
    return _digest([slots, known.total % (1 << 8 * DIGEST)])


def _page(backing: HostMemory, number: int, page: int) -> int:
    content = backing.view[page * PAGE : (page + 1) * PAGE]
    if content == _ZEROS:
        return 0
    place = (number << 40 | page).to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(content, digest_size=DIGEST, key=place).digest(), "little")


def _of_snapshot(snapshot: Snapshot) -> list[dict[int, int]]:
    """The hash of every page that a snapshot has, by backing and number."""
    if snapshot.page_hashes is None:
        snapshot.page_hashes = [
            {page: _page(image, number, page) for first, last in runs(mask) for page in range(first, last)}
            for number, (image, mask) in enumerate(zip(snapshot.images, snapshot.stored, strict=True))
        ]
    return snapshot.page_hashes
