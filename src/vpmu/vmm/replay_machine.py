"""The machine on which a recorded run is replayed: what the comments of the table say of the machine that
recorded it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from ..faults.plan import FaultPlan
from ..payloads import path
from ..perf.description import HostPmuDescription, load_host_pmu
from ..profiles.behaviours import B
from ..profiles.profiles import IMPL_ID_KVM, IMPL_ID_OPENSBI, get_profile
from .loader import DEFAULT_MEMORY_BASE
from .machine import Machine
from .replay import _OPCODES, RAM_BASE, RAM_SIZE, Monitor
from .replay_native import ENTRIES, ENTRY, NativeMonitor
from .replay_table import Run, Table, TableError

PAYLOADS = {684: "mailbox-first", 1544: "mailbox"}
"""The mailbox payloads by their size, as a table's header gives it: the first one had fewer operations."""
NATIVE_MEMORY = 512 << 20
"""What the machine of the native recordings had."""
RECORDED_HOST = "qemu-virt"
"""The host on which the tables were recorded, up to what `host_for` changes."""
KVM_ISA_EXT_SSAIA = 14
"""KVM_RISCV_ISA_EXT_SSAIA: KVM offers it, and with it Sscofpmf and overflow interrupts, on a host with AIA.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chooses for all runs; `host_pmu` None takes the host that each table names."""

    profile: str
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    host_pmu: str | None = None
    engine: str = "native"
    faults: FaultPlan | None = None

    def monitor(self, run: Run) -> Monitor | NativeMonitor:
        """A fresh machine for `run`, the payload loaded, and its monitor."""
        if run.native_base is not None:
            return self._native(run, run.native_base)
        # "unmodified" says: this run shows the kernel without the change that the other runs have.
        with_, without = ((), ()) if run.unmodified else (self.with_, self.without)
        if not run.legacy and get_profile(self.profile).impl_id == IMPL_ID_KVM:
            with_ = (*with_, B.LEGACY_NOT_BUILT.name)
        resets = any(step.operation == "R" for step in run.steps)
        machine = Machine(
            profile=self.profile,
            with_=with_,
            without=without,
            host_pmu=host_for(run, self.host_pmu),
            memory=RAM_SIZE,
            memory_base=RAM_BASE,
            harts=2 if resets else 1,
            engine=self.engine,
            faults=self.faults,
        )
        for name, enabled in run.sbi_extensions.items():
            with suppress(OSError):  # what this host cannot offer stays away, and the lines say so
                machine.set_sbi_extension(name, enabled)
        for vcpu in machine.vcpus:
            vcpu.io_bus = None  # every device access is the monitor's
            vcpu.devices = lambda gpa: True
        machine.vcpu(0).write(RAM_BASE, payload(run.payload_size))
        machine.vcpu(0).pc = RAM_BASE
        return Monitor(machine, run)

    def _native(self, run: Run, base: int) -> NativeMonitor:
        """The machine of a run that was recorded in S mode: memory from the firmware's first byte on."""
        machine = Machine(
            profile=self.profile, with_=self.with_, without=self.without, engine=self.engine,
            host_pmu=host_for(run, self.host_pmu), memory=NATIVE_MEMORY,
        )  # fmt: skip
        machine.vcpu(0).write(base, path("mailbox-native").read_bytes())
        machine.vcpu(0).pc = base
        return NativeMonitor(machine, run, base)


def check_table(table: Table, profile: str) -> None:
    """TableError for a table that no machine of ours can replay under that profile."""
    firmware = get_profile(profile).impl_id == IMPL_ID_OPENSBI
    for run in table.runs:
        base = run.native_base
        if base is None:
            continue
        if not firmware:
            raise TableError(
                table.path, "recorded on OpenSBI, without KVM", line=run.number,
                expected="--profile opensbi-...", got=profile,
            )  # fmt: skip
        last = DEFAULT_MEMORY_BASE + NATIVE_MEMORY - ENTRIES - ENTRY * (len(run.steps) + 1)
        if not DEFAULT_MEMORY_BASE <= base <= last or base % 4:
            raise TableError(
                table.path, "place of the payload", line=run.number, got=hex(base),
                expected=f"a multiple of 4 from {DEFAULT_MEMORY_BASE:#x} to {last:#x}",
            )  # fmt: skip
        for step in run.steps:
            if step.operation not in _OPCODES:
                raise TableError(table.path, "an operation of the monitor's, and there was none",
                                 line=step.number, got=step.operation)  # fmt: skip


def host_for(run: Run, choice: str | None) -> HostPmuDescription:
    """The host of `run`: `choice`, or the recorded one with AIA and Sscofpmf as the run's comments say."""
    host = load_host_pmu(choice if choice is not None else RECORDED_HOST)
    counters = host.counters
    if choice is None and run.isa_extensions is not None and KVM_ISA_EXT_SSAIA in run.isa_extensions:
        host = replace(host, ssaia=True, scountovf="traps", overflow_latency="unknown", raw_event_bits=55)
        counters = replace(counters, overflow_interrupts=True)
    if not run.sscofpmf:
        counters = replace(counters, sscofpmf=False)
    return replace(host, counters=counters)


def payload(size: int | None) -> bytes:
    """The mailbox payload of that size in bytes; the later one where the table does not say or the size is
    unknown."""
    return path(PAYLOADS.get(size or 0, "mailbox")).read_bytes()
