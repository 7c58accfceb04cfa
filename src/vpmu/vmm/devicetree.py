"""The device tree of the machine: the nodes of QEMU's ``virt`` that a guest of KVM needs, and nothing else.

The blob is written here. pylibfdt would do it, but its wheels are compiled and exist for few platforms, while
a *writer* of the flat format (Devicetree Specification 0.4, chapter 5) is the forty lines of `flatten`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vpmu.errors import MachineError

UART_BASE, UART_SIZE, UART_IRQ = 0x10000000, 0x100, 10
SECOND_UART_BASE, SECOND_UART_IRQ = 0x10001000, 11
VIRTIO_BASE, VIRTIO_SIZE, VIRTIO_IRQ, VIRTIO_SLOTS = 0x10002000, 0x1000, 2, 7
"""The slots of QEMU's virt but for the first, where the second port is: the next page and interrupt each."""
UART_CLOCK_HZ = 3_686_400
TEST_BASE, TEST_SIZE = 0x100000, 0x1000
PLIC_BASE, PLIC_SIZE = 0x0C000000, 0x600000
CLINT_BASE, CLINT_SIZE = 0x02000000, 0x10000
PLIC_SOURCES = 96
"""Interrupt sources of the PLIC, numbered from 1."""

DEFAULT_ISA = (
    *("i", "m", "a", "f", "d", "c"),
    *("zicntr", "zicond", "zicsr", "zifencei", "zihpm", "zcb", "zba", "zbb", "zbc", "zbs"),
)
"""What every hart of ours has; the rest depends on host and profile (vpmu.vmm.placement)."""
DEFAULT_TIMEBASE_HZ = 10_000_000
CACHE_BLOCK = 64
"""Bytes of a cache block (hart.isa.zicbo)."""

IRQ_S_EXTERNAL, IRQ_M_EXTERNAL = 9, 11
IRQ_M_SOFTWARE, IRQ_M_TIMER = 3, 7

_CACHE_BLOCKS = ("zicbom", "zicbop", "zicboz")
_SINGLE_LETTER_ORDER = "iemafdqlcbkjtpvnh"
_MAGIC, _VERSION, _COMPATIBLE_VERSION = 0xD00DFEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROP, _END = 1, 2, 3, 9
_HEADER_SIZE = 40

Value = int | str | bytes | Sequence[int] | Sequence[str] | None


@dataclass(slots=True)
class Node:
    """A node: properties, then children. An int is a cell, a sequence cells or strings, None empty."""

    name: str
    properties: dict[str, Value] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


def build(
    harts: int = 1,
    memory_base: int = 0x80000000,
    memory_size: int = 128 << 20,
    *,
    timebase: int = DEFAULT_TIMEBASE_HZ,
    isa: Iterable[str] = DEFAULT_ISA,
    mmu: str = "riscv,sv39",
    bootargs: str = "",
    initrd: tuple[int, int] | None = None,
    serial: bool = True,
    second_serial: bool = False,
    plic: bool = False,
    seed: int = 0,
    firmware: Mapping[str, Sequence[int]] | None = None,
    virtio: int = 0,
) -> bytes:
    """The flattened device tree (version 17) of a machine.

    :param timebase: frequency of `time`, in Hz.
    :param isa: extension names, single letters and Z/S names, in any order.
    :param initrd: first address of the initial RAM disk and the first one after it.
    :param serial: describe the ns16550a; its interrupt is described only with `plic`, without it Linux polls.
    :param second_serial: describe a second one, ttyS1 of Linux.
    :param seed: makes `rng-seed`, which is a function of it alone so that runs repeat.
    :param firmware: properties of the `pmu` node; it and what else only firmware needs (CLINT, syscon
        nodes) are there where this is not None.
    :raises MachineError: no hart, or a value that a device tree cannot hold.
    """
    if harts < 1:
        raise MachineError("a machine needs a hart", expected=">= 1", got=harts)
    intc = [1 + hart for hart in range(harts)]
    # OpenSBI copies the name over a longer one of its own, without an end.
    model = "vpmu" if firmware is None else "riscv-virtio,vpmu"
    chosen: dict[str, Value] = {"rng-seed": _rng_seed(seed)}
    if bootargs:
        chosen["bootargs"] = bootargs
    if serial:
        chosen["stdout-path"] = f"/soc/serial@{UART_BASE:x}"
    if initrd is not None:
        chosen["linux,initrd-start"] = _pair(initrd[0])
        chosen["linux,initrd-end"] = _pair(initrd[1])
    root = Node(
        "",
        {"#address-cells": 2, "#size-cells": 2, "compatible": "riscv-virtio", "model": model},
        [
            Node("chosen", chosen),
            Node(f"memory@{memory_base:x}", {"device_type": "memory", "reg": _reg(memory_base, memory_size)}),
            _cpus(intc, timebase, sorted(set(isa), key=_isa_key), mmu),
            _soc(intc, _ports(serial, second_serial), plic, firmware is not None, virtio),
            *_for_firmware(intc, firmware),
        ],
    )
    return flatten(root)


