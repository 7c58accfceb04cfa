"""Whether the content of a snapshot's file can be the state of a machine.

Checksums tell of damage; this tells of content that nobody can have saved, whatever it is: nothing of it
reaches a hart or a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..hart import state as layout
from ..hart.codegen_flags import Counting
from ..hart.events import ALL_MODES, HartEvent
from ..hart.whole import WholeHart
from ..kvm.pmu import VcpuPmu
from ..perf.event import EventState
from ..spec.csr import SSTATUS_SUM, SSTATUS_WRITABLE
from ..spec.perf import PerfEventAttr
from .snapshot_kinds import FAR, MOST, U64, attributes_like, expect, items, row, table, tally, within
from .snapshot_state import _COUNTER, _FW
from .snapshot_values import attributes

if TYPE_CHECKING:
    from ..hart.hart import Hart
    from ..perf.host_pmu import HostPmuPerf
    from ..see.guest_hart import GuestHart
    from .machine import Machine
    from .snapshot import Snapshot

FIXED_WORDS = ("traps_retire", "fp", "hart_id", "isa", "python_m", "pmp_count")
GUEST_WORDS = ("sie_mask", "sip_mask", "hedeleg", "adue", "virt")
"""What only software above the guest sets: fixed on a hart that has VS and VU alone."""
MODES = (layout.USER, layout.SUPERVISOR, layout.MACHINE)
COUNTS = tuple(name for name in layout.STATE if name.startswith(("count_", "traps_"))
               and name != "traps_retire")  # fmt: skip
EVERY_MODE = int(ALL_MODES)
MMIO_SIZES, LENGTHS = (1, 2, 4, 8), (2, 4)


def check(machine: Machine, snapshot: Snapshot, providers: list[HostPmuPerf]) -> None:
    """Senseless, if the state does not fit the machine. What a machine of its kind holds gives the shapes."""
    for name, value in snapshot.arguments.items():
        right = type(value) is type(machine.arguments[name])
        expect(right, name, type(machine.arguments[name]).__name__, value)
    expect(len(snapshot.vcpus) == len(machine.vcpus), "harts", str(len(machine.vcpus)), len(snapshot.vcpus))
    for number, (vcpu, perf) in enumerate(zip(machine.vcpus, providers, strict=True)):
        state = table(f"hart {number}", snapshot.vcpus[number])
        _hart(f"hart {number}", vcpu.hart, table("hart", state["hart"]))
        _vcpu(f"hart {number}", vcpu, state)
        _perf(f"hart {number}: perf", vcpu, perf, table("perf", state["perf"]))
    devices = snapshot.devices
    for name, part in (
        ("console", machine.console), ("serial", machine.serial), ("plic", machine.plic),
        ("second_serial", machine.board.second_serial),
    ):  # fmt: skip
        if part is not None:
            attributes_like(name, attributes(part), table(name, devices[name]))
    virtio = machine.board.virtio
    for device, saved in zip(virtio, items("virtio", devices.get("virtio", []), len(virtio)), strict=True):
        device.check("virtio", saved)
    tally("user_exits", devices["user_exits"], str)
    _turns(machine, table("turns", devices["turns"]))
    pages = machine.memory._next_page
    expect(len(snapshot.flags) <= pages, "flags of pages", f"at most {pages}", len(snapshot.flags))
    expect(not snapshot.flags.translate(None, b"\0\1"), "flags of pages", "0 or 1", "others")
    for key, value in snapshot.wanted.items():
        within("wanted", key, -len(machine.vcpus), len(machine.vcpus) - 1)
        within("wanted", value, 0, (Counting.CLASSES | Counting.MISSES).value)


def _turns(machine: Machine, state: Mapping[str, object]) -> None:
    last = len(machine.vcpus) - 1
    within("turns: current", state["current"], 0, last)
    within("turns: clock", state["clock"], 0, U64)
    if state["horizon"] is not None:
        within("turns: horizon", state["horizon"], 0, U64)
    members = items("turns: round", state["round"])
    for number in members:
        within("turns: round", number, 0, last)
    expect(len(set(map(str, members))) == len(members), "turns: round", "each hart once", members)
    within("turns: turn", state["turn"], 0, len(members))


def _hart(where: str, hart: Hart, state: Mapping[str, object]) -> None:
    words, context = state["words"], state["context"]
    expect(isinstance(words, bytes) and len(words) == layout.CONTEXTS, f"{where}: words", "a block", words)
    assert isinstance(words, bytes)
    view = memoryview(words).cast("Q")

    def word(name: str) -> int:
        return view[layout.STATE[name]]

    expect(view[layout.X] == 0, f"{where}: x0", "0", hex(view[layout.X]))
    for name in ("pc", "sepc"):
        expect(not word(name) & 1, f"{where}: {name}", "an even address", hex(word(name)))
    expect(word("mode") in MODES, f"{where}: mode", "a mode", word("mode"))
    within(f"{where}: frm", word("frm"), 0, 7)
    within(f"{where}: fflags", word("fflags"), 0, 31)
    for name in ("time_ns", *COUNTS):
        within(f"{where}: {name}", word(name), 0, FAR)
    for name in FIXED_WORDS if hart.whole else (*FIXED_WORDS, *GUEST_WORDS):
        within(f"{where}: {name}", word(name), hart.get(name), hart.get(name))
    within(f"{where}: context", context, 0, hart.contexts - 1)
    if isinstance(hart, WholeHart):
        from ..hart.legal import problems

        pmp = state["pmp"]
        expect(isinstance(pmp, bytes) and len(pmp) == layout.PMP_SIZE, f"{where}: pmp", "a block", pmp)
        assert isinstance(pmp, bytes)
        problem = next(problems(hart, view, pmp), "")
        expect(not problem, f"{where}", "what its CSRs can hold", problem)
        return
    expect(word("satp") >> 60 in (0, 8, 9), f"{where}: satp", "Bare, Sv39 or Sv48", hex(word("satp")))
    status = word("sstatus")
    expect(not status & ~SSTATUS_WRITABLE, f"{where}: sstatus", "bits that exist", hex(status))
    expect(word("mode") != layout.MACHINE, f"{where}: mode", "VS or VU", word("mode"))
    supervisor = layout.CONTEXT_VS_SUM if status & SSTATUS_SUM else layout.CONTEXT_VS
    right = supervisor if word("mode") else layout.CONTEXT_VU
    within(f"{where}: context", context, right, right)


def _vcpu(where: str, vcpu: GuestHart, state: Mapping[str, object]) -> None:
    pmu = table("pmu", state["pmu"])
    own = dict(table("vcpu", state["vcpu"]))
    reset, mmio = own.pop("reset_to"), own.pop("mmio")
    if reset is not None:
        pc, _ = row(f"{where}: reset", reset, 2)
        expect(not pc & 1, f"{where}: reset", "an even address", hex(pc))
    if mmio is not None:
        rd, size, _, length = row(f"{where}: load from a device", mmio, 4)
        fits = rd < 32 and size in MMIO_SIZES and length in LENGTHS
        expect(fits, f"{where}: load from a device", "rd, size, sign, length", mmio)
    tally(f"{where}: exits", own.pop("exits"), str)
    tally(f"{where}: sbi_calls", own.pop("sbi_calls"), tuple)
    for event in table(where, own.pop("software_events")).values():
        for word in items(f"{where}: software_events", event, 10):
            within(f"{where}: software_events", word, 0, U64)
    features = own.pop("firmware_features")
    for value in table(where, features).values():
        row(f"{where}: firmware_features", value, 2)
    attributes_like(where, {name: getattr(vcpu, name) for name in own}, own)
    pending = table("interrupts", state["interrupts"])
    own = {name: getattr(vcpu.interrupts, name) for name in pending}
    attributes_like(f"{where}: interrupts", own, pending)
    enabled = table("extensions", state["extensions"])
    known = {int(key) for key in vcpu.extensions._enabled}
    expect(set(enabled) == known and set(map(type, enabled.values())) <= {bool}, f"{where}: extensions",
            f"a switch for each of {len(known)}", len(enabled))  # fmt: skip
    expect(isinstance(state["ran"], bool), f"{where}: ran", "true or false", state["ran"])
    plain = {**attributes(vcpu.pmu), "last_refusal": None}  # a machine that has refused something has more
    attributes_like(f"{where}: pmu", plain, table("plain", pmu["plain"]))
    if hasattr(vcpu, "csrs"):
        attributes_like(f"{where}: csrs", attributes(vcpu.csrs), table("csrs", state["csrs"]))
    if not isinstance(vcpu.pmu, VcpuPmu):
        return
    for name, members, things in (("counters", _COUNTER, vcpu.pmu.counters), ("fw", _FW, vcpu.pmu.fw)):
        given = items(f"{where}: {name}", pmu[name], len(things))
        for thing, one in zip(things, given, strict=True):
            saved = list(one) if isinstance(one, tuple) else one
            values = dict(zip(members, items(f"{where}: {name}", saved, len(members)), strict=True))
            own = {member: getattr(thing, member) for member in members}
            attributes_like(f"{where}: {name}", own, values)
    page = table("page", pmu["page"])
    own = {name: getattr(vcpu.pmu.snapshot, name) for name in page}
    attributes_like(f"{where}: snapshot page", own, page)


def _perf(where: str, vcpu: GuestHart, perf: HostPmuPerf, state: Mapping[str, object]) -> None:
    events = [table(where, event) for event in items(f"{where}: events", state["events"])]
    for event in events:
        attr = items(f"{where}: attr", event["attr"], len(PerfEventAttr._fields))
        for value in attr:
            within(f"{where}: attr", value, 0, U64)
        expect(event["state"] in set(EventState), f"{where}: state", "of an event", event["state"])
        within(f"{where}: modes", event["modes"], 0, EVERY_MODE)
        for name in ("_attr_period", "_count", "_hw_period", "_mask", "_prev_count", "_serial"):
            within(f"{where}: {name}", event[name], 0, MOST.get(name, U64))
        within(f"{where}: _period_left", event["_period_left"], -(U64 >> 1) - 1, U64 >> 1)
        for name in ("_up_to_date", "host_noise", "handled"):
            expect(isinstance(event[name], bool), f"{where}: {name}", "true or false", event[name])
    known = perf.physical._counters
    active = table(where, state["active"])
    for index, number in active.items():
        expect(index in known, f"{where}: counter", "one of the host's", index)
        within(f"{where}: event", number, 0, len(events) - 1)
    places = {number: index for index, number in active.items()}
    for number, event in enumerate(events):
        place = places.get(number)
        expect(event["_index"] == place, f"{where}: counter of an event", str(place), event["_index"])
        on = event["state"] == EventState.ACTIVE
        expect(on == (place is not None), f"{where}: state", "active with a counter only", event["state"])
    idle = [number for number in range(len(events)) if number not in places]
    waiting = items(f"{where}: waiting", state["waiting"])
    for one in waiting:
        expect(type(one) is int and one in idle, f"{where}: waiting", "an event without a counter", one)
    expect(len(set(waiting)) == len(waiting), f"{where}: waiting", "each once", waiting)
    within(f"{where}: created", state["created"], 0, FAR)
    for held in items(f"{where}: held", state["held"]):
        expect(type(held) is int and held in known, f"{where}: held", "a counter", held)
    for owner in items(f"{where}: owners", state["owners"]):
        idx, number = row(f"{where}: owner", owner, 2)
        fits = isinstance(vcpu.pmu, VcpuPmu) and idx < len(vcpu.pmu.counters) and number < len(events)
        expect(fits, f"{where}: owner", "a counter and an event", owner)
    _physical(f"{where}: hart", known, table(where, state["physical"]))


def _physical(where: str, known: Mapping[int, object], state: Mapping[str, object]) -> None:
    counters = table(where, state["counters"])
    expect(set(counters) == set(known), where, f"{len(known)} counters", len(counters))
    for one in counters.values():
        saved = table(where, one)
        for name in ("base", "mark"):
            within(f"{where}: {name}", saved[name], 0, U64)
        for name in ("running", "overflow"):
            expect(isinstance(saved[name], bool), f"{where}: {name}", "true or false", saved[name])
        for name in ("selector", "counted"):
            _events(f"{where}: {name}", saved[name])
        within(f"{where}: modes", saved["modes"], 0, EVERY_MODE)
    order, requests = items(where, state["order"]), items(where, state["requests"])
    for index in (*order, *requests):
        expect(type(index) is int and index in known, where, "a counter", index)
    running = [index for index, one in counters.items() if table(where, one)["running"]]
    right = len(order) == len(running) and set(order) == set(running)
    expect(right, f"{where}: order", "the counters that run", order)
    for holder in items(where, state["holders"]):
        what, index = items(f"{where}: holder", holder, 2)
        _events(f"{where}: holder", what)
        expect(type(index) is int and index in known, f"{where}: holder", "a counter", index)


def _events(where: str, value: object) -> None:
    for name in items(where, value):
        expect(name in set(HartEvent), where, "names of events", name)
