"""A VM of real KVM on our own hart, step by step: what replays a recorded table on the real kernel.

The monitor (guests/kvm_monitor.c, request `V`) does single ioctls; what the one that recorded the tables did
with them is vpmu.vmm.replay's.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..debug.page_tables import physical_pages
from ..errors import UsageError
from ..kvm.errors import KvmRunError
from ..peers.host_source import HostSource
from ..peers.vpmu_host import ISA
from ..profiles.profiles import IMPL_ID_KVM, SbiExtension
from ..profiles.releases import linux_version_code
from ..see.exits import BudgetExit, MmioExit, SbiExit, SystemEvent, VcpuExit
from ..vmm.linux.progress import Progress
from ..vmm.loader import Buffer
from ..vmm.replay import PAGE, RAM_BASE, Monitor
from ..vmm.replay_machine import KVM_ISA_EXT_SSAIA, RECORDED_HOST, payload
from ..vmm.replay_table import Run, sharp_hex
from .agent import Identity, profile_for
from .host_link import HostLink
from .target import TargetError, TargetLost

if TYPE_CHECKING:
    from ..peers.hooks import Hooks

CORE, CSR, SBI_EXT = 0x8030_0000_0200_0000, 0x8030_0000_0300_0000, 0x8030_0000_0800_0000
"""KVM_REG_RISCV | KVM_REG_SIZE_U64 | CORE, CSR, SBI_EXT (arch/riscv/include/uapi/asm/kvm.h)."""
CSR_INDEX = {0x100: 0, 0x104: 1, 0x105: 2, 0x140: 3, 0x141: 4, 0x142: 5, 0x143: 6, 0x144: 7, 0x180: 8}
"""struct kvm_riscv_csr: the place of a CSR."""
EXIT_MMIO, EXIT_SYSTEM_EVENT, EXIT_SBI, EXIT_INTR = 6, 24, 35, 10
MMIO_DATA, SBI_RESULT = 40, 96
"""Offsets in struct kvm_run."""
OVERFLOWS, WITHOUT_SSCOFPMF = "full", "none"
"""Host PMUs in place of the recorded one: for a run on a host with AIA, and for one without Sscofpmf."""
_HEAD = struct.Struct("<8s6Q")


class RealVm:
    """One VM: its memory at `base`, vCPU 0; vCPU 1 on demand. `size` 0: as much as the agent's has. Raises
    TargetLost, TargetError where the host has not got so much memory.
    """

    def __init__(self, link: HostLink, host_pmu: Any, base: int = RAM_BASE, size: int = 0) -> None:
        self._link, self.host_pmu, self.base = link, host_pmu, base
        self._vcpus: dict[int, RealVcpu] = {}
        done, _ = self.ask("n", base, size)
        if done < 0:
            raise TargetError(f"a VM of {size >> 20} MiB: {os.strerror(-done)}", layer="kvm")
        self._vcpus[0] = RealVcpu(self, 0)

    def ask(self, what: str, *numbers: int, data: bytes = b"") -> tuple[int, bytes]:
        """One step: its result or negative errno, and what it shows."""
        arguments = [value & (1 << 64) - 1 for value in (*numbers, 0, 0, 0, 0, 0)][:5]
        answer = self._link.exchange(_HEAD.pack(b"V", ord(what), *arguments) + data)
        return int.from_bytes(answer[8:16], "little", signed=True), answer[16:]

    @property
    def instructions(self) -> int:
        """Of host and guest, since power-on."""
        return self._link.host.machine.instructions

    def vcpu(self, number: int) -> RealVcpu:
        """A vCPU, made on demand."""
        if number not in self._vcpus:
            self.ask("v", number)
            self._vcpus[number] = RealVcpu(self, number)
        return self._vcpus[number]

    def pages(self, size: int) -> list[int]:
        """Where the first `size` bytes of its memory lie in the hart's memory, page by page (monitor's first
        process keeps all of it in place: mlockall).
        """
        return pages_of_vm(self._link, size)

    def write(self, gpa: int, data: Buffer) -> None:
        """Bytes into the guest's memory."""
        for at in range(0, len(data), PAGE):
            self.ask("w", gpa + at, data=bytes(data[at : at + PAGE]))


