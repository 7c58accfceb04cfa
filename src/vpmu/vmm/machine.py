"""The machine: memory, harts, vCPUs, devices, and user space's side of KVM_RUN.

`Machine` is the public face of vpmu. Everything below it is reached from here: `load` puts a guest in, `run`
turns the vCPUs until the guest powers off or something ends the run, `vcpu(i)` is a vCPU for scripted guests.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vpmu.errors import MachineError
from vpmu.hart.hart import Hart
from vpmu.hart.memory import HostMemory, PhysicalMemory
from vpmu.hart.pmu import PhysicalPmu
from vpmu.kvm.exits import (
    BudgetExit,
    HungExit,
    IdleExit,
    KvmRunError,
    MmioExit,
    SbiExit,
    SystemEvent,
    VcpuExit,
)
from vpmu.kvm.profiles import DEFAULT_PROFILE, Profile, get_profile
from vpmu.kvm.vcpu import Vcpu
from vpmu.kvm.vcpu_api import MP_STATE_STOPPED
from vpmu.perf.description import HostPmuDescription, load_host_pmu
from vpmu.perf.event import PerfProvider
from vpmu.perf.host_pmu import HostPmuPerf
from vpmu.sbi.dispatch import ecall
from vpmu.spec.csr import SSTATUS_FS
from vpmu.spec.perf import EVENTS, PerfEventAttr, PerfType
from vpmu.trace.recorder import NULL, Recorder
from vpmu.vmm import devicetree
from vpmu.vmm.console import Console
from vpmu.vmm.devices import Bus, Device, EventKind, MachineEvent, Ns16550a, Plic, SifiveTest
from vpmu.vmm.loader import Buffer, LoadedImage, load_image

if TYPE_CHECKING:
    from vpmu.faults.plan import FaultPlan
    from vpmu.vmm.injection import Injection
    from vpmu.vmm.snapshot import Snapshot

RAM_BASE = 0x80000000
UART_BASE, TEST_BASE, PLIC_BASE = 0x10000000, 0x100000, 0xC000000
UART_IRQ = 10
MIN_MEMORY, MAX_HARTS = 64 << 10, 64
POLL_INSTRUCTIONS = 5_000_000  # between two looks at the outside world (Host.poll)
QUANTUM_NS = 10_000  # virtual time that a hart runs before the next one of a multi-hart machine gets its turn


Ending = tuple[str, str, int | None]
"""stop, reason and reset reason of a RunResult."""


class Host(Protocol):
    """What connects a run to the outside world. A run without one is a function of its inputs."""

    def poll(self) -> None:
        """Called every few million instructions: feed console input (Machine.console_input), halt the
        machine.
        """

    def idle(self, now: int, wake: int | None) -> int | None:
        """All harts sleep, until virtual time `wake` if that is not None: wait for the outside world.

        Answers the virtual time at which to go on, at most `wake`; None: nothing comes from outside.
        """


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `stop` is shutdown, reset, kvm_run_failed, budget, idle, hung, or what
    Machine.halt was given; `reason` says it in words.
    """

    stop: str
    reason: str
    instructions: int
    """Retired by all harts since power-on."""
    exits: int
    """Exits to user space in this run."""
    exit_counts: dict[str, int]
    """Exits to KVM (hart stops) and to user space, by kind, since power-on."""
    console: bytes
    seconds: float
    """Wall time of this run."""
    kvm_run_errno: int | None = None
    reset_reason: int | None = None
    """SRST's reset_reason or the code of the test finisher: 0 is success."""
    sbi_calls: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """Answered SBI calls since power-on, by (EID, FID, error)."""
    virtual_ns: int = 0
    """Virtual time since power-on."""

    @property
    def ok(self) -> bool:
        """The guest ended the run itself and reported no failure."""
        return self.stop in ("shutdown", "reset") and not self.reset_reason


@dataclass(slots=True)
class OutsideCounter:
    """An event counted from outside the guest, one perf event per hart (Machine.open_counter)."""

    events: list[object] = field(default_factory=list)

    def read(self) -> int:
        """The sum over all harts."""
        return sum(event.read() for event in self.events)  # type: ignore[attr-defined]

    @property
    def state(self) -> object:
        """perf's state of the event on the first hart."""
        return self.events[0].state  # type: ignore[attr-defined]


