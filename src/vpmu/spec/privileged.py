"""Fields of the CSRs of M mode and of the hypervisor extension (privileged ISA, chapters 3 and 21)."""

from __future__ import annotations

MSTATUS_MIE = 1 << 3
MSTATUS_MPIE = 1 << 7
MSTATUS_MPP = 3 << 11
MSTATUS_MPRV = 1 << 17
MSTATUS_TVM = 1 << 20
MSTATUS_TW = 1 << 21
MSTATUS_TSR = 1 << 22
MSTATUS_SXL = 2 << 34  # read-only: XLEN in S mode is 64
MSTATUS_GVA = 1 << 38
MSTATUS_MPV = 1 << 39
MSTATUS_OWN = (
    MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_MPRV | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR
)  # beside the fields of sstatus
MSTATUS_OWN_H = MSTATUS_GVA | MSTATUS_MPV  # and these with the hypervisor extension

HSTATUS_GVA = 1 << 6
HSTATUS_SPV = 1 << 7
HSTATUS_SPVP = 1 << 8
HSTATUS_HU = 1 << 9
HSTATUS_VTVM = 1 << 20
HSTATUS_VTW = 1 << 21
HSTATUS_VTSR = 1 << 22
HSTATUS_VSXL = 2 << 32  # read-only
HSTATUS_WRITABLE = (
    HSTATUS_GVA | HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_HU | HSTATUS_VTVM | HSTATUS_VTW | HSTATUS_VTSR
)

HEDELEG_WRITABLE = 0x8B1FF  # 0 to 8, 12, 13, 15; and 19, hardware error
MEDELEG_WRITABLE = 0xF8B7FE  # as above, 10, and 20 to 23

IP_SSI, IP_VSSI, IP_MSI = 1 << 1, 1 << 2, 1 << 3
IP_STI, IP_VSTI, IP_MTI = 1 << 5, 1 << 6, 1 << 7
IP_SEI, IP_VSEI, IP_MEI = 1 << 9, 1 << 10, 1 << 11
IP_SGEI, IP_LCOFI = 1 << 12, 1 << 13
IP_VS = IP_VSSI | IP_VSTI | IP_VSEI
IP_S = IP_SSI | IP_STI | IP_SEI | IP_LCOFI

ENVCFG_FIOM = 1 << 0
ENVCFG_CBIE = 3 << 4
ENVCFG_CBCFE = 1 << 6
ENVCFG_CBZE = 1 << 7
ENVCFG_CB = ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE
ENVCFG_CDE = 1 << 60
ENVCFG_ADUE = 1 << 61
ENVCFG_PBMTE = 1 << 62
ENVCFG_STCE = 1 << 63

STATEEN_SE0 = 1 << 63
STATEEN_ENVCFG = 1 << 62
STATEEN_CSRIND = 1 << 60
STATEEN_AIA = 1 << 59
STATEEN_IMSIC = 1 << 58

ISA_S = 1 << 0
ISA_H = 1 << 1
ISA_SSTC = 1 << 2
ISA_SSCOFPMF = 1 << 3
ISA_SMSTATEEN = 1 << 4
ISA_AIA = 1 << 5
ISA_SVADU = 1 << 6
ISA_SVPBMT = 1 << 7
ISA_SVNAPOT = 1 << 8
ISA_SVINVAL = 1 << 9
ISA_PMP = 1 << 10
ISA_SV57 = 1 << 11
ISA_ZICBOM = 1 << 12
ISA_ZICBOZ = 1 << 13
ISA_ZAWRS = 1 << 14
ISA_ZBKB = 1 << 15
ISA_ZFH = 1 << 16
"""Bits of the hart's word `isa`: what it has beside RV64GC."""

HGATP_PPN = ((1 << 44) - 1) & ~3
HGATP_WRITABLE = 15 << 60 | ((1 << 14) - 1) << 44 | HGATP_PPN
PMP_ADDRESS = (1 << 54) - 1
TVAL_IS_ADDRESS = 0xB0B0FB  # exceptions whose stval is a virtual address: all but 2, 8 to 11 and 22
HVICTL_VTI = 1 << 30
HVICTL_WRITABLE = 0x4FFF03FF
HVICTL_DPR = 1 << 9
HVICTL_IPRIOM = 1 << 8

PTE_PBMT = 3 << 61
PTE_N = 1 << 63
