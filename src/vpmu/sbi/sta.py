"""STA: steal time. A vCPU of ours never waits for a host CPU, so the area stays as it is set: zeros."""

from __future__ import annotations

from ..see.vcpu_api import MemoryFault, VcpuLike
from ..spec.sbi import SHMEM_DISABLE
from .answer import INVALID_ADDRESS, INVALID_PARAM, NOT_SUPPORTED, SUCCESS, Answer, Args

AREA_SIZE = 64


def handle(vcpu: VcpuLike, fid: int, args: Args) -> Answer:
    """steal_time_set_shmem(shmem_phys_lo, shmem_phys_hi, flags): 64 aligned bytes; all-ones halves: none."""
    if fid != 0:
        return NOT_SUPPORTED
    lo, hi, flags = args[:3]
    if flags & 0xFFFFFFFF:
        return INVALID_PARAM
    if lo == hi == SHMEM_DISABLE:
        vcpu.set_steal_time_area(None)
        return SUCCESS
    if lo % AREA_SIZE:
        return INVALID_PARAM
    if hi:
        return INVALID_ADDRESS
    try:
        vcpu.memory.read(lo, AREA_SIZE)
    except MemoryFault:
        return INVALID_ADDRESS
    try:
        vcpu.memory.write(lo, bytes(AREA_SIZE))
    except MemoryFault:
        # Readable but not writable: aligned to its size, the area cannot cross into another slot.
        return INVALID_ADDRESS
    vcpu.set_steal_time_area(lo)
    return SUCCESS