class Machine:
    """A virtual machine on a modelled host.

    profile, with_, without: what KVM is like (kvm.profiles). host_pmu: description of the host's PMU (name,
    path or object). perf: "model", or "host" for this machine's own perf_event_open. memory: bytes of RAM
    at memory_base. refuse: event name -> errno that the host's perf answers. starve: host counters that
    somebody else holds. faults: a plan (vpmu.faults) that every seam asks. engine: "native" or "reference".
    Raises VpmuError for what cannot be built.
    """

    def __init__(
        self,
        profile: str | Profile = DEFAULT_PROFILE,
        *,
        with_: Iterable[str] = (),
        without: Iterable[str] = (),
        host_pmu: str | HostPmuDescription = "qemu-virt",
        perf: str = "model",
        memory: int = 128 << 20,
        memory_base: int = RAM_BASE,
        harts: int = 1,
        recorder: Recorder | None = None,
        refuse: Mapping[str, int | str] | None = None,
        starve: int = 0,
        seed: int = 0,
        engine: str = "native",
        console_out: Callable[[bytes], None] | None = None,
        bootargs: str = "",
        plic: bool = False,
        mmu: str = "riscv,sv39",
        faults: FaultPlan | None = None,
    ) -> None:
        if not 1 <= harts <= MAX_HARTS:
            raise MachineError("number of harts", expected=f"1 to {MAX_HARTS}", got=harts)
        if memory < MIN_MEMORY or memory % 4096:
            raise MachineError(
                "memory size",
                expected=f"at least {MIN_MEMORY >> 10} KiB, in whole pages",
                got=f"{memory} bytes",
            )
        self.profile = profile if isinstance(profile, Profile) else get_profile(profile, with_, without)
        self.host_pmu = load_host_pmu(host_pmu) if isinstance(host_pmu, str) else host_pmu
        self.recorder = recorder or NULL
        if self.recorder is not NULL:
            self.recorder.clock = lambda: self.time
        self.bootargs, self.seed = bootargs, seed
        self.memory = PhysicalMemory()
        self.memory_base, self.memory_size = memory_base, memory
        try:
            self.memory.set_slot(0, memory_base, memory)
        except (ValueError, OSError, OverflowError) as error:
            raise MachineError(str(error)) from None
        self.bus = Bus()
        self.console = Console(self.memory, console_out)
        self.serial = Ns16550a(self.console.emit, self._serial_interrupt if plic else None)
        self.plic = Plic(harts, self._external_interrupt) if plic else None
        self.bus.attach(UART_BASE, 0x100, self.serial)
        self.bus.attach(TEST_BASE, 0x1000, SifiveTest())
        if self.plic:
            self.bus.attach(PLIC_BASE, 0x600000, self.plic)
        self._mmu = mmu
        self._tree: bytes | None = None
        self._entry: tuple[int, int] | None = None
        self._providers: list[PerfProvider] = []
        self._user_exits: Counter[str] = Counter()
        self._vcpus: list[Vcpu] = []
        self._current = 0
        self._polled = 0
        self._halted: Ending | None = None
        self._alone: Vcpu | None = None
        self._plain: dict[int, tuple[Device, int]] = {UART_BASE >> 12: (self.serial, UART_BASE)}
        if self.plic:
            self._plain |= dict.fromkeys(
                range(PLIC_BASE >> 12, PLIC_BASE + 0x600000 >> 12), (self.plic, PLIC_BASE)
            )
        for number in range(harts):
            self._vcpus.append(self._new_vcpu(number, engine, perf, refuse or {}, starve))
        self.set_sbi_extension("DBCN", True)  # as QEMU and kvmtool do: KVM leaves it to user space
        self.injection: Injection | None = None
        self.base: Snapshot | None = None  # the snapshot since which pages are tracked
        self.arguments: dict[str, object] = {
            "profile": self.profile, "host_pmu": self.host_pmu, "perf": perf, "memory": memory,
            "memory_base": memory_base, "harts": harts, "refuse": dict(refuse or {}), "starve": starve,
            "seed": seed, "engine": engine, "bootargs": bootargs, "plic": plic, "mmu": mmu,
        }  # fmt: skip
        if faults:
            self.inject(faults)

    def _new_vcpu(
        self, number: int, engine: str, perf: str, refuse: Mapping[str, int | str], starve: int
    ) -> Vcpu:
        host = self.host_pmu
        overflow = host.ssaia and host.counters.overflow_interrupts and host.counters.sscofpmf
        hart = Hart(number, self.memory, engine=engine, lcofi=overflow, traps_retire=host.ecall_retires)
        pmu = PhysicalPmu(hart, host.counters)
        provider: PerfProvider
        if perf == "host":
            from vpmu.perf.linux import LinuxPerf

            provider = LinuxPerf(recorder=self.recorder, hart_id=number)
        else:
            provider = HostPmuPerf(
                pmu, host, refuse=refuse, starve=starve, recorder=self.recorder, hart_id=number
            )
        self._providers.append(provider)

        def scountovf() -> int | None:
            if host.scountovf == "traps" or not host.counters.sscofpmf:
                return None
            if host.scountovf == "virtual":
                return vcpu.pmu.overflow_flags
            return pmu.overflow_flags if host.scountovf == "unmasked" else 0

        vcpu = Vcpu(
            number, hart, self.memory, self.profile, provider, ecall, self._vcpus, self.recorder,
            lcofi=overflow, scountovf=scountovf,
        )  # fmt: skip
        vcpu.io_bus, vcpu.wakes = self._device_access, self._woken
        return vcpu

    # ------------------------------------------------------------ building

    @property
    def vcpus(self) -> list[Vcpu]:
        """All vCPUs, in hart order."""
        return self._vcpus

    def vcpu(self, number: int) -> Vcpu:
        """One vCPU; works as a scripted guest without any code loaded (`ecall`, `csr_read`, `read`,
        `write`, `work`).
        """
        if not 0 <= number < len(self._vcpus):
            raise MachineError("hart", expected=f"0 to {len(self._vcpus) - 1}", got=number)
        return self._vcpus[number]

    @property
    def time(self) -> int:
        """Virtual nanoseconds since power-on, of the hart that runs."""
        return self._vcpus[self._current].hart.time_ns if self._vcpus else 0

    @property
    def instructions(self) -> int:
        """Instructions retired by all harts since power-on."""
        return sum(vcpu.hart.instructions for vcpu in self._vcpus)

    def set_sbi_extension(self, name: str, enabled: bool) -> None:
        """Switch an SBI extension on or off by KVM's name (ONE_REG), for all vCPUs, before the first run."""
        from vpmu.kvm.profiles import SbiExtension

        for vcpu in self._vcpus:
            try:
                vcpu.extensions.set(SbiExtension[name], int(enabled))
            except OSError:
                if enabled and name != "DBCN":
                    raise

    def set_memory_region(
        self, slot: int, gpa: int, size: int, flags: int, backing: memoryview | None
    ) -> int:
        """KVM_SET_USER_MEMORY_REGION; flags 2 is KVM_MEM_READONLY. Answers 0 or a negative errno."""
        import errno

        try:
            host = HostMemory.over(backing) if backing is not None and size else None
            self.memory.set_slot(slot, gpa, size, backing=host, readonly=bool(flags & 2))
        except ValueError:
            return -errno.EINVAL
        return 0

    def load(
        self, image: str | bytes | object, *, kind: object = None, initrd: Sequence[Buffer] = ()
    ) -> LoadedImage:
        """Load a guest image (path or bytes), an initrd (its parts, in order) and the device tree; hart 0
        starts at its entry. Raises ImageError.
        """
        loaded = load_image(image, self.memory_base, self.memory_size, kind=kind)  # type: ignore[arg-type]
        for gpa, data in loaded.segments:
            self.memory.write(gpa, data)
        where = None
        end = self.memory_base + self.memory_size
        if initrd:
            where = self._place_initrd(loaded, initrd)
        tree = devicetree.build(
            len(self._vcpus),
            self.memory_base,
            self.memory_size,
            bootargs=self.bootargs,
            initrd=where,
            isa=self._isa(),
            plic=self.plic is not None,
            seed=self.seed,
            mmu=self._mmu,
        )
        occupied = where[1] if where else loaded.end
        at = (end - len(tree)) & ~0x1FFFFF  # as QEMU: at the last 2 MiB boundary below the end
        if at < occupied:
            at = (end - len(tree)) & ~0xFFF
        if at < occupied:
            needed = occupied + len(tree) - self.memory_base
            raise MachineError(
                "memory too small for the guest and its device tree",
                expected=f"{needed >> 10} KiB or more",
                got=f"{self.memory_size >> 10} KiB",
            )
        self.memory.write(at, tree)
        self._tree = tree
        first = self._vcpus[0]
        first.pc = loaded.entry
        first.regs[10], first.regs[11] = 0, at
        # As firmware on QEMU virt leaves it: a guest that never looks at sstatus.FS may use F and D.
        first.hart.set("sstatus", SSTATUS_FS)
        return loaded

    def _place_initrd(self, loaded: LoadedImage, initrd: Sequence[Buffer]) -> tuple[int, int]:
        start = (loaded.end + 0x1FFFFF) & ~0x1FFFFF
        end = start + sum(len(part) for part in initrd)
        if end > self.memory_base + self.memory_size - (4 << 20):
            needed = end + (4 << 20) - self.memory_base
            raise MachineError(
                "initrd does not fit",
                expected=f"{-(-needed >> 20)} MiB of memory or more",
                got=f"{self.memory_size >> 20} MiB",
            )
        at = start
        for part in initrd:
            self.memory.write(at, part)
            at += len(part)
        return start, end

    def _isa(self) -> list[str]:
        extensions = [*devicetree.DEFAULT_ISA]
        if self._vcpus[0].hart.get("sie_mask") >> 13 & 1 and "sscofpmf" not in extensions:
            extensions.append("sscofpmf")
        if self._vcpus[0].hart.get("adue"):
            extensions.append("svadu")
        return extensions

    def console_input(self, data: bytes) -> None:
        """Bytes that the guest will read from its serial port or its SBI console."""
        self.console.feed(data, self.serial)

    def inject(self, plan: FaultPlan | None) -> None:
        """Let the seams ask this plan from now on, from its beginning, instead of the one before; None:
        none.
        """
        from vpmu.vmm.injection import Injection

        if self.injection is not None:
            self.injection.remove()
        self.injection = Injection(self, plan, self._providers) if plan else None

    def snapshot(self) -> Snapshot:
        """The whole state now, to go back to. MachineError where that cannot be had."""
        from vpmu.vmm.snapshot import take

        return take(self)

    def restore(self, snapshot: Snapshot) -> None:
        """Go to the state of a snapshot; an installed fault plan begins anew. MachineError where it does not
        fit.
        """
        from vpmu.vmm.snapshot import restore

        restore(self, snapshot)

    def fork(self, console_out: Callable[[bytes], None] | None = None) -> Machine:
        """Another machine in the same state, from here on on its own."""
        return self.snapshot().machine(console_out=console_out)

    @property
    def providers(self) -> list[PerfProvider]:
        """Where the perf events of each hart come from."""
        return self._providers

    # ------------------------------------------------------------ running

    def halt(self, stop: str, reason: str) -> None:
        """End the run at the next exit, from a console sink or a host's poll: RunResult says `stop` and
        `reason`.
        """
        self._halted = (stop, reason, None)
        for vcpu in self._vcpus:
            vcpu.immediate_exit = True

    def run(
        self, max_instructions: int | None = None, timeout_ns: int | None = None, host: Host | None = None
    ) -> RunResult:
        """Run the guest until it ends, nothing can happen any more, or a limit is reached (instructions or
        virtual time, from now).

        `host` connects the run to the outside world: input that comes while the guest runs, waiting in real
        time.
        """
        started, exits_before = time.perf_counter(), sum(self._user_exits.values())
        limit = None if max_instructions is None else self.instructions + max_instructions
        deadline = None if timeout_ns is None else self._now() + timeout_ns
        stop, reason, code, number = "budget", "", None, None
        self._halted = None
        try:
            stop, reason, code = self._turn(limit, deadline, host)
        except KvmRunError as error:
            stop, reason, number = "kvm_run_failed", error.reason, error.errno
            if self.recorder.enabled:
                self.recorder.emit(
                    "vmm", "KVM_RUN", "failed", -error.errno, hart=self._current, reason=error.reason
                )
        counts, calls = Counter(self._user_exits), Counter[tuple[int, int, int]]()
        for vcpu in self._vcpus:
            counts.update(vcpu.exits)
            calls.update(vcpu.sbi_calls)
        return RunResult(
            stop,
            reason,
            self.instructions,
            exits=sum(self._user_exits.values()) - exits_before,
            exit_counts=dict(sorted(counts.items())),
            console=self.console.output,
            seconds=time.perf_counter() - started,
            kvm_run_errno=number,
            reset_reason=code,
            sbi_calls=dict(sorted(calls.items())),
            virtual_ns=self._now(),
        )

    def _now(self) -> int:
        """Virtual nanoseconds since power-on: the hart that is furthest."""
        return max(vcpu.hart.time_ns for vcpu in self._vcpus)

    def _turn(self, limit: int | None, deadline: int | None, host: Host | None) -> Ending:
        """Turn the vCPUs in hart order until something ends the run.

        A vCPU that is the only one awake runs until it sleeps, wakes another one, or a timer of another one
        is due; several take turns of a quantum of virtual time. Nothing here depends on anything but the
        guest.
        """
        clock = self._now()
        self._polled = self.instructions
        while True:
            if deadline is not None and clock >= deadline:
                return "budget", "the time that was allowed is used up", None
            if self._halted is not None:
                return self._halted
            if host is not None and self.instructions - self._polled >= POLL_INSTRUCTIONS:
                self._polled = self.instructions
                host.poll()
            awake = [vcpu for vcpu in self._vcpus if not vcpu.sleeps(clock)]
            timers = [
                wake
                for vcpu in self._vcpus
                if (wake := vcpu.timer_ns) is not None
                and vcpu not in awake
                and vcpu.mp_state != MP_STATE_STOPPED
            ]
            if not awake:
                waited = self._wait(clock, min(timers, default=None), host)
                if not isinstance(waited, int):
                    return waited
                clock = waited if deadline is None else min(waited, deadline)
                continue
            bounds = timers if len(awake) == 1 else [*timers, clock + QUANTUM_NS]
            if deadline is not None:
                bounds.append(deadline)
            horizon = min(bounds, default=None)
            self._alone = awake[0] if len(awake) == 1 else None
            for vcpu in awake:
                self._current = vcpu.id
                vcpu.hart.time_ns = max(vcpu.hart.time_ns, clock)
                end = self._run_vcpu(vcpu, limit, horizon, host)
                if end is not None:
                    return end
            self._current = 0
            clock = max(vcpu.hart.time_ns for vcpu in awake)

    def _wait(self, clock: int, wake: int | None, host: Host | None) -> int | Ending:
        """Every vCPU sleeps: the virtual time at which to go on, or how the run ends."""
        if all(vcpu.mp_state == MP_STATE_STOPPED for vcpu in self._vcpus):
            return "shutdown", "all harts have stopped", None
        if host is not None:
            waited = host.idle(clock, wake)
            if self._halted is not None:
                return self._halted
            if waited is not None:
                return waited
        if wake is None:
            return "idle", "every hart waits for an interrupt that nothing will raise", None
        return max(clock, wake)

    def _run_vcpu(
        self, vcpu: Vcpu, limit: int | None, horizon: int | None, host: Host | None
    ) -> Ending | None:
        """One vCPU's turn: until the horizon, a wait, or an exit that ends the run."""
        vcpu.immediate_exit = self._halted is not None
        while True:
            left = None if limit is None else limit - self.instructions
            if left is not None and left <= 0:
                return "budget", "the instructions that were allowed are used up", None
            if host is not None:
                left = POLL_INSTRUCTIONS if left is None else min(left, POLL_INSTRUCTIONS)
            exit_ = vcpu.run(left, horizon)
            if self._halted is not None:
                return self._halted
            match exit_:
                case BudgetExit():
                    if (
                        vcpu.immediate_exit
                        or (horizon is not None and vcpu.hart.time_ns >= horizon)
                        or host is not None
                    ):
                        return None
                case IdleExit():
                    return None
                case HungExit(reason=reason):
                    return "hung", reason, None
                case _:
                    end = self._serve(vcpu, exit_)
                    if end is not None:
                        return end

    def _woken(self) -> None:
        """A sleeping vCPU became runnable: one that ran alone gives the others their turn."""
        if self._alone is not None:
            self._alone.immediate_exit = True

    def _device_access(self, gpa: int, size: int, is_write: bool, value: int) -> int | None:
        """The bus of the devices that only take and give bytes: no access to them ends the run by itself."""
        device = self._plain.get(gpa >> 12)
        if device is None:
            return None
        self._user_exits["mmio"] += 1
        if is_write:
            device[0].write(gpa - device[1], value & (1 << 8 * size) - 1, size)
            return 0
        return device[0].read(gpa - device[1], size) & (1 << 8 * size) - 1

    def _serve(self, vcpu: Vcpu, exit_: VcpuExit) -> Ending | None:
        """An exit to user space; an answer ends the run."""
        match exit_:
            case MmioExit(gpa=gpa, size=size, is_write=True, data=data):
                self._user_exits["mmio"] += 1
                event = self.bus.write(gpa, int.from_bytes(data, "little"), size)
                if event is not None:
                    return _machine_event(event)
            case MmioExit(gpa=gpa, size=size):
                self._user_exits["mmio"] += 1
                vcpu.complete_mmio(self.bus.read(gpa, size))
            case SbiExit():
                self._user_exits["sbi"] += 1
                vcpu.complete_sbi(*self.console.sbi(exit_))
            case SystemEvent(type=kind, reason=code):
                self._user_exits["system_event"] += 1
                stop = "shutdown" if kind == 1 else "reset"
                return stop, f"SBI system reset: {stop}, reason {code}", code
        return self._halted

    # ------------------------------------------------------------ interrupts from devices

    def _serial_interrupt(self, level: bool) -> None:
        if self.plic is not None:
            self.plic.set_line(UART_IRQ, level)

    def _external_interrupt(self, hart: int, level: bool) -> None:
        vcpu = self._vcpus[hart]
        (vcpu.set_interrupt if level else vcpu.unset_interrupt)(9)

    # ------------------------------------------------------------ counting from outside

    def open_counter(self, name: str, modifiers: str = "") -> OutsideCounter:
        """Count a perf event of the whole guest from outside, as `perf stat` would; modifiers u and k
        choose modes. Raises PerfError.
        """
        if name.startswith("r") and name[1:] and all(c in "0123456789abcdef" for c in name[1:].lower()):
            kind, config = int(PerfType.RAW), int(name[1:], 16)
        else:
            kind, config = EVENTS[name]
        either = "u" in modifiers or "k" in modifiers
        attr = PerfEventAttr(
            type=kind, config=config, config1=1, exclude_host=True, exclude_hv=True, disabled=False,
            exclude_user=either and "u" not in modifiers, exclude_kernel=either and "k" not in modifiers,
        )  # fmt: skip
        return OutsideCounter([provider.create(attr, None) for provider in self._providers])


def _machine_event(event: MachineEvent) -> tuple[str, str, int | None]:
    match event.kind:
        case EventKind.POWEROFF:
            return "shutdown", "the guest wrote PASS to the test device", 0
        case EventKind.FAIL:
            return (
                "shutdown",
                f"the guest wrote FAIL with code {event.code} to the test device",
                event.code or 1,
            )
        case EventKind.RESET:
            return "reset", "the guest wrote RESET to the test device", 0
