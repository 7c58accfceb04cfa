"""What stands around the harts: RAM, the bus, and the devices on it (QEMU's `virt` in layout)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.hart.memory import PhysicalMemory
from vpmu.vmm.console import Console
from vpmu.vmm.devices import Bus, Device, Ns16550a, Plic, SifiveTest
from vpmu.vmm.devicetree import (
    CLINT_BASE,
    CLINT_SIZE,
    IRQ_M_EXTERNAL,
    IRQ_M_SOFTWARE,
    PLIC_BASE,
    PLIC_SIZE,
    SECOND_UART_BASE,
    SECOND_UART_IRQ,
    TEST_BASE,
    TEST_SIZE,
    UART_BASE,
    UART_IRQ,
    UART_SIZE,
    VIRTIO_BASE,
    VIRTIO_IRQ,
    VIRTIO_SIZE,
    VIRTIO_SLOTS,
)

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.line import Line
    from vpmu.vmm.virtio.mmio import Backend, VirtioMmio

PCIE_WINDOWS = (0x40000000, 0x40000000), (0x400000000, 0x400000000)
"""Where QEMU's virt has PCIe's memory: firmware that reads at random finds ones there, and goes on."""
RAM_BASE = 0x80000000
MIN_MEMORY = 64 << 10


class NothingThere:
    """A window of a bus with nothing behind it: reads give ones, writes go nowhere."""

    def read(self, offset: int, size: int = 8) -> int:
        """Ones."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, value: int, size: int = 8) -> None:
        """Nothing."""


class Board:
    """Memory and devices of a machine. `external`: called with (hart, level) when the interrupt line from the
    interrupt controller changes. `second_serial`: there is a second port; `line`: see vpmu.vmm.line. `exits`
    counts accesses to devices as exits to user space.
    """

    def __init__(
        self,
        harts: int,
        base: int,
        size: int,
        *,
        plic: bool,
        second_serial: bool,
        line: bool,
        console_out: Callable[[bytes], None] | None,
        external: Callable[[int, bool], None],
        exits: Counter[str],
    ) -> None:
        if size < MIN_MEMORY or size % 4096:
            raise MachineError(
                "memory size",
                expected=f"at least {MIN_MEMORY >> 10} KiB, in whole pages",
                got=f"{size} bytes",
            )
        self.memory = PhysicalMemory()
        try:
            self.memory.set_slot(0, base, size)
        except (ValueError, OSError, OverflowError) as error:
            raise MachineError(str(error)) from None
        self.bus = Bus()
        self.console = Console(self.memory, console_out)
        self.serial = Ns16550a(self.console.emit, self._serial_interrupt if plic else None)
        self.plic = Plic(harts, external) if plic else None
        self.bus.attach(UART_BASE, UART_SIZE, self.serial)
        self.bus.attach(TEST_BASE, TEST_SIZE, SifiveTest())
        if self.plic:
            self.bus.attach(PLIC_BASE, PLIC_SIZE, self.plic)
        self._exits = exits
        self.htif: tuple[int, int | None] | None = None
        self._plain: dict[int, tuple[Device, int]] = {UART_BASE >> 12: (self.serial, UART_BASE)}
        self.second_serial: Ns16550a | None = None
        if second_serial:
            interrupt = self._second_serial_interrupt if plic else None
            self.second_serial = Ns16550a(self.console.emit_error, interrupt)
            self.bus.attach(SECOND_UART_BASE, UART_SIZE, self.second_serial)
            self._plain[SECOND_UART_BASE >> 12] = self.second_serial, SECOND_UART_BASE
        self.line = self._new_line() if line else None
        self.virtio: list[VirtioMmio] = []
        if self.plic:
            self._plain |= dict.fromkeys(
                range(PLIC_BASE >> 12, PLIC_BASE + PLIC_SIZE >> 12), (self.plic, PLIC_BASE)
            )

    def access(self, gpa: int, size: int, is_write: bool, value: int) -> int | None:
        """The bus of the devices that only take and give bytes: no access to them ends the run by itself."""
        device = self._plain.get(gpa >> 12)
        if device is None:
            return None
        self._exits["mmio"] += 1
        if is_write:
            device[0].write(gpa - device[1], value & (1 << 8 * size) - 1, size)
            return 0
        return device[0].read(gpa - device[1], size) & (1 << 8 * size) - 1

    def add_clint(self, vcpus: Sequence[GuestHart]) -> None:
        """The CLINT, for harts whose M mode is software."""
        from vpmu.hart.whole import WholeHart
        from vpmu.vmm.clint import Clint

        harts = [vcpu.hart for vcpu in vcpus if isinstance(vcpu.hart, WholeHart)]

        def software(hart: int, level: bool) -> None:
            (vcpus[hart].set_interrupt if level else vcpus[hart].unset_interrupt)(IRQ_M_SOFTWARE)

        def external(hart: int, level: bool) -> None:
            (vcpus[hart].set_interrupt if level else vcpus[hart].unset_interrupt)(IRQ_M_EXTERNAL)

        if self.plic is not None:
            self.plic.machine = external

        def rearmed(hart: int) -> None:
            vcpu = vcpus[hart]
            if vcpu.blocking and vcpu.wakes is not None:  # who runs alone knows of the old time only
                vcpu.wakes()

        clint = Clint(harts, software, rearmed)
        self.bus.attach(CLINT_BASE, CLINT_SIZE, clint)
        for base, size in PCIE_WINDOWS:
            self.bus.attach(base, size, NothingThere())
        self._plain |= dict.fromkeys(
            range(CLINT_BASE >> 12, CLINT_BASE + CLINT_SIZE >> 12), (clint, CLINT_BASE)
        )

    def add_virtio(self, backend: Backend) -> None:
        """A virtio device in the next slot. MachineError: there is none left, or no interrupt controller."""
        from vpmu.vmm.virtio.mmio import VirtioMmio

        plic, slot = self.plic, len(self.virtio)
        if plic is None:
            raise MachineError("virtio device", expected="an interrupt controller (plic)", got="none")
        if slot >= VIRTIO_SLOTS:
            raise MachineError("virtio devices", expected=f"at most {VIRTIO_SLOTS}", got="more")
        device = VirtioMmio(backend, self.memory, lambda level: plic.set_line(VIRTIO_IRQ + slot, level))
        base = VIRTIO_BASE + VIRTIO_SIZE * slot
        self.bus.attach(base, VIRTIO_SIZE, device)
        self._plain[base >> 12] = device, base
        self.virtio.append(device)

    def _new_line(self) -> Line:
        from vpmu.vmm.line import DOORBELL, DOORBELL_SIZE, Line

        line = Line(self.memory)
        self.bus.attach(DOORBELL, DOORBELL_SIZE, line.doorbell)
        return line

    def add_htif(self, tohost: int, fromhost: int | None) -> None:
        """HTIF at these addresses, whose page is read-only memory."""
        from vpmu.vmm.htif import Htif

        self.htif = tohost, fromhost
        page = tohost & ~0xFFF
        self.bus.attach(page, 0x1000, Htif(self.memory, page, tohost, fromhost, self.console.emit))

    def is_device(self, gpa: int) -> bool:
        """Whether a device lies at a physical address."""
        return self.bus.find(gpa) is not None

    def _serial_interrupt(self, level: bool) -> None:
        if self.plic is not None:
            self.plic.set_line(UART_IRQ, level)

    def _second_serial_interrupt(self, level: bool) -> None:
        if self.plic is not None:
            self.plic.set_line(SECOND_UART_IRQ, level)
