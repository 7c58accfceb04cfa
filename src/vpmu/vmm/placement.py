"""Where a guest, its initrd and its device tree lie in memory, and where hart 0 starts."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.spec.csr import SSTATUS_FS, Irq
from vpmu.vmm import devicetree
from vpmu.vmm.isa import unnamed
from vpmu.vmm.loader import Buffer, LoadedImage, load_image

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine

MEGAPAGE = 2 << 20
FW_DYNAMIC_MAGIC = 0x4942534F


def place(
    machine: Machine, image: str | bytes | object, *, kind: object = None, initrd: Sequence[Buffer] = ()
) -> tuple[LoadedImage, bytes]:
    """See Machine.load; answers the image and the device tree. Where there is firmware the harts start in it,
    and it starts the image; without an image it is alone.
    """
    firmware = _load_firmware(machine) if machine.firmware is not None else None
    if image is None:
        if firmware is None:
            raise MachineError("no image", expected="one, or firmware")
        loaded = firmware
    else:
        loaded = load_image(image, machine.memory_base, machine.memory_size, kind=kind)  # type: ignore[arg-type]
        if firmware is not None:
            _refuse_overlap(firmware, loaded)
    where = _find_initrd(machine, loaded, initrd) if initrd else None
    sizes = [(gpa, len(data)) for gpa, data in loaded.segments]
    machine.memory.expect(sizes if where is None else [*sizes, (where[0], where[1] - where[0])])
    for gpa, data in loaded.segments:
        machine.memory.write(gpa, data)
    if where is not None:
        _write_initrd(machine, where[0], initrd)
    tree = machine.tree or devicetree.build(
        len(machine.vcpus),
        machine.memory_base,
        machine.memory_size,
        bootargs=machine.bootargs,
        initrd=where,
        isa=_isa(machine),
        plic=machine.plic is not None,
        second_serial=machine.board.second_serial is not None,
        seed=machine.seed,
        mmu=machine.mmu,
        firmware=_pmu_node(machine) if firmware else None,
        virtio=len(machine.board.virtio),
    )
    at = _place_tree(machine, where[1] if where else loaded.end, tree)
    if firmware is not None:
        _attach_htif(machine, firmware)
        _start_in_firmware(machine, firmware, at, len(tree), loaded.entry)
        return loaded, tree
    first = machine.vcpus[0]
    first.pc = loaded.entry
    first.regs[10], first.regs[11] = 0, at
    # As firmware on QEMU virt leaves it: a guest that never looks at sstatus.FS may use F and D.
    first.hart.set("sstatus", SSTATUS_FS)
    return loaded, tree


def _pmu_node(machine: Machine) -> Mapping[str, Sequence[int]]:
    from vpmu.vmm import pmu_node

    return pmu_node.properties(machine.host_pmu)


def _load_firmware(machine: Machine) -> LoadedImage:
    """Firmware at the start of RAM, or where it is linked."""
    assert machine.firmware is not None
    base, size = machine.memory_base, machine.memory_size
    loaded = load_image(machine.firmware, base, size, address=base, called="firmware")
    for gpa, data in loaded.segments:
        machine.memory.write(gpa, data)
    return loaded


def _attach_htif(machine: Machine, program: LoadedImage) -> None:
    """The page of `tohost`, where a bare-metal program has that symbol."""
    from vpmu.vmm import htif

    found = htif.symbols_of(program.symbols())
    if found is None:
        return
    machine.memory.carve(found[0] & ~0xFFF, 0x1000, readonly=True)
    machine.board.add_htif(*found)


def _refuse_overlap(firmware: LoadedImage, image: LoadedImage) -> None:
    start = min(gpa for gpa, _ in image.segments)
    if start < firmware.end and min(gpa for gpa, _ in firmware.segments) < image.end:
        raise MachineError(
            f"{image.name} overlaps the firmware",
            expected=f"an image from {firmware.end:#x} on",
            got=f"{start:#x}",
        )


def _start_in_firmware(machine: Machine, firmware: LoadedImage, tree: int, size: int, entry: int) -> None:
    """All harts begin in M mode: a0 hart id, a1 device tree, a2 what fw_dynamic wants to know of what comes
    next (OpenSBI, docs/firmware/fw_dynamic.md): magic, version, address, mode S, options, boot hart.
    """
    info = tree + size + 15 & ~15
    machine.memory.write(info, struct.pack("<6Q", FW_DYNAMIC_MAGIC, 2, entry, 1, 0, 0))
    for number, vcpu in enumerate(machine.vcpus):
        vcpu.pc = firmware.entry
        vcpu.regs[10], vcpu.regs[11], vcpu.regs[12] = number, tree, info


def _place_tree(machine: Machine, occupied: int, tree: bytes) -> int:
    end = machine.memory_base + machine.memory_size
    at = (end - len(tree)) & -MEGAPAGE  # as QEMU: at the last 2 MiB boundary below the end
    if at < occupied:
        at = (end - len(tree)) & ~0xFFF
    if at < occupied:
        needed = occupied + len(tree) - machine.memory_base
        raise MachineError(
            "memory too small for the guest and its device tree",
            expected=f"{needed >> 10} KiB or more",
            got=f"{machine.memory_size >> 10} KiB",
        )
    machine.memory.write(at, tree)
    return at


def _find_initrd(machine: Machine, loaded: LoadedImage, initrd: Sequence[Buffer]) -> tuple[int, int]:
    """Where an initrd goes: its first byte, and the one behind its last."""
    start = (loaded.end + MEGAPAGE - 1) & -MEGAPAGE
    end = start + sum(len(part) for part in initrd)
    if end > machine.memory_base + machine.memory_size - (4 << 20):
        needed = end + (4 << 20) - machine.memory_base
        raise MachineError(
            "initrd does not fit",
            expected=f"{-(-needed >> 20)} MiB of memory or more",
            got=f"{machine.memory_size >> 20} MiB",
        )
    return start, end


def _write_initrd(machine: Machine, at: int, initrd: Sequence[Buffer]) -> None:
    for part in initrd:
        machine.memory.write(at, part)
        at += len(part)


def _isa(machine: Machine) -> list[str]:
    """The extensions of the guest's harts: what is in the device tree works, what works is in it."""
    vcpu = machine.vcpus[0]
    hart, extensions = vcpu.hart, {*devicetree.DEFAULT_ISA, *vcpu.hart.isa}
    if hart.whole:
        if machine.host_pmu.counters.sscofpmf:
            extensions.add("sscofpmf")
        return sorted(extensions)
    if hart.get("sie_mask") >> Irq.LCOFI & 1:
        extensions.add("sscofpmf")
    if hart.get("adue"):
        extensions.add("svadu")
    if not vcpu.pmu.available:  # every hpmcounter is an illegal instruction
        extensions.remove("zihpm")
    extensions -= unnamed(machine.profile)
    return sorted(extensions)