def pages_of_vm(link: HostLink, size: int) -> list[int]:
    """See RealVm.pages; of the VM that the monitor has now."""
    answer = link.exchange(_HEAD.pack(b"V", ord("a"), 0, 0, 0, 0, 0))
    (start,) = struct.unpack_from("<Q", answer, 16)
    machine = link.host.machine
    hart, memory = machine.vcpu(0).hart, machine.memory  # the monitor's own page table: it waits
    # A host that needs memory looks which pages are used: their accessed bits are clear then.
    return physical_pages(hart, memory, start, size)


class Registers:
    """x0 to x31 of a vCPU, by KVM_GET_ONE_REG."""

    def __init__(self, get: Callable[[int], int], put: Callable[[int, int], object]) -> None:
        self._get, self._put = get, put

    def __getitem__(self, number: int) -> int:
        return self._get(CORE | number)

    def __setitem__(self, number: int, value: int) -> None:
        self._put(CORE | number, value)


class RealVcpu:
    """What vpmu.vmm.replay.Monitor needs of a vCPU."""

    def __init__(self, vm: RealVm, number: int) -> None:
        self._vm, self._number = vm, number
        self._pending = (0, b"")
        self.regs = Registers(self.get, self.put)
        self.exits: Counter[str] = Counter()
        self.overflows = 0
        self.hart = SimpleNamespace(instructions=0)
        # What the model would say it cannot know; the real one says nothing.
        self.pmu = SimpleNamespace(undetermined=False, shared_page=None)

    def get(self, register: int) -> int:
        """KVM_GET_ONE_REG."""
        return int.from_bytes(self._vm.ask("g", self._number, register)[1], "little")

    def put(self, register: int, value: int) -> int:
        """KVM_SET_ONE_REG: 0 or -errno."""
        return self._vm.ask("s", self._number, register, value)[0]

    @property
    def pc(self) -> int:
        """The program counter."""
        return self.get(CORE)

    @pc.setter
    def pc(self, value: int) -> None:
        self.put(CORE, value)

    @property
    def mp_state(self) -> int:
        """KVM_GET_MP_STATE."""
        return int.from_bytes(self._vm.ask("p", self._number)[1][:4], "little")

    @mp_state.setter
    def mp_state(self, state: int) -> None:
        self._vm.ask("p", self._number, 1, state)

    def csr_read(self, number: int) -> int:
        """A CSR of the guest's."""
        return self.get(CSR | CSR_INDEX[number])

    def read(self, gpa: int, size: int) -> bytes:
        """Bytes of the guest's memory."""
        return self._vm.ask("r", gpa, size)[1]

    def one_reg_list(self) -> dict[int, int]:
        """KVM_GET_REG_LIST by type of register."""
        shown = self._vm.ask("l", self._number)[1]
        numbers = struct.unpack_from(f"<{len(shown) // 8 - 1}Q", shown, 8)
        return dict(Counter(number >> 24 & 0xFF for number in numbers))

    def forget(self) -> None:
        """The host was brought back: no exit waits for an answer."""
        self._pending = 0, b""

    def complete_mmio(self, value: int) -> None:
        """What a load from a device gives."""
        self._pending = MMIO_DATA, value.to_bytes(8, "little")

    def complete_sbi(self, error: int, value: int) -> None:
        """What user space answers to an SBI call."""
        self._pending = SBI_RESULT, struct.pack("<qQ", error, value)

    def run(self, max_instructions: int | None = None) -> VcpuExit:
        """KVM_RUN. KvmRunError where it fails; a guest that hangs is a BudgetExit."""
        before = self._vm.instructions
        try:
            exit_ = self.enter()
        except TargetLost:
            self.hart.instructions += 1 << 60
            return BudgetExit()
        self.hart.instructions += self._vm.instructions - before
        return exit_

    def enter(self) -> VcpuExit:
        """KVM_RUN. Raises KvmRunError where it fails, TargetLost where it does not come back."""
        offset, data = self._pending
        self._pending = 0, b""
        self.exits["KVM_RUN"] += 1
        done, run = self._vm.ask("x", self._number, offset, data=data)
        if done < 0:
            raise KvmRunError(-done, "KVM_RUN")
        (reason,) = struct.unpack_from("<I", run, 8)
        if reason == EXIT_MMIO:
            gpa, data, size, write = struct.unpack_from("<Q8sIB", run, 32)
            return MmioExit(gpa, size, bool(write), data[:size])
        if reason == EXIT_SBI:
            eid, fid, *args = struct.unpack_from("<8Q", run, 32)
            return SbiExit(eid, fid, tuple(args))
        if reason == EXIT_SYSTEM_EVENT:
            type_, _words, reason = struct.unpack_from("<IIQ", run, 32)
            return SystemEvent(type_, reason)
        return BudgetExit()


