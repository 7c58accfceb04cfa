"""A guest of real KVM that is watched: what it asked for, was answered, counted and printed, and what each of
its calls cost the host.

A payload lies where a machine of the model puts it, so that the same image runs on both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..brief import Brief
from ..debug.call_tree import CallTree
from ..errors import UsageError
from ..peers.host_faults import HostFaults
from ..peers.world_switch import VIRTUAL, GuestExit, WorldSwitch, cause_name
from ..perf.event import errno_name
from ..spec.sbi import U64
from ..spec.sbi_functions import function
from ..trace.recorder import Record
from ..vmm.machine import Machine
from ..vmm.replay import PAGE
from .real_guest import A0, A1, BASE, MEMORY, RealEnd, RealGuest
from .real_linux import RealLinux, memory_for
from .real_vm import CORE

if TYPE_CHECKING:
    from ..faults.plan import FaultPlan
    from .hooked import HookedHost

LINUX = "linux:"
"""What a guest's name begins with when the rest is a command for the fetched Debian."""
MOST, MOST_OF_LINUX = 400_000_000, 10_000_000_000
"""Instructions of host and guest."""
MOST_CALLS = 200_000
_CSR_OPCODE = 0x73
_ZERO = bytes(PAGE)


@dataclass(frozen=True, slots=True, repr=False)
class GuestRun(Brief):
    """What a guest did. `calls`: its SBI calls, as the model records them; `counts`: (csr, value) of each
    counter that it read; `costs`: by function the HS instructions of each of its calls.
    """

    end: str
    console: bytes
    calls: tuple[Record, ...]
    counts: tuple[tuple[int, int], ...]
    exits: dict[str, int]
    guest: int
    """Instructions of VS and VU mode."""
    host: int
    """Instructions of HS mode between the guest's exits and its entries."""
    costs: dict[str, list[int]] = field(default_factory=dict)
    faults: int = 0


def guest_memory(image: str | bytes) -> int:
    """Room that a host needs for a guest (HostOptions.guest_memory). Raises FetchError for a Linux that is
    not there.
    """
    if not is_linux(image):
        return 0
    from ..vmm.linux.fetch import debian_guest

    debian = debian_guest()
    return memory_for(debian.kernel_image(), debian.initramfs())


def is_linux(image: str | bytes) -> bool:
    """Whether it is a command for the fetched Debian."""
    return isinstance(image, str) and image.startswith(LINUX)


class WatchedGuest:
    """An image, or `linux: COMMAND`, that runs in a fresh VM of a host as often as wanted, always the same.
    Raises ImageError for an image that is none, UsageError for a fault that the real stack has no place for.
    """

    def __init__(self, host: HookedHost, image: str | bytes, plan: FaultPlan | None = None) -> None:
        self.host, self._plan, self._image = host, plan, image

    def run(self) -> GuestRun:
        """From its first instruction to its end."""
        return self._run(None)

    def path(self, number: int) -> CallTree | None:
        """The host's functions on the way of SBI call `number`, from 0 on; None where it is not made."""
        with self.host.walked() as trees:
            self._run(lambda calls: calls == number + 1 and not trees)
        return trees[0] if trees else None

    def _run(self, stop_at: Callable[[int], bool] | None) -> GuestRun:
        host, faults, patience = self.host, None, self.host.target.link.patience
        host.fresh()
        switch = WorldSwitch(host.machine, host.kernel)
        calls = 0

        def asked(exit_: GuestExit) -> bool:
            nonlocal calls
            calls += exit_.is_call
            return exit_.is_call and stop_at is not None and stop_at(calls)

        try:
            if self._plan:
                faults = HostFaults(host.hooks, self._plan)
                if faults.not_carried:
                    rule, why = faults.not_carried[0]
                    raise UsageError(f"{rule.source} on real KVM: {why}", layer="faults")
            guest, most = self._placed()
            if faults is not None:
                faults.begin()
            switch.clear()
            switch.stop_at = asked
            if isinstance(guest, RealLinux):
                ended, output = guest.run(most).end, guest.guest.output
            else:
                ended, output = guest.run(most), guest.output
            fired = 0 if faults is None else faults.fired
        finally:
            host.target.link.patience = patience
            switch.remove()
            if faults is not None:
                faults.remove()
        return _result(switch.exits, ended, bytes(output), fired)

    def _placed(self) -> tuple[RealGuest | RealLinux, int]:
        """A VM with the guest in it, and the instructions that it may take."""
        link, image = self.host.target.link, self._image
        pmu = self.host.machine.host_pmu
        if is_linux(image):
            from ..vmm.linux.fetch import debian_guest

            debian, command = debian_guest(), str(image)[len(LINUX) :].strip()
            kernel, initrd = debian.kernel_image(), debian.initramfs()
            memory = memory_for(kernel, initrd)
            return RealLinux(link, pmu, kernel, initrd, command=command, memory=memory), MOST_OF_LINUX
        model = Machine(self.host.target.profile, host_pmu=pmu, memory=MEMORY, memory_base=BASE)
        model.load(image)
        guest = RealGuest(link, pmu)
        for at in range(BASE, BASE + MEMORY, PAGE):
            page = bytes(model.memory.read(at, PAGE))
            if page != _ZERO:
                guest.write(at, page)
        first = model.vcpu(0)
        guest.vcpu.pc = first.pc
        for register in (A0, A1):
            guest.vcpu.put(CORE | register, first.regs[register])
        return guest, MOST


