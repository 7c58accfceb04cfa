"""How KVM_RUN ends: with an exit that user space serves, with an errno, or with the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profiles.behaviour import Behaviour


class KvmRunError(Exception):
    """KVM_RUN fails with this errno: pc stays where it is, no register changes, exit_reason means nothing."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(errno, reason)
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        return f"kvm: KVM_RUN failed: {os.strerror(self.errno)} (errno {self.errno}): {self.reason}"


class HostLostError(Exception):
    """The host itself goes down: nobody is left who could answer. Only what is public and fixed is
    modelled so: `commit` is the fix.
    """

    def __init__(self, behaviour: Behaviour, reason: str) -> None:
        super().__init__(behaviour.name, reason)
        self.behaviour, self.commit = behaviour, behaviour.commit
        self.reason = f'{reason} ({behaviour.name}; fixed by {behaviour.commit} "{behaviour.subject}")'

    def __str__(self) -> str:
        return f"kvm: the host is lost: {self.reason}"


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """KVM_EXIT_SYSTEM_EVENT: type 1 shutdown, 2 reset; reason as the guest gave it."""

    type: int
    reason: int


@dataclass(frozen=True, slots=True)
class SbiExit:
    """KVM_EXIT_RISCV_SBI: user space answers this call with (error, value)."""

    eid: int
    fid: int
    args: tuple[int, int, int, int, int, int]


UserExit = SystemEvent | SbiExit


@dataclass(frozen=True, slots=True)
class MmioExit:
    """KVM_EXIT_MMIO: an access to no memory slot. `data` is what a write stores, little-endian; a read is
    completed by user space.
    """

    gpa: int
    size: int
    is_write: bool
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class BudgetExit:
    """The instructions or the time that user space allowed are used up."""


@dataclass(frozen=True, slots=True)
class IdleExit:
    """The vCPU waits: stopped, or in WFI until an interrupt. `deadline` is the virtual time in ns of its
    timer, if one is set.
    """

    deadline: int | None


@dataclass(frozen=True, slots=True)
class HungExit:
    """The guest traps for ever without retiring an instruction."""

    reason: str


VcpuExit = MmioExit | SystemEvent | SbiExit | BudgetExit | IdleExit | HungExit
