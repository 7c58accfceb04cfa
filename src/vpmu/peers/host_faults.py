"""Fault plans in a real host's kernel: each site by the function that carries it, with hooks.

`SEAMS` says which function of the kernel a site of the model is, and what its effects are there. What no
function and no hardware carries is said, not left out.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ..faults.injector import Drawn, Effect, Injector
from ..faults.plan import FaultPlan, Rule
from ..spec.perf import event_name
from ..spec.sbi import Eid, PmuFid, SbiError
from .hooks import TP, Hooks, HostCall

if TYPE_CHECKING:
    from ..debug.running_kernel import Function

U64 = (1 << 64) - 1
KVM = "kvm"
_ERR_VALUE = 8
"""struct kvm_vcpu_sbi_return: out_val, then err_val."""
_CSR_BASE = 0xC00
_ILLEGAL_TRAP = 3
"""KVM_INSN_ILLEGAL_TRAP of enum kvm_insn_return (arch/riscv/include/asm/kvm_vcpu_insn.h)."""
HARDWARE = ("hart.counter", "hart.overflow")
"""Sites that the hart below the kernel carries: they are injected into the machine."""

Facts = Callable[["HostFaults", HostCall], dict[str, object]]


def _of_attr(faults: HostFaults, call: HostCall) -> dict[str, object]:
    kind, config = call.hooks.kernel.word(call.arguments[0]), call.hooks.kernel.word(call.arguments[0] + 8)
    return {"event": event_name(kind & 0xFFFFFFFF, config)}


def _of_event(faults: HostFaults, call: HostCall) -> dict[str, object]:
    return {"event": faults.events.get(call.arguments[0])}


def _of_memory(access: str) -> Facts:
    def facts(faults: HostFaults, call: HostCall) -> dict[str, object]:
        return {"access": access, "address": call.arguments[1]}

    return facts


def _nothing(faults: HostFaults, call: HostCall) -> dict[str, object]:
    return {}


@dataclass(frozen=True, slots=True)
class Seam:
    """A function that carries a site. `answers`: effect -> what it returns instead of being called (None:
    minus the effect's errno). `changes`: effects that change what it has returned, in a0 or (`pointer`) in
    the word that this argument points to. `of_kvm`: only calls that the module makes.
    """

    function: str
    answers: Mapping[str, int | None] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    pointer: int | None = None
    of_kvm: bool = False
    facts: Facts = _nothing


_COUNT = ("value", "add", "xor")
SEAMS: Mapping[str, tuple[Seam, ...]] = {
    "perf.create": (
        Seam("perf_event_create_kernel_counter", {"errno": None, "null": 0}, of_kvm=True, facts=_of_attr),
    ),
    # KVM pins its events: what the driver cannot add goes to the state ERROR
    "perf.enable": (Seam("pmu_sbi_ctr_get_idx", {"state": -errno.ENOENT}, facts=_of_event),),
    "perf.starve": (Seam("pmu_sbi_ctr_get_idx", {"counters": -errno.ENOENT}),),
    "perf.period": (Seam("perf_event_period", {"errno": None}, of_kvm=True, facts=_of_event),),
    "perf.read": (
        Seam("perf_event_read_value", changes=(*_COUNT, "freeze"), of_kvm=True, facts=_of_event),
    ),
    "kvm.snapshot": (
        Seam("kvm_vcpu_write_guest", {"fault": -errno.EFAULT}, facts=_of_memory("write")),
        Seam("kvm_vcpu_read_guest", {"fault": -errno.EFAULT}, facts=_of_memory("read")),
    ),
    "kvm.allocate": (
        Seam("__kmalloc_cache_noprof", {"fail": 0}, of_kvm=True),
        Seam("__kmalloc_noprof", {"fail": 0}, of_kvm=True),
    ),
    "kvm.interrupt": (
        Seam("kvm_riscv_vcpu_set_interrupt", {"drop": 0},
             facts=lambda faults, call: {"irq": call.arguments[1] & 0xFFFFFFFF}),
    ),
    "kvm.reset": (Seam("kvm_riscv_vcpu_pmu_reset", {"skip": 0}),),
    "kvm.csr": (
        Seam("kvm_riscv_vcpu_pmu_read_hpm", {"illegal": _ILLEGAL_TRAP}, _COUNT, 2,
             facts=lambda faults, call: {"counter": (call.arguments[1] & 0xFFF) - _CSR_BASE}),
    ),
}  # fmt: skip

SBI_FUNCTIONS: Mapping[int, tuple[str, int]] = {
    PmuFid.NUM_COUNTERS: ("kvm_riscv_vcpu_pmu_num_ctrs", 1),
    PmuFid.COUNTER_GET_INFO: ("kvm_riscv_vcpu_pmu_ctr_info", 2),
    PmuFid.COUNTER_CONFIG_MATCHING: ("kvm_riscv_vcpu_pmu_ctr_cfg_match", 6),
    PmuFid.COUNTER_START: ("kvm_riscv_vcpu_pmu_ctr_start", 5),
    PmuFid.COUNTER_STOP: ("kvm_riscv_vcpu_pmu_ctr_stop", 4),
    PmuFid.COUNTER_FW_READ: ("kvm_riscv_vcpu_pmu_fw_ctr_read", 2),
    PmuFid.COUNTER_FW_READ_HI: ("kvm_riscv_vcpu_pmu_fw_ctr_read_hi", 2),
    PmuFid.SNAPSHOT_SET_SHMEM: ("kvm_riscv_vcpu_pmu_snapshot_set_shmem", 4),
}
"""Function of the PMU extension -> the one in kvm.ko that does it, and which argument of it is `retdata`."""


class HostFaults:
    """A plan at work in a host. `not_carried`: (rule, why) of what real KVM has no place for. HookError and
    UnknownNameError for a function that is not there.
    """

    def __init__(self, hooks: Hooks, plan: FaultPlan) -> None:
        self.hooks, self.plan = hooks, plan
        self.not_carried: list[tuple[Rule, str]] = []
        self.events: dict[int, str] = {}  # struct perf_event * -> the event's name
        self._last: dict[int, int] = {}
        self._hardware: tuple[Rule, ...] = ()
        self.injector = Injector(plan)
        self._install()

    def begin(self, seed: int | None = None) -> None:
        """The host was brought back: no rule has fired. `seed`: in place of the plan's."""
        machine = self.hooks.machine
        if seed is not None:
            self.plan = self.plan.with_seed(seed)
        self.injector = injector = Injector(self.plan)
        injectors = [injector]
        if self._hardware:
            machine.inject(FaultPlan(self._hardware, seed=self.plan.seed))
            assert machine.injection is not None
            injectors.append(machine.injection.injector)
        hart = machine.vcpu(0).hart
        start = hart.time_ns  # times of a plan count from here: the boot is nobody's test
        for one in injectors:
            one.clock, one.pc = lambda: hart.time_ns - start, lambda _hart: hart.pc
            one.drawn = injector.drawn  # chance decides in one order, wherever it is asked
        self.events.clear()
        self._last.clear()

    def remove(self) -> None:
        """Take the plan out of the kernel and of the hart."""
        self.hooks.remove()
        self.hooks.machine.inject(None)

    @property
    def drawn(self) -> list[Drawn]:
        """What chance has decided, in the kernel and in the hart."""
        return self.injector.drawn

    @property
    def fired(self) -> int:
        """Faults that have been injected, by hooks and by the hart."""
        injection = self.hooks.machine.injection
        return self.injector.fired + (injection.injector.fired if injection is not None else 0)

    def _install(self) -> None:
        functions = self.hooks.kernel.functions
        self.not_carried = [(rule, why) for rule in self.plan.rules if (why := self._why_not(rule))]
        refused = [rule for rule, _ in self.not_carried]
        rules = tuple(replace(rule, times=0) if rule in refused else rule for rule in self.plan.rules)
        self.plan = FaultPlan(rules, seed=self.plan.seed)
        hardware = [rule for rule in rules if rule.site in HARDWARE]
        if hardware:  # a rule keeps its number, by which chance decides; the others do nothing there
            idle = replace(hardware[0], times=0)
            self._hardware = tuple(rule if rule in hardware else idle for rule in rules)
        self.hooks.machine.inject(None)
        sites = dict.fromkeys(rule.site for rule in rules if rule not in hardware and rule.times)
        if any(site.startswith("perf.") for site in sites):
            create = self.hooks.kernel.function("perf_event_create_kernel_counter")
            self.hooks.on(create, self._created)
        for site in sites:
            for seam in SEAMS.get(site, ()):
                if seam.function in functions:
                    self.hooks.on(functions[seam.function], partial(self._met, site, seam))
        if "sbi.call" in sites:
            for fid, (name, retdata) in SBI_FUNCTIONS.items():
                if name in functions:  # later kernels have more of them
                    self.hooks.on(functions[name], partial(self._sbi, fid, retdata))
        called = [rule for rule in rules if rule.site == "host.call"]
        for name in dict.fromkeys(str(rule.match["function"]) for rule in called):
            self.hooks.on(self.hooks.kernel.function(name), partial(self._called, name))
        for rule in called:
            for passed in (rule.match.get("caller"), rule.effect.get("passed_on")):
                if passed is not None:
                    self.hooks.kernel.function(str(passed))  # it must be there
            if "passed_on" in rule.effect:
                self._pass_on(rule)
        self.begin()

    def _why_not(self, rule: Rule) -> str:
        """Why a rule has no place in the real stack; empty where it has."""
        known = SEAMS.get(rule.site)
        if rule.site in HARDWARE or rule.site == "host.call":
            return ""
        if rule.site == "sbi.call":
            eid = rule.match.get("eid", rule.match.get("function", (Eid.PMU, 0)))
            eid = eid[0] if isinstance(eid, tuple) else eid
            if eid != Eid.PMU:
                return "KVM answers other extensions elsewhere"
            return "a call of the guest is made once" if "duplicate" in rule.effect else ""
        if known is None or not any(seam.function in self.hooks.kernel.functions for seam in known):
            return f"no function of the kernel is {rule.site}"
        if rule.effect.get("state") == "inactive":
            return "KVM pins its events: they run or fail"
        if rule.site == "perf.starve" and int(str(rule.effect["counters"])) < _ALL_COUNTERS:
            return "the driver is refused all counters or none"
        if rule.site == "perf.starve" and "after" in rule.match:
            return "an event that has its counter keeps it until it is scheduled anew"
        possible = {key for seam in known for key in (*seam.answers, *seam.changes)} | {"for"}
        missing = rule.effect.keys() - possible
        return f"no function of the kernel does {', '.join(sorted(missing))}" if missing else ""

    # --- at a call

    def _ask(self, site: str, **facts: object) -> Effect | None:
        return self.injector.ask(site, **facts)  # type: ignore[arg-type]

    def _met(self, site: str, seam: Seam, call: HostCall) -> None:
        if seam.of_kvm and not self._from_kvm(call):
            return
        effect = self._ask(site, **seam.facts(self, call))
        if effect is None:
            return
        for key, answer in seam.answers.items():
            if key in effect:
                call.answer(-int(str(effect[key])) if answer is None else answer)
                return
        if any(key in effect for key in seam.changes):
            call.at_return(partial(self._change, seam, effect))

    @staticmethod
    def _from_kvm(call: HostCall) -> bool:
        caller = call.caller
        return caller is not None and (
            caller.module == KVM or (not call.function.module and caller.name.startswith("kvm_"))
        )

    def _change(self, seam: Seam, effect: Effect, call: HostCall) -> None:
        kernel = call.hooks.kernel
        if seam.pointer is None:
            old = call.result & U64
        else:
            old = kernel.word(call.arguments[seam.pointer])
        event = call.arguments[0]
        new = self._last.get(event, old) if "freeze" in effect else _changed(old, effect)
        self._last.setdefault(event, new)
        if seam.pointer is None:
            call.result = new
        else:
            kernel.write(call.arguments[seam.pointer], new.to_bytes(8, "little"))

    def _created(self, call: HostCall) -> None:
        """Remember which event a struct perf_event is."""
        if self._from_kvm(call):
            name = str(_of_attr(self, call)["event"])

            def created(done: HostCall) -> None:
                if done.result < -4095:
                    self.events[done.result & U64] = name

            call.at_return(created)

    def _sbi(self, fid: int, retdata: int, call: HostCall) -> None:
        event = call.arguments[4] if fid == PmuFid.COUNTER_CONFIG_MATCHING else None
        counter = call.arguments[1] if fid in (PmuFid.COUNTER_GET_INFO, PmuFid.COUNTER_FW_READ) else None
        if fid in (PmuFid.COUNTER_CONFIG_MATCHING, PmuFid.COUNTER_START, PmuFid.COUNTER_STOP):
            mask = call.arguments[2]
            counter = call.arguments[1] + (mask & -mask).bit_length() - 1 if mask else None
        effect = self._ask(
            "sbi.call", function=(int(Eid.PMU), fid), eid=int(Eid.PMU), fid=fid, event=event, counter=counter
        )
        if effect is None:
            return
        if "errno" in effect:
            call.at_return(partial(_return, -int(str(effect["errno"]))))
        elif "delay" in effect:
            call.delay(int(str(effect["delay"])))
        elif "drop" in effect or "error" in effect:
            self._answer(
                call, retdata, int(str(effect.get("error", SbiError.SUCCESS))), effect.get("value", 0)
            )
            call.answer(0)
        else:
            call.at_return(lambda done: self._answer(done, retdata, None, effect["value"]))

    @staticmethod
    def _answer(call: HostCall, retdata: int, error: int | None, value: object) -> None:
        kernel, at = call.hooks.kernel, call.arguments[retdata]
        kernel.write(at, (int(str(value)) & U64).to_bytes(8, "little"))
        if error is not None:
            kernel.write(at + _ERR_VALUE, (error & U64).to_bytes(8, "little"))

    def _called(self, name: str, call: HostCall) -> None:
        caller = call.caller
        effect = self._ask("host.call", function=name, caller=caller.name if caller else None, task=call.task)
        if effect is None:
            return
        if "errno" in effect:
            call.answer(-int(str(effect["errno"])))
        elif "value" in effect:
            call.answer(int(str(effect["value"])))
        elif "skip" in effect:
            call.answer()
        elif "delay" in effect:
            call.delay(int(str(effect["delay"])))
        elif "result" in effect:
            call.at_return(partial(_return, int(str(effect["result"]))))

    def _pass_on(self, rule: Rule) -> None:
        """An errno that the function returns is what `passed_on` returns, too."""
        pass_on(self.hooks, self.hooks.kernel.function(str(rule.match["function"])),
                self.hooks.kernel.function(str(rule.effect["passed_on"])))  # fmt: skip


_ALL_COUNTERS = 16


def _return(value: int, call: HostCall) -> None:
    call.result = value


def _changed(old: int, effect: Effect) -> int:
    if "value" in effect:
        return int(str(effect["value"])) & U64
    if "add" in effect:
        return old + int(str(effect["add"])) & U64
    return (old ^ int(str(effect["xor"]))) & U64


def pass_on(hooks: Hooks, inner: Function, outer: Function) -> None:
    """Have an errno that `inner` returns to `outer` be what `outer` returns."""
    pending: dict[int, int] = {}  # task -> errno

    def note(call: HostCall) -> None:
        if -4096 < call.result < 0:
            pending[call.hart.x(TP)] = call.result

    def enter(call: HostCall) -> None:
        pending.pop(call.hart.x(TP), None)
        call.at_return(leave)

    def leave(call: HostCall) -> None:
        error = pending.pop(call.hart.x(TP), None)
        if error is not None:
            call.result = error

    hooks.on(outer, enter)
    hooks.on(inner, lambda call: call.at_return(note), caller=outer)


UNDO: Mapping[str, tuple[str, str]] = {
    "2196c066f138": ("perf_event_create_kernel_counter", "kvm_riscv_vcpu_pmu_ctr_cfg_match"),
}
"""Fixes that can be undone at run time by passing on an errno. Before 2196c066f138 KVM_RUN failed with it."""


def undo(hooks: Hooks, commit: str) -> None:
    """Make the running kernel behave as before a fix. HookError where its functions are not there."""
    inner, outer = (hooks.kernel.function(name) for name in UNDO[commit])
    pass_on(hooks, inner, outer)
