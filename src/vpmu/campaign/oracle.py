"""The oracle: what the guest was told against what its hart did.

Stands where the answers reach the guest, behind every fault, and so knows what the guest believes of each
counter. A value that reaches the guest is held against the hart's own; the trace says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..hart.events import HartEvent, Mode
from ..hart.memory import MemoryFault
from ..kvm.pmu import VcpuPmu
from ..kvm.translate import translate
from ..perf.event_map import COUNTABLE
from ..see.exits import EventResumed, SbiExit, SystemEvent
from ..see.guest_hart import Args, Ecall, GuestHart
from ..see.pmu import counted_modes
from ..spec.perf import PerfType, event_name
from ..spec.sbi import (
    SNAPSHOT_VALUES,
    U64,
    XLEN,
    ConfigFlag,
    Eid,
    HsmFid,
    PmuFid,
    SbiError,
    SbiRet,
    StartFlag,
    StopFlag,
)
from ..spec.sbi_events import event_name as sbi_event_name
from ..spec.sbi_events import split_event_idx
from .firmware_events import EXTENSIONS, JUDGED, FirmwareEvents

if TYPE_CHECKING:
    from ..vmm.machine import Machine

MAX_FINDINGS = 64
FAR = 1 << 62
"""Where Linux lets a counter begin, half its range before the overflow: there a difference says more."""
_TELL_NOTHING = ("num_counters", "counter_get_info", "event_get_info", "snapshot_set_shmem")
"""Functions that configure, start, stop and read no counter."""
_WATCHED = frozenset({int(Eid.PMU), int(Eid.HSM), *EXTENSIONS})


@dataclass(frozen=True, slots=True)
class Finding:
    """One value that was not what the hart did. `way`: csr, snapshot, fw_read, fw_read_hi or overflow."""

    time: int
    hart: int
    counter: int
    event: str
    way: str
    told: int
    truth: int

    def __str__(self) -> str:
        if self.way == "overflow":
            return f"counter {self.counter} ({self.event}) wrapped and no interrupt was raised"
        told = f"the guest read {self.told:,}, the hart did {self.truth:,}"
        if min(self.told, self.truth) >= FAR:
            wrong = self.told - self.truth
            told = f"the guest read {self.told:#x}, {abs(wrong):,} too {'much' if wrong > 0 else 'little'}"
        return f"counter {self.counter} ({self.event}): {told}"


@dataclass(slots=True)
class _Belief:
    """What the guest has reason to think about a counter."""

    event: str
    selector: tuple[HartEvent, ...]
    modes: Mode
    mask: int
    running: bool = False
    known: bool = True
    base: int = 0
    mark: int = 0
    code: int | None = None
    """Of a firmware event."""
    overflows: int = 0


@dataclass(slots=True)
class _Hart:
    beliefs: dict[int, _Belief] = field(default_factory=dict)
    page: int | None = None

    def members(self, base: int, mask: int) -> list[tuple[int, int, _Belief]]:
        """(bit of the set, counter, belief) of the counters of a set that anything is believed of."""
        found = []
        for index, belief in self.beliefs.items():
            bit = index - base & U64
            if bit < XLEN and mask >> bit & 1:
                found.append((bit, index, belief))
        return found


def layer_of(machine: Machine, finding: Finding) -> tuple[str, str]:
    """The layer that made a wrong count, and why it is that one: where a fault was injected; perf, whose
    event does not count; else who answers the guest, as its profile does.
    """
    vcpu = machine.vcpus[finding.hart]
    fired = machine.injection.injector.fired_by_rule if machine.injection is not None else ()
    for number, times in enumerate(fired):
        if times:
            rule = machine.injection.plan.rules[number]  # type: ignore[union-attr]
            if rule.match.get("function") in _TELL_NOTHING:
                continue
            return rule.site.partition(".")[0], f"the fault {rule.source}"
    counters = vcpu.pmu.counters if isinstance(vcpu.pmu, VcpuPmu) else []
    if finding.counter < len(counters) and counters[finding.counter].firmware:
        counters = []  # perf has no part in it
    event = counters[finding.counter].event if finding.counter < len(counters) else None
    state = None if event is None else str(event.state)
    if state not in (None, "active", "off"):
        return "perf", f"the event on the counter is in state {state}"
    if event is None and counters:
        return vcpu.pmu.layer, f"no event is on the counter, as in {machine.profile.name}"
    return vcpu.pmu.layer, f"as {machine.profile.name} does"


class Oracle:
    """Watches a machine from `attach` on; `findings` is what it saw, `values` how many values it compared.
    `told` hears of each finding at its instruction.
    """

    def __init__(self, machine: Machine, told: Callable[[Finding], None] | None = None) -> None:
        self.machine, self._told = machine, told
        self.findings: list[Finding] = []
        self.samples: list[Finding] = []
        """The first values that it compared, the right ones too."""
        self.values = 0
        self._raw = {config: selector for config, _, selector in machine.host_pmu.countable_raw()}
        self._costs: Mapping[HartEvent, int] = machine.host_pmu.counters.cycle_costs
        self._harts: dict[int, _Hart] = {}
        self._wanted: dict[int, frozenset[HartEvent]] = {}
        self._before: list[Ecall] = []
        self._firmware = FirmwareEvents(self._unknown)

    def attach(self) -> None:
        """Begin to watch; nothing is believed yet."""
        self._harts = {vcpu.id: _Hart(page=vcpu.pmu.shared_page) for vcpu in self.machine.vcpus}
        self._wanted = {vcpu.id: frozenset() for vcpu in self.machine.vcpus}
        for vcpu in self.machine.vcpus:
            answers = vcpu.answers
            self._before.append(answers)

            def watched(
                vcpu: GuestHart, eid: int, fid: int, args: Args, *, answers: Ecall = answers
            ) -> SbiRet | SystemEvent | SbiExit | EventResumed:
                answer: SbiRet | SystemEvent | SbiExit | EventResumed = answers(vcpu, eid, fid, args)
                if isinstance(answer, SbiRet) and eid in _WATCHED:
                    self._answered(vcpu, eid, fid, args, answer)
                return answer

            vcpu.answers = watched
            vcpu.watch = self._read

    def detach(self) -> None:
        """Watch no longer; what was found stays."""
        for vcpu, answers in zip(self.machine.vcpus, self._before, strict=True):
            vcpu.answers, vcpu.watch = answers, None
        self._before.clear()

    # --- what the guest is told

    def _answered(self, vcpu: GuestHart, eid: int, fid: int, args: Args, answer: SbiRet) -> None:
        if eid == Eid.HSM and fid == HsmFid.HART_START and answer.error == SbiError.SUCCESS:
            self._harts[args[0]] = _Hart()
        if eid != Eid.PMU:
            self._firmware.called(vcpu, eid, fid, args, answer.error)
            return
        if fid == PmuFid.COUNTER_CONFIG_MATCHING:
            if answer.error == SbiError.SUCCESS and answer.value is not None:
                self._configured(vcpu, answer.value, args)
        elif fid == PmuFid.COUNTER_START:
            self._started(vcpu, args, answer.error)
        elif fid == PmuFid.COUNTER_STOP:
            self._stopped(vcpu, args, answer.error)
        elif fid in (PmuFid.COUNTER_FW_READ, PmuFid.COUNTER_FW_READ_HI):
            belief = self._harts[vcpu.id].beliefs.get(args[0])
            if belief is not None and answer.error == SbiError.SUCCESS and answer.value is not None:
                # The upper half of a counter is 0 where registers have 64 bits.
                way, truth = ("fw_read", None) if fid == PmuFid.COUNTER_FW_READ else ("fw_read_hi", 0)
                self._compare(vcpu, args[0], belief, answer.value & U64, way, truth)
        elif fid == PmuFid.SNAPSHOT_SET_SHMEM and answer.error == SbiError.SUCCESS:
            self._harts[vcpu.id].page = None if args[0] == args[1] == U64 else args[0]

    def _configured(self, vcpu: GuestHart, index: int, args: Args) -> None:
        beliefs = self._harts[vcpu.id].beliefs
        if index in beliefs and beliefs[index].running and not args[2] & ConfigFlag.SKIP_MATCH:
            return  # a counter that is in use already: whoever started it still believes in it
        old = beliefs.pop(index, None)
        found = self._selector(vcpu, args[3], args[4])
        mask = vcpu.pmu.counter_mask(index)
        if found is None or mask is None:
            return
        flags = args[2]
        modes = counted_modes(flags, whole=self.machine.levels.whole)
        name, selector, code = found
        belief = _Belief(name, selector, modes, mask, code=code)
        self._want(vcpu, selector)
        if flags & ConfigFlag.CLEAR_VALUE:
            belief.base = 0
        elif old is not None and old.known:
            belief.base = self._value(vcpu, old)
        else:
            belief.known = False
        if flags & ConfigFlag.AUTO_START:
            self._run(vcpu, belief)
        beliefs[index] = belief

    def _started(self, vcpu: GuestHart, args: Args, error: int) -> None:
        hart = self._harts[vcpu.id]
        for bit, _, belief in hart.members(args[0], args[1]):
            if belief.running and error != SbiError.SUCCESS:
                continue
            if belief.running:  # it was started without being told so: what it is told now counts
                belief.base = self._value(vcpu, belief)
            if error != SbiError.SUCCESS and not (
                error == SbiError.ALREADY_STARTED and args[1].bit_count() == 1
            ):
                belief.known = False  # one of the set was refused, and the answer does not say which
                continue
            if error != SbiError.SUCCESS:
                belief.base = self._value(
                    vcpu, belief
                )  # it is told that the counter runs, from where it stood
            elif args[2] & StartFlag.SET_INIT_VALUE:
                belief.base, belief.known = args[3] & belief.mask, True
            elif args[2] & StartFlag.INIT_SNAPSHOT:
                value = self._slot(vcpu, hart, bit)
                belief.known = value is not None
                belief.base = (value or 0) & belief.mask
            self._run(vcpu, belief)

    def _stopped(self, vcpu: GuestHart, args: Args, error: int) -> None:
        hart = self._harts[vcpu.id]
        for bit, index, belief in hart.members(args[0], args[1]):
            if error == SbiError.SUCCESS:
                if belief.running:
                    self._overflow(vcpu, index, belief)
                belief.base, belief.running = self._value(vcpu, belief), False
                if args[2] & StopFlag.TAKE_SNAPSHOT:
                    told = self._slot(vcpu, hart, bit)
                    if told is not None:
                        self._compare(vcpu, index, belief, told, "snapshot")
            elif error != SbiError.ALREADY_STOPPED or args[1].bit_count() > 1:
                belief.known = False  # one of the set was refused, and the answer does not say which
            if args[2] & StopFlag.RESET and error in (SbiError.SUCCESS, SbiError.ALREADY_STOPPED):
                hart.beliefs.pop(index)

    def _read(self, vcpu: GuestHart, index: int | None, value: int) -> None:
        if index is None:
            self._harts[vcpu.id] = _Hart()
            return
        belief = self._harts[vcpu.id].beliefs.get(index)
        if belief is not None:
            self._compare(vcpu, index, belief, value, "csr")

    # --- what the hart did

    def _run(self, vcpu: GuestHart, belief: _Belief) -> None:
        belief.mark, belief.running = self._count(vcpu, belief), True
        belief.overflows = vcpu.overflows

    def _unknown(self, hart: int, code: int) -> None:
        for belief in self._harts[hart].beliefs.values() if hart in self._harts else ():
            if belief.code == code and belief.running:
                belief.known = False

    def _count(self, vcpu: GuestHart, belief: _Belief) -> int:
        if belief.code is not None:
            return self._firmware.count(vcpu.id, belief.code)
        total = sum(vcpu.hart.count(event, belief.modes) for event in belief.selector)
        if self._costs and HartEvent.CYCLES in belief.selector:
            total += sum(cost * vcpu.hart.count(event, belief.modes) for event, cost in self._costs.items())
        return total

    def _value(self, vcpu: GuestHart, belief: _Belief) -> int:
        gone = self._count(vcpu, belief) - belief.mark if belief.running else 0
        return belief.base + gone & belief.mask

    def _compare(
        self, vcpu: GuestHart, index: int, belief: _Belief, told: int, way: str, truth: int | None = None
    ) -> None:
        if not belief.known:
            return
        self.values += 1
        if truth is None:
            truth = self._value(vcpu, belief)
        if len(self.samples) < MAX_FINDINGS:
            self.samples.append(Finding(vcpu.hart.time_ns, vcpu.id, index, belief.event, way, told, truth))
        if told != truth:
            self._found(vcpu, index, belief, way, told, truth)

    def _overflow(self, vcpu: GuestHart, index: int, belief: _Belief) -> None:
        gone = self._count(vcpu, belief) - belief.mark
        sampled = vcpu.hart.get("sie") >> 13 & 1
        if (
            belief.known
            and belief.code is None
            and sampled
            and belief.base + gone > belief.mask
            and vcpu.overflows == belief.overflows
        ):
            self._found(vcpu, index, belief, "overflow", 0, 1)

    def _found(self, vcpu: GuestHart, index: int, belief: _Belief, way: str, told: int, truth: int) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(vcpu.hart.time_ns, vcpu.id, index, belief.event, way, told, truth))
            self.machine.recorder.emit(
                "vmm", "oracle", "wrong", truth, hart=vcpu.id, counter=index, event=belief.event, way=way,
                told=told,
            )  # fmt: skip
        if self._told is not None:
            self._told(Finding(vcpu.hart.time_ns, vcpu.id, index, belief.event, way, told, truth))

    # --- names

    def _selector(
        self, vcpu: GuestHart, event_idx: int, data: int
    ) -> tuple[str, tuple[HartEvent, ...], int | None] | None:
        """What a correct counter of this event counts on the hart, or which firmware event; None where
        neither is known.
        """
        event = translate(vcpu.profile, event_idx, data)
        if event.firmware:
            code = split_event_idx(event_idx)[1]
            return (sbi_event_name(event_idx), (), code) if code in JUDGED else None
        if event.refusal is not None:
            return None
        name = event_name(event.type, event.config)
        selector = self._raw.get(event.config) if event.type == PerfType.RAW else COUNTABLE.get(name)
        return None if selector is None else (name, selector, None)

    def _want(self, vcpu: GuestHart, selector: tuple[HartEvent, ...]) -> None:
        """Make the engine count what the truth is made of, whatever the PMU wants counted."""
        wanted = self._wanted[vcpu.id] | set(selector)
        if HartEvent.CYCLES in selector:
            wanted |= set(self._costs)
        if wanted != self._wanted[vcpu.id]:
            self._wanted[vcpu.id] = frozenset(wanted)
            vcpu.hart.want_too(frozenset(wanted))

    def _slot(self, vcpu: GuestHart, hart: _Hart, bit: int) -> int | None:
        if hart.page is None:
            return None
        try:
            return int.from_bytes(
                self.machine.memory.read(hart.page + SNAPSHOT_VALUES + 8 * bit, 8), "little"
            )
        except MemoryFault:
            return None
