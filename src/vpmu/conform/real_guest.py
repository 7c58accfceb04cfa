"""A guest of one's own in a VM of real KVM on our own hart: an image, and the user space that serves it.

The monitor in the host does single ioctls (vpmu.conform.real_vm); what a VMM does between them is here: a
serial port at 0x10000000, DBCN, and the legacy console. A guest has one vCPU and no interrupt controller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..hart.memory import PAGE
from ..kvm.errors import KvmRunError
from ..perf.event import errno_name
from ..profiles.profiles import SbiExtension
from ..see.exits import MmioExit, SbiExit, SystemEvent
from ..spec.sbi import Eid, SbiError
from ..vmm.devices import Ns16550a
from ..vmm.devicetree import UART_BASE, UART_SIZE
from .real_vm import CORE, SBI_EXT, RealVm
from .target import HostStopped, NoAnswer

if TYPE_CHECKING:
    from ..vmm.loader import LoadedImage
    from .host_link import HostLink

BASE = 0x8000_0000
MEMORY = 4 << 20
"""Of a payload: what the monitor's own VM has, too."""
A0, A1 = 10, 11
_WRITE, _READ, _WRITE_BYTE = range(3)
MOST_WRITTEN = 64 << 10
"""Bytes of one DBCN call that are taken at once; the call may say less than was asked for."""
SHUTDOWN = 1


@dataclass(frozen=True, slots=True)
class RealEnd:
    """How a guest ended. `stop` is shutdown, reset, kvm_run_failed, budget, host_lost, or what `halt` was
    given.
    """

    stop: str
    reason: str
    instructions: int
    """Of host and guest since `run` began; `virtual_ns` likewise."""
    virtual_ns: int
    exits: int
    reset_reason: int | None = None
    errno: int | None = None


