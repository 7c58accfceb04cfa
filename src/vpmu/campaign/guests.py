"""Guests of a campaign, each on a machine that is built once and brought back for every run."""

from __future__ import annotations

import fcntl
import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..brief import Brief
from ..errors import BootError, FileError, VpmuError
from ..faults.injector import Drawn
from ..faults.plan import FaultPlan
from ..perf.description import load_host_pmu
from ..profiles.profiles import Profile, get_profile
from ..trace.recorder import Recorder
from .oracle import Finding, Oracle
from .plan import Guest, is_real
from .script import Script, parse_script
from .script_text import SIZE

if TYPE_CHECKING:
    from ..vmm.linux.session import LinuxSession
    from ..vmm.machine import Machine, RunResult

PAYLOAD_MEMORY = 16 << 20
LINUX_MEMORY = 384 << 20


@dataclass(frozen=True, slots=True, repr=False)
class Outcome(Brief):
    """What a run did: how it ended, what the guest was told, and what of it was wrong."""

    stop: str
    reason: str
    instructions: int
    virtual_ns: int
    output: bytes
    calls: dict[str, int]
    findings: tuple[Finding, ...]
    values: int
    injected: int
    status: int | None = None
    lost: bool = False
    hung: bool = False
    host_lost: bool = False
    answers: tuple[str, ...] = field(default=())
    samples: tuple[Finding, ...] = field(default=())
    """The first values that reached the guest, right or wrong."""
    drawn: tuple[Drawn, ...] = ()
    """What chance decided."""


class Station(Protocol):
    """A guest that is ready to run again and again from the same state."""

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome: ...


@runtime_checkable
class Stepping(Protocol):
    """A station whose guest does steps that it is given."""

    def run_steps(self, steps: list[str], faults: FaultPlan) -> Outcome: ...


def prepare(
    guest: Guest,
    profile: str | Profile,
    host_pmu: str,
    folder: Path | None,
    recorder: Recorder | None = None,
) -> Station:
    """The station of a guest; `folder` keeps snapshots of booted Linux. Raises VpmuError."""
    if isinstance(profile, str) and is_real(profile):
        from .real_stations import real_station

        return real_station(guest, profile, host_pmu, recorder)
    kinds: dict[str, Callable[..., Station]] = {
        "payload": PayloadStation, "linux": LinuxStation, "script": ScriptStation, "random": ScriptStation
    }  # fmt: skip
    return kinds[guest.kind](guest, profile, host_pmu, folder, recorder=recorder)


def _named(result: RunResult) -> dict[str, int]:
    from ..spec.sbi import error_name
    from ..spec.sbi_functions import function

    named: dict[str, int] = {}
    for (eid, fid, error), times in result.sbi_calls.items():
        key = f"{function(eid, fid).name} {error_name(error)}"
        named[key] = named.get(key, 0) + times
    return dict(sorted(named.items()))


def _watched(machine: Machine, faults: FaultPlan) -> Oracle:
    machine.inject(faults or None)
    oracle = Oracle(machine)
    oracle.attach()
    return oracle


