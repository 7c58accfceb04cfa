"""The oracle below real KVM: what a guest in a VM was told, against what its hart did in VS and VU mode.

It stands in the guest: breakpoints before its ECALLs and its reads of counter CSRs, and behind them, where
the answer is in its registers. So whatever made that answer (kvm.ko, perf, firmware, a fault in any of them)
is behind it, and no function of the host's kernel has to be known. What is counted between the two, an
interrupt handler of the guest's for example, is not the call's: counts are those before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..debug.running_kernel import Function
from ..hart.events import HartEvent, Mode
from ..hart.memory import MemoryFault
from ..see.vcpu_api import MP_STATE_RUNNABLE
from ..spec.csr import Cause, Csr, Irq
from ..spec.sbi import SbiRet, error_name
from ..spec.sbi_functions import function
from ..trace.recorder import NULL, Recorder
from .firmware_events import FirmwareEvents
from .oracle import _WATCHED, Oracle, _Hart

if TYPE_CHECKING:
    from ..hart.hart import Hart
    from ..peers.hooks import Hooks, HostCall
    from ..perf.description import HostPmuDescription
    from ..profiles.profiles import Profile
    from ..see.guest_hart import GuestHart

ECALL = b"\x73\0\0\0"
_ECALL = re.compile(re.escape(ECALL))
_READS = tuple(
    re.compile(
        first + rb"[\x20-\x2f][\x00\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0][\xc0\xc1]"
    )
    for first in (rb"\x73", rb"\xf3")  # each alone is looked for quicker
)
"""csrrs rd, CSR, x0 with a CSR from 0xC00 to 0xC1F. Like an ECALL it begins with what no other byte of it can
be, so no two of them overlap.
"""
_RAISE = "kvm_riscv_vcpu_set_interrupt"
_GUEST = (Mode.VS, Mode.VU)
RD, CSR_AT = 7, 20
A0, A1, EID, FID = 10, 11, 17, 16


def sites(code: bytes) -> tuple[list[int], list[int]]:
    """Offsets of the ECALLs and of the reads of counter CSRs in a guest's code. What only looks like one is
    in the middle of another instruction or in data, and is never met.
    """
    ecalls = [found.start() for found in _ECALL.finditer(code) if not found.start() & 1]
    reads = [found.start() for read in _READS for found in read.finditer(code) if not found.start() & 1]
    return ecalls, [at for at in sorted(reads) if _csr(code[at : at + 4]) != Csr.TIME]


def _csr(instruction: bytes) -> int:
    return int.from_bytes(instruction, "little") >> CSR_AT


class _Frozen:
    """The hart as it was before the call that is being answered."""

    def __init__(self, hart: Hart) -> None:
        self._hart = hart
        self._counts: dict[tuple[HartEvent, Mode], int] | None = None
        self.wanted: frozenset[HartEvent] = frozenset()

    @property
    def time_ns(self) -> int:
        return self._hart.time_ns

    def get(self, name: str) -> int:
        value = self._hart.get(name)
        if name == "sie" and self._hart.get("virt"):
            value |= self._hart.get("vsie_own")  # AIA gives the guest's LCOFI an enable of its own
        return value

    def want_too(self, events: frozenset[HartEvent]) -> None:
        self.wanted = events
        self._hart.want_too(events)

    def counts(self) -> dict[tuple[HartEvent, Mode], int]:
        """All that may be asked for later."""
        events = {HartEvent.CYCLES, HartEvent.INSTRUCTIONS, *self.wanted}
        return {(event, mode): self._hart.count(event, mode) for event in events for mode in _GUEST}

    def freeze(self, counts: dict[tuple[HartEvent, Mode], int] | None) -> None:
        self._counts = counts

    def count(self, event: HartEvent, modes: Mode) -> int:
        total = 0
        for mode in _GUEST:
            if mode in modes:
                known = None if self._counts is None else self._counts.get((event, mode))
                total += self._hart.count(event, mode) if known is None else known
        return total


class RealOracle(Oracle):
    """The oracle of one VM. `pages`: where the guest's memory lies in the hart's, page by page, from `base`
    on; `masks`: what a counter of the guest's can hold.
    """

    def __init__(
        self, machine: Any, profile: Profile, host_pmu: HostPmuDescription, base: int, pages: Sequence[int],
        masks: Mapping[int, int], recorder: Recorder = NULL,
    ) -> None:  # fmt: skip
        self._machine, self._base, self._pages = machine, base, pages
        self._hart: Hart = machine.vcpu(0).hart
        self._frozen = _Frozen(self._hart)
        self._pending: dict[int, tuple[Any, ...]] = {}
        self._placed: list[tuple[int, Callable[[GuestHart], bool]]] = []
        self.calls: dict[str, int] = {}
        """Answered SBI calls: function and error -> how many."""
        self._knows_overflows = False
        self._guest: Any = SimpleNamespace(
            id=0, hart=self._frozen, profile=profile, overflows=0,
            pmu=SimpleNamespace(shared_page=None, counter_mask=masks.get), hart_id=0,
            mp_state=MP_STATE_RUNNABLE,
        )  # fmt: skip
        self._guest.vcpus = [self._guest]
        view: Any = SimpleNamespace(
            host_pmu=host_pmu,
            recorder=recorder,
            memory=SimpleNamespace(read=self._read_memory),
            levels=SimpleNamespace(whole=False),  # KVM's guest: U and S of a filter are its VU and VS
        )
        super().__init__(view)

    # --- where it stands

    def place(self, code: Mapping[int, bytes]) -> None:
        """Stand in the guest's code: bytes by where they are in its memory."""
        for gpa, data in code.items():
            ecalls, reads = sites(data)
            for at in sorted((*ecalls, *reads)):
                word = data[at : at + 4]
                before = self._before_call if word == ECALL else self._before_read
                self._stand(gpa + at, partial(before, gpa + at, word))
                self._stand(gpa + at + 4, self._behind)

    def _stand(self, gpa: int, handler: Callable[[GuestHart], bool]) -> None:
        page, offset = divmod(gpa - self._base, 4096)
        if page < len(self._pages):
            self._machine.memory.breakpoints.add(self._pages[page] + offset, handler)
            self._placed.append((self._pages[page] + offset, handler))

    def listen(self, hooks: Hooks) -> None:
        """Hear of the overflow interrupts that KVM raises. After the faults' hooks: theirs come first."""
        raises = hooks.kernel.functions.get(_RAISE)
        if raises is not None:
            hooks.on(raises, partial(self._raised, raises))
            self._knows_overflows = True

    def _raised(self, raises: Function, call: HostCall) -> None:
        not_dropped = call.hart.pc == raises.address
        if not_dropped and call.arguments[1] & 0xFFFFFFFF == Irq.LCOFI:
            self._guest.overflows += 1

    def remove(self) -> None:
        """Stand there no longer."""
        for physical, handler in self._placed:
            self._machine.memory.breakpoints.remove(physical, handler)
        self._placed.clear()

    def keep(self) -> None:
        """What the guest has set up by now is there when runs begin: its shared memory."""
        self._guest.pmu.shared_page = self._harts[0].page

    def begin(self) -> None:
        """The machine was brought back: nothing is believed yet."""
        self.findings, self.samples, self.values, self.calls = [], [], 0, {}
        self._harts, self._wanted = {0: _Hart(page=self._guest.pmu.shared_page)}, {0: frozenset()}
        self._guest.overflows = 0
        self._pending.clear()
        self._firmware = FirmwareEvents(self._unknown)
        self._frozen.wanted = frozenset()
        self._frozen.freeze(None)

    # --- what the guest does

    def _stands(self, gpa: int, word: bytes) -> bool:
        """Whether the instruction is still there: a kernel gives what it needs to begin back to its guest."""
        return self._read_memory(gpa, 2) == word[:2] and self._read_memory(gpa + 2, 2) == word[2:]

    def _before_call(self, gpa: int, word: bytes, vcpu: GuestHart) -> bool:
        hart = vcpu.hart
        if hart.mode is Mode.VS and self._stands(gpa, word):
            arguments = tuple(hart.x(A0 + i) for i in range(6))
            self._pending[hart.pc + 4] = (self._frozen.counts(), hart.x(EID), hart.x(FID), arguments)
        return False

    def _before_read(self, gpa: int, word: bytes, vcpu: GuestHart) -> bool:
        if vcpu.hart.mode in _GUEST and self._stands(gpa, word):
            self._pending[vcpu.hart.pc + 4] = (self._frozen.counts(), int.from_bytes(word, "little"))
        return False

    def _behind(self, vcpu: GuestHart) -> bool:
        hart = vcpu.hart
        pending = self._pending.pop(hart.pc, None) if hart.mode in _GUEST else None
        if pending is None:
            return False
        counts, *what = pending
        self._frozen.freeze(counts)
        try:
            if len(what) == 1:
                self._read_csr(hart, counts, what[0])
            else:
                eid, fid, arguments = what
                error = hart.x(A0)
                answer = SbiRet(error - (1 << 64) if error >> 63 else error, hart.x(A1))
                self._note(eid, fid, arguments, answer)
                if eid in _WATCHED:
                    self._answered(self._guest, eid, fid, arguments, answer)
        finally:
            self._frozen.freeze(None)
        return False

    def _read_csr(self, hart: Hart, counts: Mapping[tuple[HartEvent, Mode], int], word: int) -> None:
        """A read that the guest got an exception for has no value: its handler has run meanwhile."""
        retired = counts[HartEvent.INSTRUCTIONS, Mode.VS]
        if hart.count(HartEvent.INSTRUCTIONS, Mode.VS) != retired and (
            hart.get("scause") in (Cause.ILLEGAL_INSTRUCTION, Cause.VIRTUAL_INSTRUCTION)
        ):
            return
        index, value = (word >> CSR_AT) - Csr.CYCLE, hart.x(word >> RD & 31)
        recorder = self.machine.recorder
        if recorder.enabled:
            recorder.emit("kvm", "csr", "read", value, hart=0, csr=word >> CSR_AT)
        self._read(self._guest, index, value)

    def _note(self, eid: int, fid: int, arguments: Sequence[int], answer: SbiRet) -> None:
        recorder, called = self.machine.recorder, function(eid, fid)
        key = f"{called.name} {error_name(answer.error)}"
        self.calls[key] = self.calls.get(key, 0) + 1
        if recorder.enabled:
            named = dict(zip(called.arguments, arguments, strict=False))
            recorder.emit("sbi", called.name, "call", (answer.error, answer.value), hart=0, **named)

    def _overflow(self, vcpu: Any, index: int, belief: Any) -> None:
        if self._knows_overflows:
            super()._overflow(vcpu, index, belief)

    def _read_memory(self, gpa: int, size: int) -> bytes:
        page, offset = divmod(gpa - self._base, 4096)
        if not 0 <= page < len(self._pages):
            raise MemoryFault(gpa)
        data: bytes = self._machine.memory.read(self._pages[page] + offset, size)
        return data