class RealGuest:
    """One VM and its vCPU. `output` is what the guest has said. Raises TargetError where the host has no
    room for so much memory.
    """

    def __init__(
        self, link: HostLink, host_pmu: Any, size: int = MEMORY, sink: Callable[[bytes], None] | None = None
    ) -> None:
        self.link, self.size = link, size
        self.vm = RealVm(link, host_pmu, BASE, size)
        self.vcpu = self.vm.vcpu(0)
        self.has_dbcn = self.vcpu.put(SBI_EXT | SbiExtension.DBCN, 1) >= 0
        """KVM leaves it to user space, and it is off until that says that it does it."""
        self.pages = self.vm.pages(size)
        self.output = bytearray()
        self._sink = sink
        self._halted: tuple[str, str] | None = None
        self.serial = Ns16550a(self._said)
        self._kept = self._outside()

    def load(self, image: LoadedImage, tree: int = 0) -> None:
        """Put an image into the memory, which is zero so far; the vCPU starts at its entry."""
        for gpa, data in image.segments:
            self.write(gpa, data)
        self.vcpu.pc = image.entry
        self.vcpu.put(CORE | A0, 0)
        self.vcpu.put(CORE | A1, tree)

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        """Bytes into the guest's memory, past the host."""
        memory, view, at = self.link.host.machine.memory, memoryview(data), 0
        for physical, size in self._runs(gpa, len(data)):
            memory.write(physical, view[at : at + size])
            at += size

    def read(self, gpa: int, size: int) -> bytes:
        """Bytes of the guest's memory. IndexError where it has none."""
        memory = self.link.host.machine.memory
        return b"".join(memory.read(*run) for run in self._runs(gpa, size))

    def _runs(self, gpa: int, size: int) -> list[tuple[int, int]]:
        """Where bytes of the guest's memory lie in the hart's: (address, size) of what lies side by side."""
        runs: list[tuple[int, int]] = []
        end = gpa + size
        while gpa < end:
            physical, length = self.physical(gpa), min(end - gpa, PAGE - gpa % PAGE)
            start, before = runs[-1] if runs else (physical, 0)
            if start + before == physical:
                runs[-1:] = [(start, before + length)]
            else:
                runs.append((physical, length))
            gpa += length
        return runs

    def physical(self, gpa: int) -> int:
        """Where a byte of the guest's memory is in the hart's. IndexError where it has none."""
        if not BASE <= gpa < BASE + self.size:
            raise IndexError(gpa)
        return self.pages[(gpa - BASE) // PAGE] + gpa % PAGE

    def keep(self) -> None:
        """Remember what is not in the host's memory, to come `begin` from: the serial port, what was said."""
        self._kept = self._outside()

    def begin(self) -> None:
        """The host was brought back to where `keep` was called."""
        registers, output = self._kept
        vars(self.serial).update(_copied(registers))
        self.output[:] = output
        self._halted = None
        self.vcpu.forget()

    def _outside(self) -> tuple[dict[str, Any], bytes]:
        return _copied(vars(self.serial)), bytes(self.output)

    def halt(self, stop: str, reason: str) -> None:
        """End the run at the next exit."""
        self._halted = stop, reason

    def _said(self, data: bytes) -> None:
        self.output += data
        if self._sink is not None:
            self._sink(data)

    def run(self, max_instructions: int) -> RealEnd:
        """Run it to its end, or so many instructions of host and guest."""
        machine = self.link.host.machine
        hart = machine.vcpu(0).hart
        began, start, exits = machine.instructions, hart.time_ns, 0

        def ended(stop: str, reason: str, **more: Any) -> RealEnd:
            return RealEnd(stop, reason, machine.instructions - began, hart.time_ns - start, exits, **more)

        while self._halted is None:
            self.link.patience = max_instructions - (machine.instructions - began)
            if self.link.patience <= 0:
                return ended("budget", f"{max_instructions:,} instructions are used up")
            try:
                exit_ = self.vcpu.enter()
            except KvmRunError as error:
                why = f"KVM_RUN fails with {errno_name(error.errno)}"
                return ended("kvm_run_failed", why, errno=error.errno)
            except HostStopped as error:
                return ended("host_lost", str(error))
            except NoAnswer:
                where = f"{hart.mode.name} mode, pc {hart.pc:#x}"
                last = machine.turns.ends_ns
                if last is not None and machine.time >= last:
                    return ended("timeout", f"the virtual time that was allowed is used up: {where}")
                return ended("budget", f"no end within {max_instructions:,} instructions: {where}")
            exits += 1
            match exit_:
                case MmioExit():
                    self._device(exit_)
                case SbiExit():
                    result, value = self._call(exit_)
                    self.vcpu.complete_sbi(int(result), value)
                case SystemEvent(type=kind, reason=reason):
                    stop = "shutdown" if kind == SHUTDOWN else "reset"
                    return ended(stop, f"SBI system reset: {stop}, reason {reason}", reset_reason=reason)
                case _:
                    return ended("budget", "KVM_RUN ends with an exit that nobody here serves")
        stop, why = self._halted
        self._halted = None
        return ended(stop, why)

    def _device(self, exit_: MmioExit) -> None:
        offset = exit_.gpa - UART_BASE
        there = 0 <= offset < UART_SIZE
        if exit_.is_write:
            if there:
                self.serial.write(offset, int.from_bytes(exit_.data, "little"), exit_.size)
        else:
            self.vcpu.complete_mmio(self.serial.read(offset, exit_.size) if there else 0)

    def _call(self, call: SbiExit) -> tuple[SbiError | int, int]:
        """What user space answers."""
        if call.eid == Eid.LEGACY_CONSOLE_PUTCHAR:
            self._said(bytes([call.args[0] & 0xFF]))
            return SbiError.SUCCESS, 0
        if call.eid == Eid.LEGACY_CONSOLE_GETCHAR:
            return SbiError.FAILED, 0
        if call.eid != Eid.DBCN:
            return SbiError.NOT_SUPPORTED, 0
        if call.fid == _WRITE_BYTE:
            self._said(bytes([call.args[0] & 0xFF]))
            return SbiError.SUCCESS, 0
        length, address, high = call.args[:3]
        if call.fid == _READ and not high:
            return SbiError.SUCCESS, 0
        length = min(length, MOST_WRITTEN)
        if call.fid != _WRITE or high:
            return SbiError.INVALID_PARAM, 0
        try:
            self._said(self.read(address, length))
        except IndexError:
            return SbiError.INVALID_PARAM, 0
        return SbiError.SUCCESS, length


def _copied(registers: dict[str, Any]) -> dict[str, Any]:
    """The state of a device, with a queue of its own."""
    return {name: deque(value) if isinstance(value, deque) else value for name, value in registers.items()}
