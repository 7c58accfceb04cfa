"""A host's kernel as an ELF vmlinux with its true symbols, made of Debian's Image. Needs the fetched host;
never fetches it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vpmu.conform.calls import pmu
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.peers.host_image import host_image
from vpmu.peers.host_source import of_suite
from vpmu.vmm.kallsyms import Kallsyms
from vpmu.vmm.linux.cache import default_root

HOST = default_root() / "kvm-host-trixie"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (HOST / "manifest.json").exists(), reason="the KVM host is not fetched"),
]
LINKED, LOADED = 0xFFFF_FFFF_8000_0000, 0x8020_0000
PAGE = 4096


def vmlinux(image: bytes) -> bytes:
    """What the linker would have left of a kernel: one segment, .text, .symtab, .strtab."""
    (size,) = struct.unpack_from("<Q", image, 16)
    names, symbols = bytearray(b"\0"), bytearray(24)
    for symbol in Kallsyms(image):
        kind = 2 if symbol.kind in "tTwW" else 1
        symbols += struct.pack("<IBBHQQ", len(names), 1 << 4 | kind, 0, 1, symbol.address, symbol.size)
        names += symbol.name.encode() + b"\0"
    sections = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    parts = (image, bytes(symbols), bytes(names), sections)
    at = [PAGE]
    for part in parts:
        at.append(at[-1] + len(part) + 15 & ~15)
    headers = [bytes(64)]
    for name, kind, flags, address, link, info, entry, number in (
        (1, 1, 6, LINKED, 0, 0, 0, 0), (7, 2, 0, 0, 3, 1, 24, 1), (15, 3, 0, 0, 0, 0, 0, 2),
        (23, 3, 0, 0, 0, 0, 0, 3),
    ):  # fmt: skip
        size_here = len(parts[number])
        headers.append(struct.pack("<IIQQQQIIQQ", name, kind, flags, address, at[number], size_here, link,
                                   info, 8, entry))  # fmt: skip
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 243, 1, LINKED, 64, at[4], 5, 64, 56, 1, 64, 5, 4
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, PAGE, LINKED, LOADED, len(image), size, PAGE)
    body = (head + segment).ljust(PAGE, b"\0")
    for part, end in zip(parts, at[1:], strict=True):
        body = (body + part).ljust(end, b"\0")
    return body + b"".join(headers)


def test_a_vmlinux_boots_and_its_symbols_are_hooked(tmp_path: Path) -> None:
    source = of_suite(host_image("trixie"))
    files = source.read()
    assert files.module is not None
    (tmp_path / "vmlinux").write_bytes(vmlinux(files.kernel))
    (tmp_path / "kvm.ko").write_bytes(files.module)
    host = HookedHost(HostOptions(on=VPMU, kernel=tmp_path / "vmlinux", module=tmp_path / "kvm.ko"))
    create = host.kernel.function("perf_event_create_kernel_counter")
    host.hooks.on(create, lambda call: call.answer(-16))
    host.fresh()
    assert host.target.run([pmu(2, 0, 0xFFFD, 0, 1, 0)])[0].error == -2
    host.hooks.remove()
    host.fresh()
    assert host.target.run([pmu(2, 0, 0xFFFD, 0, 1, 0)])[0].error == 0
    assert host.kernel.function("kvm_riscv_vcpu_pmu_ctr_cfg_match").module == "kvm"
