"""Devices that user space emulates: the exits that KVM hands out as MMIO end here.

A device sees offsets from its base and accesses of 1, 2, 4 or 8 bytes. Layout and behaviour are those of
QEMU's ``virt`` machine, so that what runs there runs here.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from enum import StrEnum
from typing import NamedTuple, Protocol

from vpmu.errors import MachineError
from vpmu.vmm.ns16550a import Ns16550a
from vpmu.vmm.plic import Plic

__all__ = ["Bus", "Device", "EventKind", "MachineEvent", "Ns16550a", "Plic", "SifiveTest"]


class EventKind(StrEnum):
    """What a device can ask of the machine."""

    POWEROFF = "poweroff"
    FAIL = "fail"
    RESET = "reset"
    LINE = "line"


class MachineEvent(NamedTuple):
    """A request to the machine that came out of a device write; `code` is the exit code of FAIL, else 0."""

    kind: EventKind
    code: int = 0


class Device(Protocol):
    """Something on the bus. Writes may return an event, which ends or restarts the machine."""

    def read(self, offset: int, size: int = 1) -> int:
        """The value of `size` bytes at `offset`, little-endian; reads may have effects."""

    def write(self, offset: int, value: int, size: int = 1) -> MachineEvent | None:
        """Write the low `size` bytes of `value`."""


class Bus:
    """Guest-physical ranges and the devices behind them. Elsewhere reads give 0 and writes are dropped."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._devices: dict[int, Device] = {}

    def attach(self, base: int, size: int, device: Device) -> None:
        """Put `device` at base .. base + size - 1.

        :raises MachineError: another device lies there.
        """
        for other, other_size in self._ranges:
            if base < other + other_size and other < base + size:
                raise MachineError(f"devices overlap at {max(base, other):#x}")
        insort(self._ranges, (base, size))
        self._devices[base] = device

    def find(self, gpa: int) -> tuple[Device, int] | None:
        """The device at `gpa` and the offset in it."""
        index = bisect_right(self._ranges, (gpa, 1 << 64)) - 1
        if index >= 0:
            base, size = self._ranges[index]
            if gpa < base + size:
                return self._devices[base], gpa - base
        return None

    def read(self, gpa: int, size: int) -> int:
        """What a load of `size` bytes from `gpa` gives, zero-extended; 0 where nothing is."""
        found = self.find(gpa)
        return found[0].read(found[1], size) & ((1 << 8 * size) - 1) if found else 0

    def write(self, gpa: int, value: int, size: int) -> MachineEvent | None:
        """A store of `size` bytes to `gpa`; dropped where nothing is."""
        found = self.find(gpa)
        return found[0].write(found[1], value & ((1 << 8 * size) - 1), size) if found else None


class SifiveTest:
    """The test finisher (sifive,test1): a write of 16 or more bits ends or restarts the machine."""

    PASS, FAIL, RESET = 0x5555, 0x3333, 0x7777

    def read(self, offset: int, size: int = 4) -> int:
        """Always 0."""
        return 0

    def write(self, offset: int, value: int, size: int = 4) -> MachineEvent | None:
        """0x5555: power off; 0x3333 | code << 16: fail with the code; 0x7777: reset; else nothing."""
        if offset != 0:
            return None
        match value & 0xFFFF:
            case self.PASS:
                return MachineEvent(EventKind.POWEROFF)
            case self.FAIL:
                return MachineEvent(EventKind.FAIL, value >> 16 & 0xFFFF)
            case self.RESET:
                return MachineEvent(EventKind.RESET)
        return None
