"""The vPMU of this process as a target: a scripted guest, no machine code."""

from __future__ import annotations

from collections.abc import Sequence

from ..faults.plan import FaultPlan
from ..kvm.errors import HostLostError, KvmRunError
from ..kvm.interrupts import VcpuInterrupts
from ..kvm.pmu import VcpuPmu
from ..perf.description import HostPmuDescription
from ..profiles.profiles import IMPL_ID_OPENSBI, Profile
from ..see.guest_hart import GuestHart
from ..see.pmu import IllegalCounter
from ..see.vcpu_api import GuestTrap, MemoryFault
from ..spec.csr import Cause, Csr, Irq
from ..spec.sbi import U64, SbiRet
from ..vmm.machine import Machine
from .calls import OF_THE_HOST, Call, Result
from .target import PAGE, SCRATCH_PAGES, TargetLost

MEMORY_BASE = 0x88000000
MEMORY = 16 * PAGE
_CSRS = {32: Csr.SCOUNTOVF, 33: Csr.SIP, 34: Csr.SIE, 35: Csr.SCOUNTEREN}
WRITE_FORMS = (
    (Csr.CYCLE, True),
    (Csr.INSTRET, True),
    (Csr.CYCLE, True),
    (Csr.CYCLE, False),
    (Csr.CYCLE, True),
    (Csr.CYCLE, False),
    (Csr.HPMCOUNTER3, True),
    (0xB00, False),
    (0x323, False),
    (0xC80, False),
)
"""(CSR, whether the instruction writes) of the CSR write forms 0 to 9 of the table format."""