def _result(exits: Sequence[GuestExit], ended: RealEnd, console: bytes, fired: int) -> GuestRun:
    calls: list[Record] = []
    counts: list[tuple[int, int]] = []
    kinds: Counter[str] = Counter()
    costs: dict[str, list[int]] = {}
    start = exits[0] if exits else None
    for number, one in enumerate(exits):
        assert start is not None
        kinds[cause_name(one.cause)] += 1
        if one.is_call:
            record = _record(one, start.time_ns, ended if number == len(exits) - 1 else None)
            if len(calls) < MOST_CALLS:
                calls.append(record)
            if one.back and not one.user:
                costs.setdefault(record.actor, []).append(one.host)
        elif one.cause == VIRTUAL and one.back and _reads_counter(one.stval):
            counts.append((one.stval >> 20, one.written))
    return GuestRun(
        _end(ended), console, tuple(calls), tuple(counts), dict(sorted(kinds.items())),
        0 if start is None else exits[-1].guest - start.guest, sum(one.host for one in exits if one.back),
        dict(sorted(costs.items())), fired,
    )  # fmt: skip


def _end(ended: RealEnd) -> str:
    """How it ended, in the words of a comparison of profiles."""
    if ended.errno is not None:
        return f"KVM_RUN failed with {errno_name(ended.errno)}"
    if ended.reset_reason is not None:
        return f"{ended.stop}, reason {ended.reset_reason}"
    return f"{ended.stop}: {ended.reason}"


def _reads_counter(instruction: int) -> bool:
    """A CSR instruction on a counter (0xC00 to 0xC1F)."""
    return instruction & 0x7F == _CSR_OPCODE and bool(instruction >> 12 & 3) and instruction >> 25 == 0x60


def _record(one: GuestExit, start: int, ended: RealEnd | None) -> Record:
    """A call as the dispatcher of the model records it; `ended`: it is the guest's last exit."""
    *args, fid, eid = one.registers
    called = function(eid, fid)
    named: dict[str, object] = dict(zip(called.arguments, args, strict=False))
    action = "call"
    result: object
    if not one.back and ended is not None and ended.errno is not None:
        action, result = "kvm-run-error", -ended.errno
    elif not one.back and ended is not None and ended.reset_reason is not None:
        kind = 1 if ended.stop == "shutdown" else 2
        result = f"KVM_EXIT_SYSTEM_EVENT type {kind} reason {ended.reset_reason}"
    elif not one.back:
        result = "no answer"
    elif one.user:
        result = "KVM_EXIT_RISCV_SBI"
    else:
        error = one.answer[0] - (1 << 64) if one.answer[0] >> 63 else one.answer[0]
        result = error, one.answer[1] & U64
    return Record(one.time_ns - start, 0, "sbi", called.name, action, named, result)
