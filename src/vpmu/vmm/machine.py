"""The machine: memory, harts, vCPUs, devices, and user space's side of KVM_RUN.

`Machine` is the public face of vpmu. Everything below it is reached from here: `load` puts a guest in, `run`
turns the vCPUs until the guest powers off or something ends the run, `vcpu(i)` is a vCPU for scripted guests.
What it is made of: `board` (memory and devices), `harts`, `placement` (loading), `turns` (running).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vpmu.errors import MachineError
from vpmu.hart.memory import HostMemory
from vpmu.kvm.errors import HostLostError, KvmRunError
from vpmu.perf.description import HostPmuDescription, load_host_pmu
from vpmu.perf.event import PerfProvider
from vpmu.profiles.profiles import DEFAULT_PROFILE, FIRMWARE, Profile, get_profile
from vpmu.see.guest_hart import GuestHart
from vpmu.spec.csr import Irq
from vpmu.trace.recorder import NULL, Recorder
from vpmu.vmm.board import RAM_BASE, Board
from vpmu.vmm.harts import MAX_HARTS, new_vcpu
from vpmu.vmm.isa import check_guest, default_isa
from vpmu.vmm.levels import levels_of
from vpmu.vmm.loader import Buffer, LoadedImage
from vpmu.vmm.placement import place
from vpmu.vmm.run_result import Host, RunResult
from vpmu.vmm.turns import Turns

if TYPE_CHECKING:
    from vpmu.faults.plan import FaultPlan
    from vpmu.vmm.counting import Counting
    from vpmu.vmm.injection import Injection
    from vpmu.vmm.outside_counter import OutsideCounter
    from vpmu.vmm.points import Point
    from vpmu.vmm.snapshot import Known, Snapshot
    from vpmu.vmm.state_hash import PageHashes
    from vpmu.vmm.virtio.plug import DiskLike, ShareLike

__all__ = ["Host", "Machine", "RunResult"]


class Machine:
    """A virtual machine on a modelled host.

    profile, with_, without: what KVM is like (vpmu.profiles): name, TOML file or object, and changes to it.
    host_pmu: description of the host's PMU (name, path or object). perf: "model", or "host" for this
    machine's own perf_event_open. memory: bytes of RAM at memory_base. refuse: event name -> errno that the
    host's perf answers. starve: host counters that somebody else holds. faults: a plan (vpmu.faults) that
    every seam asks. engine: "native" or "reference". isa: extensions that a hart can have or lack (vmm.isa);
    None: those of the default; with "h" the image begins in HS mode. firmware: an image (path or bytes) that
    begins in M mode on harts
    with `pmp` PMP entries; then there is no profile. `levels` says what of all this Python plays. disks: raw
    images (vmm.virtio.image.Disk, or a path), /dev/vda and so on of a Linux; they bring `plic`. shares:
    folders (vmm.p9.folder.Share) that it mounts by their tags.
    Raises VpmuError for what cannot be built.
    """

    def __init__(
        self,
        profile: str | Profile = DEFAULT_PROFILE,
        *,
        with_: Iterable[str] = (),
        without: Iterable[str] = (),
        host_pmu: str | HostPmuDescription = "qemu-virt",
        perf: str = "model",
        memory: int = 128 << 20,
        memory_base: int = RAM_BASE,
        harts: int = 1,
        recorder: Recorder | None = None,
        refuse: Mapping[str, int | str] | None = None,
        starve: int = 0,
        seed: int = 0,
        engine: str = "native",
        console_out: Callable[[bytes], None] | None = None,
        bootargs: str = "",
        plic: bool = False,
        second_serial: bool = False,
        line: bool = False,
        mmu: str = "riscv,sv39",
        faults: FaultPlan | None = None,
        isa: Iterable[str] | None = None,
        firmware: str | bytes | None = None,
        pmp: int = 16,
        tree: bytes | None = None,
        disks: Sequence[DiskLike] = (),
        shares: Sequence[ShareLike] = (),
    ) -> None:
        plic = plic or bool(disks or shares) or firmware is not None
        if not 1 <= harts <= MAX_HARTS:
            raise MachineError("number of harts", expected=f"1 to {MAX_HARTS}", got=harts)
        self.user_exits: Counter[str] = Counter()  # since power-on, by kind
        self.board = board = Board(
            harts, memory_base, memory, plic=plic, second_serial=second_serial, line=line,
            console_out=console_out, external=self._external_interrupt, exits=self.user_exits,
        )  # fmt: skip
        plugged = self._plug(disks, shares) if disks or shares else {}
        self.memory, self.memory_base, self.memory_size = board.memory, memory_base, memory
        self.bus, self.console, self.serial, self.plic = board.bus, board.console, board.serial, board.plic
        if firmware is not None:
            profile = FIRMWARE
        self.profile = profile if isinstance(profile, Profile) else get_profile(profile, with_, without)
        self.host_pmu = load_host_pmu(host_pmu) if isinstance(host_pmu, str) else host_pmu
        self.recorder = recorder or NULL
        if self.recorder is not NULL:
            self.recorder.clock = lambda: self.time
        self.firmware = firmware
        self.isa = isa = default_isa(firmware is not None) if isa is None else frozenset(isa)
        self.levels = levels_of(self.profile, isa, firmware=firmware is not None)
        if not self.levels.whole:
            check_guest(isa, self.profile)
        self.bootargs, self.seed, self.mmu = bootargs, seed, mmu
        self.tree = tree
        self.loaded: LoadedImage | None = None  # what `load` has put into memory
        self.device_tree: bytes | None = None  # as `load` put it into memory
        self._vcpus: list[GuestHart] = []
        self.turns = Turns(self._vcpus, board, self.user_exits)
        for number in range(harts):
            vcpu = new_vcpu(
                number, self.memory, self.profile, self.host_pmu, self._vcpus, self.recorder,
                engine=engine, perf=perf, refuse=refuse or {}, starve=starve, levels=self.levels,
                isa=isa, pmp=pmp,
            )  # fmt: skip
            vcpu.io_bus, vcpu.wakes = board.access, self.turns.woken
            vcpu.devices = board.is_device
            self._vcpus.append(vcpu)
        if self.levels.answers is None:
            board.add_clint(self._vcpus)
        self._providers: list[PerfProvider] = [vcpu.perf for vcpu in self._vcpus]
        self.set_sbi_extension("DBCN", True)  # as QEMU and kvmtool do: KVM leaves it to user space
        self.injection: Injection | None = None
        self.base: Known | None = None  # the snapshot since which pages are tracked
        self.host_pmu_digest: str | None = None  # in the fingerprint of its snapshots
        self.hashed: PageHashes | None = None  # of its memory, where somebody has asked (state_hash)
        self.arguments: dict[str, object] = {
            "profile": self.profile, "host_pmu": self.host_pmu, "perf": perf, "memory": memory,
            "memory_base": memory_base, "harts": harts, "refuse": dict(refuse or {}), "starve": starve,
            "seed": seed, "engine": engine, "bootargs": bootargs, "plic": plic, "mmu": mmu,
            "isa": tuple(sorted(isa)), "firmware": firmware, "pmp": pmp, "tree": tree,
            "second_serial": second_serial, "line": line,
            "disks": (), "shares": (), **plugged,
        }  # fmt: skip
        if faults:
            self.inject(faults)

    def _plug(self, disks: Sequence[DiskLike], shares: Sequence[ShareLike]) -> dict[str, object]:
        from vpmu.vmm.virtio.plug import add_disks, add_shares

        return {
            "disks": add_disks(self.board, disks),
            "shares": add_shares(self.board, shares, lambda: self.time),
        }

    # ------------------------------------------------------------ building

    @property
    def vcpus(self) -> list[GuestHart]:
        """All vCPUs, in hart order."""
        return self._vcpus

    def vcpu(self, number: int) -> GuestHart:
        """One vCPU; works as a scripted guest without any code loaded (`ecall`, `csr_read`, `read`,
        `write`, `work`).
        """
        if not 0 <= number < len(self._vcpus):
            raise MachineError("hart", expected=f"0 to {len(self._vcpus) - 1}", got=number)
        return self._vcpus[number]

    @property
    def time(self) -> int:
        """Virtual nanoseconds since power-on, of the hart that runs."""
        return self._vcpus[self.turns.current].hart.time_ns if self._vcpus else 0

    @property
    def instructions(self) -> int:
        """Instructions retired by all harts since power-on."""
        return self.turns.instructions()

    def set_sbi_extension(self, name: str, enabled: bool) -> None:
        """Switch an SBI extension on or off by KVM's name (ONE_REG), for all vCPUs, before the first run."""
        from vpmu.profiles.profiles import SbiExtension

        for vcpu in self._vcpus:
            try:
                vcpu.extensions.set(SbiExtension[name], int(enabled))
            except OSError:
                if enabled and name != "DBCN":
                    raise

    def set_memory_region(
        self, slot: int, gpa: int, size: int, flags: int, backing: memoryview | None
    ) -> int:
        """KVM_SET_USER_MEMORY_REGION; flags 2 is KVM_MEM_READONLY. Answers 0 or a negative errno."""
        import errno

        try:
            host = HostMemory.over(backing) if backing is not None and size else None
            self.memory.set_slot(slot, gpa, size, backing=host, readonly=bool(flags & 2))
        except ValueError:
            return -errno.EINVAL
        return 0

    def load(
        self, image: str | bytes | object | None, *, kind: object = None, initrd: Sequence[Buffer] = ()
    ) -> LoadedImage:
        """Load a guest image (path, name of a bundled payload, or bytes), an initrd (its parts, in order) and
        the device tree; hart 0 starts at its entry. Raises ImageError.
        """
        self.loaded, self.device_tree = place(self, image, kind=kind, initrd=initrd)
        return self.loaded

    def console_input(self, data: bytes) -> None:
        """Bytes that the guest will read from its serial port or its SBI console."""
        self.console.feed(data, self.serial)

    def inject(self, plan: FaultPlan | None) -> None:
        """Let the seams ask this plan from now on, from its beginning, instead of the one before; None:
        none.
        """
        from vpmu.vmm.injection import Injection

        if self.injection is not None:
            self.injection.remove()
        self.injection = Injection(self, plan, self._providers) if plan else None

    def snapshot(self) -> Snapshot:
        """The whole state now, to go back to. MachineError where that cannot be had."""
        from vpmu.vmm.snapshot import take

        if self.turns.lost is not None:
            raise MachineError("snapshot", expected="a machine whose host lives", got=self.turns.lost.reason)
        return take(self)

    def restore(self, snapshot: Snapshot) -> None:
        """Go to the state of a snapshot; an installed fault plan begins anew. MachineError where it does not
        fit.
        """
        from vpmu.vmm.snapshot import restore

        restore(self, snapshot)

    def fork(self, console_out: Callable[[bytes], None] | None = None) -> Machine:
        """Another machine in the same state, from here on on its own."""
        return self.snapshot().machine(console_out=console_out)

    def state_hash(self) -> str:
        """32 hexadecimal digits for the state now (vmm.state_hash). MachineError where it cannot be had."""
        from vpmu.vmm.state_hash import state_hash

        return state_hash(self)

    @property
    def providers(self) -> list[PerfProvider]:
        """Where the perf events of each hart come from."""
        return self._providers

    # ------------------------------------------------------------ running

    def halt(self, stop: str, reason: str) -> None:
        """End the run at the next exit, from a console sink or a host's poll: RunResult says `stop` and
        `reason`.
        """
        self.turns.halt(stop, reason)

    def run(
        self, max_instructions: int | None = None, timeout_ns: int | None = None, host: Host | None = None
    ) -> RunResult:
        """Run the guest until it ends, nothing can happen any more, or a limit is reached (instructions or
        virtual time, from now).

        `host` connects the run to the outside world: input that comes while the guest runs, waiting in real
        time.
        """
        started, exits_before = time.perf_counter(), sum(self.user_exits.values())
        limit = None if max_instructions is None else self.instructions + max_instructions
        deadline = None if timeout_ns is None else self.turns.now() + timeout_ns
        stop, reason, code, number, fix = "budget", "", None, None, None
        try:
            stop, reason, code = self.turns.turn(limit, deadline, host)
        except KvmRunError as error:
            stop, reason, number = "kvm_run_failed", error.reason, error.errno
            if self.recorder.enabled:
                self.recorder.emit(
                    "vmm", "KVM_RUN", "failed", -error.errno, hart=self.turns.current, reason=error.reason
                )
        except HostLostError as lost:
            self.turns.lost = lost
            stop, reason, fix = "host_lost", lost.reason, lost.commit
        finally:
            self.turns.unhalt()
        counts, calls = Counter(self.user_exits), Counter[tuple[int, int, int]]()
        for vcpu in self._vcpus:
            counts.update(vcpu.exits)
            calls.update(vcpu.sbi_calls)
        return RunResult(
            stop,
            reason,
            self.instructions,
            exits=sum(self.user_exits.values()) - exits_before,
            exit_counts=dict(sorted(counts.items())),
            console=self.console.output,
            seconds=time.perf_counter() - started,
            kvm_run_errno=number,
            reset_reason=code,
            sbi_calls=dict(sorted(calls.items())),
            virtual_ns=self.turns.now(),
            fixed_by=fix,
        )

    def break_at(self, where: str | int) -> Point:
        """Let runs end (`breakpoint`) before the instruction at a symbol of the loaded image (a kernel's too)
        or at an address as the hart sees it now; `remove` the answer, or use it in `with`.
        UnknownNameError, MachineError.
        """
        from vpmu.vmm.points import break_at

        return break_at(self, where)

    def watch(self, where: str | int, size: int = 8, access: str = "w") -> Point:
        """Let runs end (`watchpoint`) before an instruction that reads ("r") or writes ("w", "rw") any of
        `size` bytes at a symbol or an address. UnknownNameError, MachineError, UsageError.
        """
        from vpmu.vmm.points import watch

        return watch(self, where, size, access)

    def until(self, event: str, max_instructions: int | None = None) -> RunResult:
        """Run on to a happening (`caught`, with `reason` in words): `overflow`, `overflow:3`, `refusal`,
        `sbi:PMU`, `csr:cycle`, `fault:perf.create`; else to an end or limit, as `run`. UnknownNameError.
        """
        from vpmu.vmm.points import until

        return until(self, event, max_instructions)

    def _external_interrupt(self, hart: int, level: bool) -> None:
        vcpu = self._vcpus[hart]
        (vcpu.set_interrupt if level else vcpu.unset_interrupt)(Irq.EXTERNAL)

    # ------------------------------------------------------------ counting from outside

    def open_counter(self, name: str, modifiers: str = "") -> OutsideCounter:
        """Count a perf event of the whole guest from outside, as `perf stat` would; modifiers u and k
        choose modes. Raises PerfError.
        """
        from vpmu.vmm.outside_counter import count_harts, open_counter

        if self.levels.whole or not self._vcpus[0].pmu.csrs_trap:  # then the counters are the image's own
            harts = [vcpu.hart for vcpu in self._vcpus]
            return count_harts(harts, self.host_pmu, name, modifiers)

        return open_counter(self._providers, name, modifiers)

    def counting(self, *events: str) -> Counting:
        """Count events of the whole guest from outside, from now on, by the names of perf: `cycles`,
        `instructions:u`. An event that the host refuses has no count. Raises UsageError.
        """
        from vpmu.vmm.counting import Counting

        return Counting(self, events)