class RealMonitor(Monitor):
    """The monitor of a recorded run on a VM of real KVM."""

    machine: RealVm

    def _memory_slot(self, operands: tuple[int, ...]) -> None:
        slot, gpa, pages, flags, offset = operands[:5]
        done, _ = self.machine.ask("m", slot, flags, gpa, pages * PAGE, offset * PAGE)
        self._answer(f"VMM set memslot rc={done}")

    def _view(self, operands: tuple[int, ...]) -> None:
        shown = self.machine.ask("r", operands[0], 8, 1)[1]
        self._answer(f"VMM view of xmem+off: {sharp_hex(int.from_bytes(shown, 'little'))}")


class RealHosts:
    """Where recorded runs are replayed on real KVM: hosts of one kernel, with the hart that each run had."""

    def __init__(self, source: HostSource, progress: Progress, undone: tuple[str, ...] = ()) -> None:
        self._source, self._progress, self._undone = source, progress, undone
        self._links: dict[tuple[str, ...], HostLink] = {}
        self._hooks: dict[HostLink, Hooks] = {}

    def profile(self) -> str:
        """The profile of the kernel that has replayed: that of its release."""
        kernel = next(iter(self._links.values())).facts.kernel
        found = re.search(r"\d+\.\d+(\.\d+)?", kernel)
        code = linux_version_code(found[0]) if found else 0
        return profile_for(Identity(0, IMPL_ID_KVM, code)).name

    def _undo(self, link: HostLink, commits: tuple[str, ...]) -> None:
        """Take these fixes, and no others, out of the running kernel. Raises HookError."""
        from ..debug.running_kernel import RunningKernel
        from ..peers.hooks import Hooks
        from ..peers.host_faults import undo

        hooks = self._hooks.get(link)
        if hooks is not None:
            hooks.remove()
        elif commits:
            files, machine = self._source.read(), link.host.machine
            modules = {} if files.module is None else {"kvm": files.module}
            kernel = RunningKernel(machine.vcpu(0).hart, machine.memory, files.kernel, modules)
            hooks = self._hooks[link] = Hooks(machine, kernel)
        for commit in commits:
            assert hooks is not None
            undo(hooks, commit)

    def monitor(self, run: Run) -> RealMonitor:
        """A fresh VM for `run` with the payload in it. Raises UsageError for a run without KVM."""
        from ..perf.description import load_host_pmu

        if run.native_base is not None:
            raise UsageError("--on", expected="a table that was recorded on KVM", got=run.title)
        aia = run.isa_extensions is not None and KVM_ISA_EXT_SSAIA in run.isa_extensions
        without = {*(() if aia else ("ssaia",)), *(() if run.sscofpmf else ("sscofpmf",))}
        isa = tuple(name for name in ISA if name not in without)
        host_pmu = (OVERFLOWS if aia else RECORDED_HOST) if run.sscofpmf else WITHOUT_SSCOFPMF
        link = self._links.get((*isa, host_pmu))
        if link is None:
            link = self._links[*isa, host_pmu] = HostLink(self._source, self._progress, isa, host_pmu)
        self._undo(link, () if run.unmodified else self._undone)
        link.rewind()
        vm = RealVm(link, load_host_pmu(host_pmu))
        for name, enabled in run.sbi_extensions.items():
            vm.vcpu(0).put(SBI_EXT | SbiExtension[name], int(enabled))  # refused ones stay as they are
        vm.write(RAM_BASE, payload(run.payload_size))
        vm.vcpu(0).pc = RAM_BASE
        return RealMonitor(vm, run)