class PayloadStation:
    """A payload, or any image: from its entry to its end."""

    def __init__(
        self, guest: Guest, profile: str | Profile, host_pmu: str, folder: Path | None = None,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        from ..payloads import path
        from ..vmm.machine import Machine

        self.machine = Machine(profile, host_pmu=host_pmu, memory=PAYLOAD_MEMORY, recorder=recorder)
        self.machine.load(guest.what if "/" in guest.what else str(path(guest.what)))
        self.snapshot = self.machine.snapshot()

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        """One run. The seed is the fault plan's."""
        machine = self.machine
        machine.inject(None)
        machine.restore(self.snapshot)
        oracle = _watched(machine, faults)
        result = machine.run(max_instructions=max_instructions)
        oracle.detach()
        return Outcome(
            result.stop, result.reason, result.instructions, result.virtual_ns, result.console,
            _named(result), tuple(oracle.findings), oracle.values, _injected(machine), result.reset_reason,
            lost=result.kvm_run_errno is not None, hung=result.stop in ("hung", "idle", "budget"),
            host_lost=result.fixed_by is not None,
            samples=tuple(oracle.samples), drawn=_drawn(machine),
        )  # fmt: skip


class LinuxStation:
    """Debian at its prompt, and one command."""

    def __init__(
        self, guest: Guest, profile: str, host_pmu: str, folder: Path | None,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        from ..vmm.linux.session import LinuxSession

        self.command = guest.what
        self.session = self._waiting(profile, host_pmu, folder)
        if recorder is not None:  # the boot itself is not recorded
            self.session = LinuxSession.from_snapshot(self.session.snapshot, recorder=recorder)

    def _waiting(self, profile: str, host_pmu: str, folder: Path | None) -> LinuxSession:
        """A session at the prompt, the kept one if there is one. To keep it takes nearly as long as to boot:
        so nobody does who is the first, and nobody waits for another's boot.
        """
        if folder is None:
            return _booted(profile, host_pmu)
        implementation = get_profile(profile)
        what = (
            f"{load_host_pmu(host_pmu)!r} {sorted(behaviour.name for behaviour in implementation.behaviours)}"
        )
        described = hashlib.sha256(what.encode()).hexdigest()[:8]
        kept = folder / f"linux-{implementation.name}-{Path(host_pmu).stem}-{described}.snapshot"
        mark = kept.with_suffix(".lock")
        keeps = mark.exists()  # somebody has booted it before
        try:
            with mark.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    keeps = False
                session = self._kept(kept) or _booted(profile, host_pmu)
                if keeps and not kept.exists():
                    with suppress(FileError):  # a full disk: everybody boots for himself
                        session.snapshot.save(kept)
        except OSError as error:
            raise FileError.from_os_error(kept, error) from None
        return session

    @staticmethod
    def _kept(path: Path) -> LinuxSession | None:
        """The session of a snapshot, None where there is none that fits."""
        from ..vmm.linux.session import LinuxSession
        from ..vmm.snapshot_file import load

        if not path.exists():
            return None
        try:
            return LinuxSession.from_snapshot(load(path, ours=True))
        except VpmuError:
            path.unlink(missing_ok=True)  # of another version, or damaged: made anew
            return None

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        """One run of the command from the prompt."""
        session = self.session
        machine = session.machine
        machine.inject(None)
        session.restore()
        before = machine.instructions
        oracle = _watched(machine, faults)
        answer = session.run(self.command, max_instructions=max_instructions, restore=False)
        oracle.detach()
        result = answer.result
        return Outcome(
            result.stop, answer.failure or result.reason, result.instructions - before, result.virtual_ns,
            answer.output, _named(result), tuple(oracle.findings), oracle.values, _injected(machine),
            answer.status,
            lost=result.kvm_run_errno is not None or answer.panic is not None,
            hung=answer.status is None and result.stop in ("hung", "idle", "budget"),
            host_lost=result.fixed_by is not None,
            samples=tuple(oracle.samples), drawn=_drawn(machine),
        )  # fmt: skip


def record_boot(profile: str, host_pmu: str, recorder: Recorder) -> None:
    """The trace of a boot that is known to fail."""
    with suppress(BootError):
        _booted(profile, host_pmu, recorder)


def _booted(profile: str, host_pmu: str, recorder: Recorder | None = None) -> LinuxSession:
    from ..vmm.linux.fetch import debian_guest
    from ..vmm.linux.session import LinuxSession
    from ..vmm.machine import Machine

    debian = debian_guest()

    def build(sink: Callable[[bytes], None], bootargs: str) -> Machine:
        return Machine(
            profile, host_pmu=host_pmu, memory=LINUX_MEMORY, console_out=sink, bootargs=bootargs, plic=True,
            recorder=recorder,
        )  # fmt: skip

    return LinuxSession.boot(build, debian.kernel_image(), debian.initramfs())


class ScriptStation:
    """A scripted guest: its steps, or as many steps as are wanted, drawn with the run's seed."""

    def __init__(
        self, guest: Guest, profile: str | Profile, host_pmu: str, folder: Path | None = None,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        from ..vmm.machine import Machine

        self.guest = guest
        self.machine = Machine(profile, host_pmu=host_pmu, memory=SIZE, recorder=recorder)
        self.script = Script(self.machine)
        self.snapshot = self.machine.snapshot()

    def run(self, faults: FaultPlan, seed: int, max_instructions: int) -> Outcome:
        """One run of the steps."""
        if self.guest.kind == "random":
            return self.run_steps(random_steps(int(self.guest.what), seed), faults)
        return self.run_steps(self.guest.what.replace("; ", "\n").splitlines(), faults)

    def run_steps(self, steps: list[str], faults: FaultPlan) -> Outcome:
        """One run of any steps."""
        machine = self.machine
        machine.inject(None)
        machine.restore(self.snapshot)
        oracle = _watched(machine, faults)
        self.script.begin()
        try:
            answers = self.script.run(parse_script("\n".join(steps)))
        finally:
            oracle.detach()
        calls: dict[str, int] = {}
        for answer in answers:
            key = f"{answer.step.partition(' ')[0]} {answer.observed.partition(' ')[0]}"
            calls[key] = calls.get(key, 0) + 1
        lost: str | None = self.script.lost
        host = self.script.host_lost
        stop = "script" if lost is None else "kvm_run_failed" if host is None else "host_lost"
        reason = "all steps are done" if lost is None else lost if host is None else host.reason
        lines = tuple(f"{answer.step} → {answer.observed}" for answer in answers)
        return Outcome(
            stop, reason, machine.instructions, machine.time,
            "\n".join(lines).encode(), dict(sorted(calls.items())), tuple(oracle.findings), oracle.values,
            _injected(machine), 0 if lost is None else None, lost=lost is not None, answers=lines,
            host_lost=host is not None,
            samples=tuple(oracle.samples), drawn=_drawn(machine),
        )  # fmt: skip


def _injected(machine: Machine) -> int:
    return 0 if machine.injection is None else machine.injection.injector.fired


def _drawn(machine: Machine) -> tuple[Drawn, ...]:
    return () if machine.injection is None else tuple(machine.injection.injector.drawn)


_EVENTS = (
    "cycles",
    "instructions",
    "ref-cycles",
    "bus-cycles",
    "iTLB-loads",
    "fw:set_timer",
    "branch-misses",
)
_FLAGS = ("clear", "clear+auto", "clear+skip", "auto", "clear+uinh")
_VALUES = ("0", "1000", "-1", "-100", "0x7fffffffffffffff", "2^63")


def random_steps(number: int, seed: int) -> list[str]:
    """Steps that a guest's driver could take, drawn with a seed: configure, start, work, read, stop, in
    any order.
    """
    rng = random.Random(seed)
    steps = []
    for _ in range(number):
        counter = rng.choice(("0", "2", "3", "4", "3-4", "0,3", "19"))
        draw = rng.random()
        if draw < 0.25:
            where = rng.choice(("", f" counters={counter}"))
            flags = rng.choice(_FLAGS)
            if "skip" in flags:
                where = f" counters={counter}"
            steps.append(f"config {rng.choice(_EVENTS)}{where} flags={flags}")
        elif draw < 0.42:
            steps.append(f"start {counter} {rng.choice(('keep', 'value=' + rng.choice(_VALUES), 'value=0'))}")
        elif draw < 0.65:
            steps.append(f"work {rng.choice((1, 50, 100, 1000))}")
        elif draw < 0.85:
            steps.append(f"read {rng.choice('0234')}")
        elif draw < 0.95:
            steps.append(f"stop {counter}{rng.choice(('', '', ' reset', ' snapshot'))}")
        else:
            steps.append(rng.choice(("shmem page", "reset", "clear", "shmem none")))
    return steps
