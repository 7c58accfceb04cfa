"""What KVM's register list says of a vCPU's extensions: the answer to the monitor's request `K`."""

from __future__ import annotations

import struct

from ..profiles.profiles import SbiExtension

ISA_EXT, SBI_EXT = 0x07, 0x08
"""KVM_REG_RISCV_ISA_EXT and _SBI_EXT, bits 31 to 24 of a register's number."""
ISA_NAMES = [
    "a",
    "c",
    "d",
    "f",
    "h",
    "i",
    "m",
    "svpbmt",
    "sstc",
    "svinval",
    "zihintpause",
    "zicbom",
    "zicboz",
    "zbb",
    "ssaia",
    "v",
    "svnapot",
    "zba",
    "zbs",
    "zicntr",
    "zicsr",
    "zifencei",
    "zihpm",
    "smstateen",
    "zicond",
    "zbc",
    "zbkb",
    "zbkc",
    "zbkx",
    "zknd",
    "zkne",
    "zknh",
    "zkr",
    "zksed",
    "zksh",
    "zkt",
    "zvbb",
    "zvbc",
    "zvkb",
    "zvkg",
    "zvkned",
    "zvknha",
    "zvknhb",
    "zvksed",
    "zvksh",
    "zvkt",
    "zfh",
    "zfhmin",
    "zihintntl",
    "zvfh",
    "zvfhmin",
    "zfa",
    "ztso",
    "zacas",
    "sscofpmf",
    "zimop",
    "zca",
    "zcb",
    "zcd",
    "zcf",
    "zcmop",
    "zawrs",
    "smnpm",
    "ssnpm",
    "svade",
    "svadu",
    "svvptc",
    "zabha",
    "ziccrse",
    "zaamo",
    "zalrsc",
    "zicbop",
    "zfbfmin",
    "zvfbfmin",
    "zvfbfwma",
    "zclsd",
    "zilsd",
    "zalasr",
]
"""enum KVM_RISCV_ISA_EXT_ID (arch/riscv/include/uapi/asm/kvm.h), in order."""
_PAIR = struct.Struct("<QQ")


def extensions(answer: bytes) -> dict[str, list[str]]:
    """`isa` and `sbi`: what the vCPU has; `sbi off`: what user space could switch on. A number that has no
    name here is `number N`.
    """
    found: dict[str, list[str]] = {"isa": [], "sbi": [], "sbi off": []}
    body = answer[1:]
    for number, on in _PAIR.iter_unpack(body[: len(body) // _PAIR.size * _PAIR.size]):
        kind, subtype, which = number >> 24 & 0xFF, number >> 16 & 0xFF, number & 0xFFFF
        if subtype:  # the same, many in a register
            continue
        if kind == ISA_EXT and on:
            found["isa"].append(ISA_NAMES[which] if which < len(ISA_NAMES) else f"number {which}")
        elif kind == SBI_EXT:
            known = which in SbiExtension._value2member_map_
            name = SbiExtension(which).name if known else f"number {which}"
            found["sbi" if on else "sbi off"].append(name)
    return found
