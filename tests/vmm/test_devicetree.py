"""The device tree, read back by a small parser of the test's own and by dtc where it is installed."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vpmu.errors import MachineError
from vpmu.vmm import devicetree
from vpmu.vmm.devicetree import build, isa_string


def parse(blob: bytes) -> dict[str, Any]:
    """The tree as nested dicts: properties are bytes, children dicts."""
    (
        magic,
        total,
        structure,
        strings,
        reservations,
        version,
        compatible,
        boot,
        size_strings,
        size_structure,
    ) = struct.unpack_from(">10I", blob)
    assert (magic, version, compatible, boot) == (0xD00DFEED, 17, 16, 0)
    assert total == len(blob) == strings + size_strings
    assert structure + size_structure == strings
    assert blob[reservations : reservations + 16] == bytes(16)

    position = structure

    def word() -> int:
        nonlocal position
        position += 4
        return int(struct.unpack_from(">I", blob, position - 4)[0])

    def node() -> dict[str, Any]:
        nonlocal position
        found: dict[str, Any] = {}
        while True:
            match word():
                case 1:
                    end = blob.index(b"\0", position)
                    name = blob[position:end].decode()
                    position = end + 1 + (-(end + 1) % 4)
                    found[name] = node()
                case 2:
                    return found
                case 3:
                    length, offset = word(), word()
                    start = strings + offset
                    name = blob[start : blob.index(b"\0", start)].decode()
                    found[name] = blob[position : position + length]
                    position += length + (-length % 4)
                case token:
                    pytest.fail(f"token {token} at {position:#x}")

    assert word() == 1
    assert word() == 0  # the name of the root is empty
    root = node()
    assert word() == 9
    return root


def cells(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 4}I", data))


def test_one_hart() -> None:
    root = parse(build(1, 0x80000000, 256 << 20, bootargs="quiet", initrd=(0x84000000, 0x84123456)))
    assert cells(root["memory@80000000"]["reg"]) == [0, 0x80000000, 0, 256 << 20]
    assert cells(root["cpus"]["timebase-frequency"]) == [10_000_000]
    cpu = root["cpus"]["cpu@0"]
    assert cpu["riscv,isa"] == b"rv64imafdc_zicntr_zicond_zicsr_zifencei_zihpm_zcb_zba_zbb_zbc_zbs\0"
    assert cpu["riscv,isa-base"] == b"rv64i\0"
    assert cpu["riscv,isa-extensions"].split(b"\0")[:6] == [b"i", b"m", b"a", b"f", b"d", b"c"]
    assert cpu["mmu-type"] == b"riscv,sv39\0"
    assert cpu["interrupt-controller"]["compatible"] == b"riscv,cpu-intc\0"
    chosen = root["chosen"]
    assert chosen["bootargs"] == b"quiet\0"
    assert chosen["stdout-path"] == b"/soc/serial@10000000\0"
    assert cells(chosen["linux,initrd-start"]) == [0, 0x84000000]
    assert cells(chosen["linux,initrd-end"]) == [0, 0x84123456]
    serial = root["soc"]["serial@10000000"]
    assert serial["compatible"] == b"ns16550a\0"
    assert cells(serial["clock-frequency"]) == [3_686_400]
    assert "interrupts" not in serial


def test_memory_above_four_gibibytes() -> None:
    root = parse(build(1, 0x1_80000000, 5 << 30))
    assert cells(root["memory@180000000"]["reg"]) == [1, 0x80000000, 1, 1 << 30]


def test_plic_has_two_contexts_for_each_hart() -> None:
    root = parse(build(3, plic=True))
    handles = [cells(root["cpus"][f"cpu@{i}"]["interrupt-controller"]["phandle"])[0] for i in range(3)]
    plic = root["soc"]["plic@c000000"]
    phandle = cells(plic["phandle"])
    assert len({*handles, *phandle}) == 4
    assert cells(plic["interrupts-extended"]) == [cell for h in handles for cell in (h, 11, h, 9)]
    serial = root["soc"]["serial@10000000"]
    assert cells(serial["interrupt-parent"]) == phandle
    assert cells(serial["interrupts"]) == [10]


def test_no_serial() -> None:
    root = parse(build(1, serial=False))
    assert list(root["soc"]) == ["#address-cells", "#size-cells", "compatible", "ranges", "test@100000"]
    assert "stdout-path" not in root["chosen"]


def test_rng_seed_is_a_function_of_the_seed() -> None:
    seeds = [parse(build(1, seed=seed))["chosen"]["rng-seed"] for seed in (0, 1, 1)]
    assert seeds[0] != seeds[1] == seeds[2]
    assert {len(seed) for seed in seeds} == {32}
    assert build(4, plic=True) == build(4, plic=True)


@pytest.mark.parametrize(
    ("extensions", "text"),
    [
        (["c", "a", "m", "i"], "rv64imac"),
        (
            ["sscofpmf", "zicsr", "d", "f", "c", "zicntr", "m", "a", "i", "i"],
            "rv64imafdc_zicntr_zicsr_sscofpmf",
        ),
        (["zbb", "zicsr", "i", "svinval", "zba"], "rv64i_zicsr_zba_zbb_svinval"),
    ],
)
def test_isa_string_is_in_canonical_order(extensions: list[str], text: str) -> None:
    assert isa_string(extensions) == text


def test_what_a_device_tree_cannot_hold() -> None:
    with pytest.raises(MachineError, match="expected >= 1, got 0"):
        build(0)
    with pytest.raises(MachineError, match="a NUL in the device-tree string"):
        build(1, bootargs="a\0b")
    with pytest.raises(MachineError, match="timebase-frequency does not fit"):
        build(1, timebase=1 << 32)


VARIANTS: dict[str, dict[str, Any]] = {
    "smallest": {"serial": False},
    "default": {},
    "full": {
        "harts": 4,
        "memory_size": 4 << 30,
        "plic": True,
        "bootargs": "console=ttyS0 quiet",
        "initrd": (0x84000000, 0x85000000),
    },
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_dtc_reads_it_without_a_warning(
    tmp_path: Path, tool: Callable[[str], str], options: dict[str, Any]
) -> None:
    blob = build(**options)
    file = tmp_path / "machine.dtb"
    file.write_bytes(blob)
    done = subprocess.run(
        [tool("dtc"), "-I", "dtb", "-O", "dts", str(file)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert 'riscv,isa-base = "rv64i";' in done.stdout
    back = subprocess.run(
        [tool("dtc"), "-I", "dts", "-O", "dtb"], input=done.stdout.encode(), capture_output=True, check=True
    )
    assert parse(back.stdout) == parse(blob)


def test_empty_properties_and_long_names_keep_their_alignment() -> None:
    tree = devicetree.Node(
        "", {"empty": None, "odd": b"12345"}, [devicetree.Node("a-longer-name", {"x": [1, 2]})]
    )
    assert parse(devicetree.flatten(tree)) == {
        "empty": b"",
        "odd": b"12345",
        "a-longer-name": {"x": bytes.fromhex("0000000100000002")},
    }
