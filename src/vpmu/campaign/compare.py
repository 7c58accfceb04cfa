"""One guest under two profiles: what changed, from which call on, and which behaviours (with commits)
explain it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from ..brief import Brief
from ..faults.plan import FaultPlan
from ..profiles.behaviour import Behaviour
from ..profiles.profiles import Profile, changed, get_profile
from ..trace.recorder import Record, Recorder
from ..vmm.machine import Machine, RunResult
from ..vmm.run_result import Limits
from .difference import first_difference, first_that_matters
from .oracle import Oracle

MAX_RECORDS = 200_000
LINUX = "linux:"
"""What a guest's name begins with when the rest is a command for Linux, as in a campaign's plan."""
MOST_OF_A_PAYLOAD, MOST_OF_LINUX = 50_000_000, 10_000_000_000
"""Instructions of a run, where the caller names no limit."""
Limited = Callable[[Machine], AbstractContextManager[Limits]]
Told = Callable[[str, float], None]
"""What runs now, and which share of the work is done."""


@dataclass(frozen=True, slots=True, repr=False)
class Side(Brief):
    """What one of the two did."""

    profile: Profile
    result: RunResult
    calls: tuple[Record, ...]
    findings: tuple[str, ...]

    @property
    def end(self) -> str:
        """How the run ended, in a few words."""
        result = self.result
        if result.kvm_run_errno is not None:
            from ..perf.event import errno_name

            return f"KVM_RUN failed with {errno_name(result.kvm_run_errno)}"
        return result.stop if result.reset_reason is None else f"{result.stop}, reason {result.reset_reason}"

    @property
    def answers(self) -> dict[str, int]:
        """SBI calls by function and answer."""
        from ..spec.sbi import error_name
        from ..spec.sbi_functions import function

        found: Counter[str] = Counter()
        for (eid, fid, error), times in self.result.sbi_calls.items():
            found[f"{function(eid, fid).name} → {error_name(error)}"] += times
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Explained:
    """A behaviour that makes a difference here: exchanged alone, the run is another one."""

    behaviour: Behaviour
    in_first: bool
    change: str
    weight: int = 0
    """0 explains the most of the difference."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both runs and what tells them apart."""

    guest: str
    faults: FaultPlan
    first: Side
    second: Side
    differs_at: int | None
    """Index of the first SBI call with another answer or other arguments; None: all are the same."""
    parted: tuple[int, int] | None = None
    """Where the first difference that matters is, as an index in the calls of each."""
    explained: tuple[Explained, ...] = field(default=())
    """What explains the most comes first."""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """(what, first, second) of everything that can be put side by side."""
        one, two = self.first, self.second
        rows = [
            ("end", one.end, two.end),
            ("instructions", f"{one.result.instructions:,}", f"{two.result.instructions:,}"),
            ("virtual time", f"{one.result.virtual_ns:,} ns", f"{two.result.virtual_ns:,} ns"),
            ("exits to user space", str(one.result.exits), str(two.result.exits)),
            ("wrong counts", str(len(one.findings)), str(len(two.findings))),
        ]
        kinds = sorted({*one.result.exit_counts, *two.result.exit_counts})
        rows += [
            (
                f"exits: {kind}",
                str(one.result.exit_counts.get(kind, 0)),
                str(two.result.exit_counts.get(kind, 0)),
            )
            for kind in kinds
        ]
        names = sorted({*one.answers, *two.answers})
        rows += [(name, str(one.answers.get(name, 0)), str(two.answers.get(name, 0))) for name in names]
        return rows

    @property
    def changed(self) -> bool:
        """False: nobody could tell the two apart."""
        return self.differs_at is not None or any(one != two for _, one, two in self.rows)