class InProcessTarget:
    """A machine of ours under a profile; every reset is a new vCPU on the same description.

    undetermined: of the last batch, which results hold a value that the model cannot know.
    """

    def __init__(
        self,
        profile: str | Profile = "spec-3.0",
        host_pmu: str | HostPmuDescription = "qemu-virt",
        faults: FaultPlan | None = None,
    ) -> None:
        self._faults = faults
        self._profile, self._host = profile, host_pmu
        self.scratch = MEMORY_BASE + MEMORY - SCRATCH_PAGES * PAGE
        self.memory_end = MEMORY_BASE + MEMORY
        self.hole = 0x40_0000_0000
        self.slack = 16
        self.revives = True
        self.reset()
        self.profile = self._machine.profile
        self.switches = self.profile.impl_id != IMPL_ID_OPENSBI  # nobody is above a firmware to switch it
        # No machine code, no TLB; and no user space or host kernel around a firmware.
        self.missing = frozenset("t") | (frozenset() if self.switches else OF_THE_HOST)
        host = self._machine.host_pmu
        self.interrupts = host.counters.overflow_interrupts and host.overflow_latency == "none"
        self.name = "in-process"
        self.description = (
            f"vpmu in process, profile {self.profile.name}, host PMU {self._machine.host_pmu.name}"
        )

    def reset(self, *, pmu: bool = True) -> None:
        self._machine = Machine(
            profile=self._profile,
            host_pmu=self._host,
            memory=MEMORY,
            memory_base=MEMORY_BASE,
            faults=self._faults,
        )
        if not pmu:
            self._machine.set_sbi_extension("PMU", False)
        self._vcpu = self._machine.vcpu(0)
        self._vcpu.hart.set("scounteren", 7)

    def close(self) -> None:
        """Nothing is held."""

    def run(self, calls: Sequence[Call]) -> list[Result]:
        results: list[Result] = []
        self.undetermined: list[bool] = []
        lost = ""
        for call in calls:
            self._vcpu.pmu.undetermined = False
            try:
                if lost:  # nobody is left to ask
                    results.append(Result(lost=lost))
                    self.undetermined.append(False)
                    continue
                results.append(self._one(call.op, call.resolve(results)))
            except (IllegalCounter, GuestTrap) as trap:
                results.append(Result(trap=getattr(trap, "cause", int(Cause.ILLEGAL_INSTRUCTION))))
            except MemoryFault:
                results.append(Result(trap=int(Cause.STORE_ACCESS if call.op in "sf" else Cause.LOAD_ACCESS)))
            except KvmRunError as error:
                results.append(Result(errno=error.errno))
            except HostLostError as error:
                lost = error.commit
                results.append(Result(lost=lost))
            self.undetermined.append(self._vcpu.pmu.undetermined)
        return results

    def _one(self, op: str, operands: tuple[int, ...]) -> Result:
        vcpu = self._vcpu
        first, second, third = (*operands, 0, 0, 0)[:3]
        match op:
            case "e":
                answer = vcpu.ecall(first, second, *operands[2:])
                if not isinstance(answer, SbiRet):
                    raise TargetLost(f"the call left to user space: {answer}")
                return Result((answer.value or 0) & U64, answer.error)
            case "c":
                return Result(self._csr(first))
            case "w":
                vcpu.work(2 * first)
                return Result(first)
            case "l":
                return Result(int.from_bytes(vcpu.read(first, 8), "little"))
            case "s":
                vcpu.write(first, second.to_bytes(8, "little"))
                return Result()
            case "f":
                vcpu.write(first, third.to_bytes(8, "little") * second)
                return Result(second)
            case "k":
                word = third.to_bytes(8, "little")
                data = vcpu.read(first, 8 * second)
                return Result(sum(data[at : at + 8] != word for at in range(0, len(data), 8)))
            case "u":
                return Result(self._user_mode_read(first, second))
            case "W":
                csr, writes = WRITE_FORMS[first]
                return Result(self._counter(csr, writes=writes))
            case "C":
                return Result(self._interrupt_csr(first, second))
            case "i":
                return Result(self._take_interrupts(first, second))
            case "R":
                vcpu.reset()
                vcpu.hart.set("scounteren", 7)
                return Result()
            case "G":
                return Result(_one_reg(vcpu).one_reg_sip())
            case "S":
                _one_reg(vcpu).set_one_reg_sip(first, vcpu.profile)
                return Result()
            case "P":
                self._machine.memory.carve(first, PAGE, readonly=True)
                return Result()
            case "M":
                pmu = vcpu.pmu
                return Result(pmu.snapshot.leaked * PAGE // 1024 if isinstance(pmu, VcpuPmu) else 0)
        raise AssertionError(op)

    def _counter(
        self, csr: int, *, writes: bool = False, user_mode: bool = False, scounteren: int = 7
    ) -> int:
        return self._vcpu.pmu.read_csr(
            csr, writes=writes, user_mode=user_mode, scounteren=scounteren,
            sbi_enabled=self._vcpu.sbi_enabled(0x504D55),
        )  # fmt: skip

    def _csr(self, index: int) -> int:
        if index < 32:
            return self._vcpu.csr_read(Csr.CYCLE + index)
        csr = _CSRS[index]
        if csr == Csr.SIP:
            return self._vcpu.interrupts.flush()
        return self._vcpu.csr_read(csr)

    def _user_mode_read(self, index: int, scounteren: int) -> int:
        if index == 1:
            if not scounteren & 2:
                raise IllegalCounter("scounteren closes time")
            return self._vcpu.csr_read(Csr.TIME)
        return self._counter(Csr.CYCLE + index, user_mode=True, scounteren=scounteren)

    def _interrupt_csr(self, kind: int, value: int) -> int:
        hart, interrupts = self._vcpu.hart, self._vcpu.interrupts
        if kind == 0:
            hart.set("sie", value & hart.get("sie_mask"))
            return hart.get("sie")
        pending = interrupts.flush()
        writable = 1 << Irq.SOFTWARE | 1 << Irq.LCOFI
        value &= writable & (1 << Irq.SOFTWARE | hart.get("sie_mask"))
        hart.set("sip", pending & ~value if kind == 1 else pending | value)
        interrupts.sync(hart.get("sip"))
        return interrupts.flush()

    def _take_interrupts(self, enabled: int, count: int) -> int:
        """The interrupts that a handler which clears what it takes would see: bit n for cause n."""
        taken = 0
        vcpu = self._vcpu
        mask = enabled & vcpu.hart.get("sie_mask")
        for _ in range(min(count, 16)):
            vcpu.work(max(2 * count // min(count, 16), 1))
            pending = vcpu.interrupts.flush() & mask
            taken |= pending
            for irq in range(64):
                if pending >> irq & 1:
                    vcpu.unset_interrupt(irq)
        return taken


def _one_reg(vcpu: GuestHart) -> VcpuInterrupts:
    """Interrupts that user space reaches by ONE_REG: those of a vCPU of KVM."""
    assert isinstance(vcpu.interrupts, VcpuInterrupts)
    return vcpu.interrupts