def isa_string(extensions: Iterable[str]) -> str:
    """The ``riscv,isa`` string of RV64 with these extensions, in canonical order: ``rv64imac_zicsr``."""
    ordered = sorted(set(extensions), key=_isa_key)
    letters = "".join(name for name in ordered if len(name) == 1)
    return "_".join(["rv64" + letters, *(name for name in ordered if len(name) > 1)])


def flatten(root: Node) -> bytes:
    """The flattened form of a tree, as Linux and libfdt read it: version 17, without memory reservations.

    :raises MachineError: a cell outside 0..2^32 - 1, or a NUL in a string.
    """
    strings: dict[str, int] = {}
    table = bytearray()
    block = bytearray()

    def put(data: bytes) -> None:
        block.extend(data)
        block.extend(bytes(-len(block) % 4))

    def visit(node: Node) -> None:
        put(struct.pack(">I", _BEGIN_NODE) + _string(node.name))
        for name, value in node.properties.items():
            if name not in strings:
                strings[name] = len(table)
                table.extend(_string(name))
            data = _encode(name, value)
            put(struct.pack(">III", _PROP, len(data), strings[name]) + data)
        for child in node.children:
            visit(child)
        put(struct.pack(">I", _END_NODE))

    visit(root)
    put(struct.pack(">I", _END))
    reservations = bytes(16)  # the end mark alone
    structure = _HEADER_SIZE + len(reservations)
    total = structure + len(block) + len(table)
    header = struct.pack(
        ">10I",
        _MAGIC,
        total,
        structure,
        structure + len(block),
        _HEADER_SIZE,
        _VERSION,
        _COMPATIBLE_VERSION,
        0,  # boot hart
        len(table),
        len(block),
    )
    return header + reservations + bytes(block) + bytes(table)


def _cpus(intc: list[int], timebase: int, isa: list[str], mmu: str) -> Node:
    def cpu(hart: int) -> Node:
        controller: dict[str, Value] = {
            "compatible": "riscv,cpu-intc",
            "#address-cells": 0,
            "#interrupt-cells": 1,
            "interrupt-controller": None,
            "phandle": intc[hart],
        }
        properties: dict[str, Value] = {
            "device_type": "cpu",
            "compatible": "riscv",
            "reg": hart,
            "status": "okay",
            # Both bindings: the string is deprecated, but older guests read nothing else.
            "riscv,isa": isa_string(isa),
            "riscv,isa-base": "rv64i",
            "riscv,isa-extensions": isa,
            "mmu-type": mmu,
            **{f"riscv,{name[2:]}-block-size": CACHE_BLOCK for name in _CACHE_BLOCKS if name in isa},
        }
        return Node(f"cpu@{hart:x}", properties, [Node("interrupt-controller", controller)])

    common: dict[str, Value] = {"#address-cells": 1, "#size-cells": 0, "timebase-frequency": timebase}
    return Node("cpus", common, [cpu(hart) for hart in range(len(intc))])


def _for_firmware(intc: list[int], pmu: Mapping[str, Sequence[int]] | None) -> list[Node]:
    """What firmware looks for: power-off and reboot by the test finisher, the PMU's events."""
    if pmu is None:
        return []
    test = len(intc) + 2
    switches = (("poweroff", 0x5555), ("reboot", 0x7777))
    nodes = [
        Node(name, {"compatible": f"syscon-{name}", "regmap": test, "offset": 0, "value": value})
        for name, value in switches
    ]
    return [*nodes, Node("pmu", {"compatible": "riscv,pmu", **pmu})]


def _ports(serial: bool, second: bool) -> list[tuple[int, int]]:
    """Address and interrupt of each serial port, in the order in which Linux numbers them."""
    return [(UART_BASE, UART_IRQ)] * serial + [(SECOND_UART_BASE, SECOND_UART_IRQ)] * second


