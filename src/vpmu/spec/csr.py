"""Supervisor CSR numbers, `sstatus` fields, causes and interrupts (RISC-V privileged ISA, chapters 3, 4 and
Sscofpmf).
"""

from __future__ import annotations

from enum import IntEnum


class Csr(IntEnum):
    """CSR addresses that a guest in VS or VU mode can meet."""

    FFLAGS = 0x001
    FRM = 0x002
    FCSR = 0x003
    SSTATUS = 0x100
    SIE = 0x104
    STVEC = 0x105
    SCOUNTEREN = 0x106
    SENVCFG = 0x10A
    SSCRATCH = 0x140
    SEPC = 0x141
    SCAUSE = 0x142
    STVAL = 0x143
    SIP = 0x144
    STIMECMP = 0x14D
    SATP = 0x180
    CYCLE = 0xC00
    TIME = 0xC01
    INSTRET = 0xC02
    HPMCOUNTER3 = 0xC03
    HPMCOUNTER31 = 0xC1F
    SCOUNTOVF = 0xDA0


class Cause(IntEnum):
    """Exception codes of `scause` (privileged ISA, table of supervisor causes; 10 is VS-mode ecall, seen by
    the host).
    """

    FETCH_MISALIGNED = 0
    FETCH_ACCESS = 1
    ILLEGAL_INSTRUCTION = 2
    BREAKPOINT = 3
    LOAD_MISALIGNED = 4
    LOAD_ACCESS = 5
    STORE_MISALIGNED = 6
    STORE_ACCESS = 7
    USER_ECALL = 8
    SUPERVISOR_ECALL = 9
    VIRTUAL_SUPERVISOR_ECALL = 10
    MACHINE_ECALL = 11
    FETCH_PAGE_FAULT = 12
    LOAD_PAGE_FAULT = 13
    STORE_PAGE_FAULT = 15
    FETCH_GUEST_PAGE_FAULT = 20
    LOAD_GUEST_PAGE_FAULT = 21
    VIRTUAL_INSTRUCTION = 22
    STORE_GUEST_PAGE_FAULT = 23


class Irq(IntEnum):
    """Interrupt numbers, bit positions in `sip` and `sie`."""

    SOFTWARE = 1
    TIMER = 5
    EXTERNAL = 9
    LCOFI = 13  # local counter overflow, Sscofpmf


SSTATUS_SIE = 1 << 1
SSTATUS_SPIE = 1 << 5
SSTATUS_SPP = 1 << 8
SSTATUS_FS = 3 << 13
SSTATUS_SUM = 1 << 18
SSTATUS_MXR = 1 << 19
SSTATUS_UXL = 2 << 32  # read-only: XLEN in U mode is 64
SSTATUS_SD = 1 << 63  # read-only summary of FS == dirty
SSTATUS_WRITABLE = SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP | SSTATUS_FS | SSTATUS_SUM | SSTATUS_MXR

SATP_PPN = (1 << 44) - 1
SATP_MODE_SHIFT = 60
SATP_BARE, SATP_SV39, SATP_SV48 = 0, 8, 9