def compare(
    first: str, second: str, image: str | bytes, faults: FaultPlan, *, name: str = "guest",
    host_pmu: str = "full", limited: Limited | None = None, memory: int = 16 << 20,
    progress: Told = lambda what, share: None,
) -> Comparison:  # fmt: skip
    """Run the guest under both. `image`: a file or its bytes, or `linux: COMMAND` for the fetched Debian,
    booted for every run. `limited(machine)`: a context that gives the arguments of Machine.run; without
    instructions, they are MOST_OF_A_PAYLOAD or MOST_OF_LINUX. `progress` is told what runs now, and how much
    of the runs that explain is done. Raises VpmuError for a profile or an image that is none.
    """
    command = image[len(LINUX) :].strip() if isinstance(image, str) and image.startswith(LINUX) else None
    most = MOST_OF_A_PAYLOAD if command is None else MOST_OF_LINUX

    def run(profile: Profile) -> Side:
        recorder = Recorder()
        if command is not None:
            machine, go = _linux(profile, host_pmu, recorder, command)
        else:
            machine = Machine(profile, host_pmu=host_pmu, memory=memory, recorder=recorder)
            machine.load(image)
            go = machine.run
        machine.inject(faults or None)
        oracle = Oracle(machine)
        oracle.attach()
        with nullcontext(Limits()) if limited is None else limited(machine) as limits:
            result = go(limits.get("max_instructions") or most, limits.get("timeout_ns"))
        calls = tuple(
            record for record in recorder.records
            if (record.layer == "sbi" and record.actor != "fault") or record.actor == "KVM_RUN"
        )[:MAX_RECORDS]  # fmt: skip
        return Side(profile, result, calls, tuple(map(str, oracle.findings)))

    profiles = get_profile(first), get_profile(second)
    sides = []
    for profile in profiles:
        progress(profile.name, 0.0)
        sides.append(run(profile))
    one, two = sides
    at, parted = first_difference(one.calls, two.calls), first_that_matters(one.calls, two.calls)
    found = Comparison(name, faults, one, two, at, parted)
    if not found.changed:
        return found
    explained = sorted(_explain(one, two, run, progress), key=lambda one_of: one_of.weight)
    return replace(found, explained=tuple(explained))


def _linux(
    profile: Profile, host_pmu: str, recorder: Recorder, command: str
) -> tuple[Machine, Callable[[int, int | None], RunResult]]:
    """A machine that boots the fetched Debian up to the end of a command, and what runs it."""
    from ..vmm.linux.boot import LinuxBoot
    from ..vmm.linux.fetch import debian_guest

    debian = debian_guest()
    boot = LinuxBoot(debian.kernel_image(), debian.initramfs(), command=command)
    machine = boot.machine(profile=profile, host_pmu=host_pmu, recorder=recorder)
    machine.serial.hold()
    return machine, lambda most, timeout: boot.run(max_instructions=most, timeout_ns=timeout).result


def _explain(one: Side, two: Side, run: Callable[[Profile], Side], progress: Told) -> Iterator[Explained]:
    """Exchange one behaviour at a time in the first profile, and see whether the run becomes another one."""
    base = one.profile
    differing = sorted(base.behaviours ^ two.profile.behaviours, key=lambda behaviour: behaviour.name)
    differing = [behaviour for behaviour in differing if behaviour.project == "Linux"]
    parted = first_that_matters(one.calls, two.calls)
    for number, behaviour in enumerate(differing, 1):
        has = behaviour in base.behaviours
        word = "without" if has else "with"
        progress(
            f"{base.name} {word} {behaviour.name} ({number} of {len(differing)})", number / len(differing)
        )
        with_, without = ((), (behaviour.name,)) if has else ((behaviour.name,), ())
        other = run(changed(base, with_, without))
        change = _change(one, other)
        if change:
            yield Explained(behaviour, has, change, _weight(one, two, other, parted))


def _change(one: Side, other: Side) -> str:
    """How a run with one behaviour exchanged differs, in words; "" where it does not."""
    at = first_difference(one.calls, other.calls)
    if other.end != one.end:
        return f"the run ends with {other.end}"
    if at is not None and at < len(other.calls):
        return f"call {at + 1} ({other.calls[at].actor}) is another one"
    if len(other.findings) != len(one.findings):
        return f"{len(other.findings)} wrong counts instead of {len(one.findings)}"
    if other.result.instructions != one.result.instructions or other.result.console != one.result.console:
        return "the guest sees other values"
    return ""


def _weight(one: Side, two: Side, other: Side, parted: tuple[int, int] | None) -> int:
    """How much of the difference an exchange explains, 0 the most: it gives the other profile's end, its
    answer where the runs part, another end, as many wrong counts; anything else.
    """
    answer = None if parted is None or parted[1] >= len(two.calls) else two.calls[parted[1]]
    asked = None if answer is None else (answer.actor, answer.args)
    answered = parted is not None and any(
        (record.actor, record.args) == asked and answer is not None and record.result == answer.result
        for record in other.calls[parted[0] : parted[0] + 1]
    )
    reasons = (
        one.end != two.end and other.end == two.end,
        answered,
        other.end != one.end,
        len(one.findings) != len(two.findings) and len(other.findings) == len(two.findings),
    )
    return reasons.index(True) if True in reasons else len(reasons)