def _soc(intc: list[int], ports: list[tuple[int, int]], plic: bool, firmware: bool, virtio: int) -> Node:
    plic_phandle = len(intc) + 1
    soc = Node("soc", {"#address-cells": 2, "#size-cells": 2, "compatible": "simple-bus", "ranges": None})
    test: dict[str, Value] = {
        "compatible": ["sifive,test1", "sifive,test0", "syscon"],
        "reg": _reg(TEST_BASE, TEST_SIZE),
    }
    if firmware:
        test["phandle"] = len(intc) + 2
        lines = [cell for handle in intc for cell in (handle, IRQ_M_SOFTWARE, handle, IRQ_M_TIMER)]
        soc.children.append(
            Node(
                f"clint@{CLINT_BASE:x}",
                {
                    "compatible": ["sifive,clint0", "riscv,clint0"],
                    "reg": _reg(CLINT_BASE, CLINT_SIZE),
                    "interrupts-extended": lines,
                },
            )
        )
    soc.children.append(Node(f"test@{TEST_BASE:x}", test))
    if plic:
        # Two contexts for each hart, as on QEMU's virt, so that context 2 i + 1 is S-mode of hart i.
        contexts = [cell for handle in intc for cell in (handle, IRQ_M_EXTERNAL, handle, IRQ_S_EXTERNAL)]
        soc.children.append(
            Node(
                f"plic@{PLIC_BASE:x}",
                {
                    "compatible": ["sifive,plic-1.0.0", "riscv,plic0"],
                    "reg": _reg(PLIC_BASE, PLIC_SIZE),
                    "#address-cells": 0,
                    "#interrupt-cells": 1,
                    "interrupt-controller": None,
                    "interrupts-extended": contexts,
                    "riscv,ndev": PLIC_SOURCES,
                    "phandle": plic_phandle,
                },
            )
        )
    for base, irq in ports:
        uart: dict[str, Value] = {
            "compatible": "ns16550a",
            "reg": _reg(base, UART_SIZE),
            "clock-frequency": UART_CLOCK_HZ,
        }
        if plic:
            uart |= {"interrupt-parent": plic_phandle, "interrupts": irq}
        soc.children.append(Node(f"serial@{base:x}", uart))
    for slot in range(virtio):
        base = VIRTIO_BASE + VIRTIO_SIZE * slot
        device: dict[str, Value] = {
            "compatible": "virtio,mmio",
            "reg": _reg(base, VIRTIO_SIZE),
            "interrupt-parent": plic_phandle,
            "interrupts": VIRTIO_IRQ + slot,
        }
        soc.children.append(Node(f"virtio_mmio@{base:x}", device))
    return soc


def _isa_key(name: str) -> tuple[int, int, str]:
    """Canonical order (ISA manual, "ISA Extension Naming Conventions"): letters, Z, S, X."""
    if len(name) == 1:
        return (0, _SINGLE_LETTER_ORDER.find(name) % len(_SINGLE_LETTER_ORDER), name)
    if name.startswith("z"):  # by the letter after z, then by name
        return (1, _SINGLE_LETTER_ORDER.find(name[1]) % len(_SINGLE_LETTER_ORDER), name)
    return (2 if name.startswith("s") else 3, 0, name)


def _reg(base: int, size: int) -> list[int]:
    return [*_pair(base), *_pair(size)]


def _pair(value: int) -> list[int]:
    return [value >> 32, value & 0xFFFFFFFF]


def _string(text: str) -> bytes:
    if "\0" in text:
        raise MachineError(f"a NUL in the device-tree string {text!r}")
    try:
        return text.encode() + b"\0"
    except UnicodeEncodeError as error:
        bad = ascii(text[error.start : error.end])
        raise MachineError(
            "a string of the device tree", expected="UTF-8", got=f"{bad} at character {error.start}"
        ) from None


def _encode(name: str, value: Value) -> bytes:
    match value:
        case None:
            return b""
        case bytes():
            return value
        case str():
            return _string(value)
        case int():
            return _cells(name, [value])
        case _:
            return b"".join(
                _string(item) if isinstance(item, str) else _cells(name, [item]) for item in value
            )


def _cells(name: str, cells: Sequence[int]) -> bytes:
    if any(not 0 <= cell < 1 << 32 for cell in cells):
        raise MachineError(
            f"device-tree property {name} does not fit", expected="cells of 32 bits", got=cells
        )
    return struct.pack(f">{len(cells)}I", *cells)


def _rng_seed(seed: int) -> bytes:
    """32 bytes from `seed` by splitmix64. For a guest's random pool, not for secrets."""
    words = []
    state = seed
    for _ in range(4):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        word = state
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        word = (word ^ word >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        words.append(word ^ word >> 31)
    return struct.pack(">4Q", *words)
