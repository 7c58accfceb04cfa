"""Where a guest, its initrd and its device tree lie in memory, and where hart 0 starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.spec.csr import SSTATUS_FS
from vpmu.vmm import devicetree
from vpmu.vmm.loader import Buffer, LoadedImage, load_image

if TYPE_CHECKING:
    from vpmu.vmm.machine import Machine

MEGAPAGE = 2 << 20


def place(
    machine: Machine, image: str | bytes | object, *, kind: object = None, initrd: Sequence[Buffer] = ()
) -> tuple[LoadedImage, bytes]:
    """See Machine.load; answers the image and the device tree."""
    loaded = load_image(image, machine.memory_base, machine.memory_size, kind=kind)  # type: ignore[arg-type]
    for gpa, data in loaded.segments:
        machine.memory.write(gpa, data)
    where = _place_initrd(machine, loaded, initrd) if initrd else None
    tree = devicetree.build(
        len(machine.vcpus),
        machine.memory_base,
        machine.memory_size,
        bootargs=machine.bootargs,
        initrd=where,
        isa=_isa(machine),
        plic=machine.plic is not None,
        seed=machine.seed,
        mmu=machine.mmu,
    )
    at = _place_tree(machine, where[1] if where else loaded.end, tree)
    first = machine.vcpus[0]
    first.pc = loaded.entry
    first.regs[10], first.regs[11] = 0, at
    # As firmware on QEMU virt leaves it: a guest that never looks at sstatus.FS may use F and D.
    first.hart.set("sstatus", SSTATUS_FS)
    return loaded, tree


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


def _place_initrd(machine: Machine, loaded: LoadedImage, initrd: Sequence[Buffer]) -> tuple[int, int]:
    start = (loaded.end + MEGAPAGE - 1) & -MEGAPAGE
    end = start + sum(len(part) for part in initrd)
    if end > machine.memory_base + machine.memory_size - (4 << 20):
        needed = end + (4 << 20) - machine.memory_base
        raise MachineError(
            "initrd does not fit",
            expected=f"{-(-needed >> 20)} MiB of memory or more",
            got=f"{machine.memory_size >> 20} MiB",
        )
    at = start
    for part in initrd:
        machine.memory.write(at, part)
        at += len(part)
    return start, end


def _isa(machine: Machine) -> list[str]:
    hart = machine.vcpus[0].hart
    extensions = [*devicetree.DEFAULT_ISA]
    if hart.get("sie_mask") >> 13 & 1 and "sscofpmf" not in extensions:
        extensions.append("sscofpmf")
    if hart.whole:
        return sorted({*extensions, *hart.isa})
    if hart.get("adue"):
        extensions.append("svadu")
    return extensions
