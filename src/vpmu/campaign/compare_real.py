"""One guest on two implementations of which at least one is a real kernel: what it was told, what its calls
cost each host, and the functions of both kernels where the runs part.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..brief import Brief
from ..conform.hooked import HookedHost
from ..conform.kvm import HostOptions
from ..conform.real_guest import BASE, MEMORY
from ..conform.watched_guest import MOST, GuestRun, WatchedGuest, guest_memory, is_linux
from ..debug.call_tree import Called, CallTree
from ..errors import UsageError
from ..faults.plan import FaultPlan
from ..profiles.profiles import get_profile
from ..spec.sbi import error_name
from ..trace.recorder import Recorder
from ..vmm.machine import Machine
from .difference import first_difference, first_that_matters


@dataclass(frozen=True, slots=True, repr=False)
class RealSide(Brief):
    """One of the two. `label`: as the command line names it; `kernel`: what runs there."""

    label: str
    kernel: str
    run: GuestRun
    guest: WatchedGuest | None
    """None: the model."""

    @property
    def answers(self) -> dict[str, int]:
        """SBI calls by function and answer."""
        found: Counter[str] = Counter()
        for call in self.run.calls:
            result = call.result
            if call.action == "kvm-run-error":
                shown = "KVM_RUN fails"
            elif isinstance(result, tuple):
                shown = error_name(result[0])
            else:
                shown = str(result)
            found[f"{call.actor} → {shown}"] += 1
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Path:
    """The functions on the way of the call where the runs part. `mark`: ` ` in both, `-` and `+` in one."""

    mark: str
    first: Called | None
    second: Called | None

    @property
    def function(self) -> Called:
        """Whichever there is."""
        one = self.first or self.second
        assert one is not None
        return one


@dataclass(frozen=True, slots=True)
class RealComparison:
    """Both runs. `differs_at`: the first call with another answer or other arguments, None where all are the
    same; `parted`: the first difference that matters, as an index in the calls of each.
    """

    name: str
    faults: FaultPlan
    first: RealSide
    second: RealSide
    differs_at: int | None
    parted: tuple[int, int] | None
    paths: tuple[Path, ...] = ()
    cut: bool = False
    """A call takes more instructions than were stepped through: its path is not whole."""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """(what, first, second) of what the guest can tell."""
        one, two = self.first.run, self.second.run
        rows = [
            ("end", one.end, two.end),
            ("instructions of the guest", f"{one.guest:,}", f"{two.guest:,}"),
            ("console", *_texts(one.console, two.console)),
            ("counters read", str(len(one.counts)), str(len(two.counts))),
        ]
        wrong = next(
            (i for i, both in enumerate(zip(one.counts, two.counts, strict=False)) if both[0] != both[1]),
            None,
        )
        if wrong is not None:
            rows.append((f"reading {wrong + 1}", _count(one.counts[wrong]), _count(two.counts[wrong])))
        names = sorted({*self.first.answers, *self.second.answers})
        rows += [
            (name, str(self.first.answers.get(name, 0)), str(self.second.answers.get(name, 0)))
            for name in names
        ]
        return rows

    @property
    def host_rows(self) -> list[tuple[str, str, str]]:
        """(what, first, second) of what only the hosts know: exits, instructions of each call. Empty where
        one of the two is the model.
        """
        if self.first.guest is None or self.second.guest is None:
            return []
        one, two = self.first.run, self.second.run
        rows = [("instructions of the host", f"{one.host:,}", f"{two.host:,}")]
        rows += [
            (f"exits: {kind}", str(one.exits.get(kind, 0)), str(two.exits.get(kind, 0)))
            for kind in sorted({*one.exits, *two.exits})
        ]
        rows += [
            (f"host per call: {name}", _cost(one.costs.get(name)), _cost(two.costs.get(name)))
            for name in sorted({*one.costs, *two.costs})
        ]
        return rows

    @property
    def changed(self) -> bool:
        """False: the guest cannot tell the two apart."""
        return self.differs_at is not None or any(one != two for _, one, two in self.rows)


Named = tuple[str, HostOptions | None]
"""A side: its label, and its host; None: the model of the profile of that name."""
Told = Callable[[str], None]


def compare_real(
    first: Named, second: Named, image: str | bytes, faults: FaultPlan, *, name: str = "guest",
    told: Told = lambda what: None,
) -> RealComparison:  # fmt: skip
    """Run the guest on both. Raises VpmuError for a host that cannot be had or an image that is none."""
    sides = []
    for label, options in (first, second):
        told(label)
        sides.append(_side(label, options, image, faults))
    one, two = sides
    at = first_difference(one.run.calls, two.run.calls)
    parted = first_that_matters(one.run.calls, two.run.calls)
    if parted is None:
        return RealComparison(name, faults, one, two, at, parted)
    trees = [
        None if side.guest is None else side.guest.path(where)
        for side, where in zip((one, two), parted, strict=True)
    ]
    cut = any(tree is not None and tree.cut for tree in trees)
    return RealComparison(name, faults, one, two, at, parted, tuple(_paths(trees)), cut)


def _side(label: str, options: HostOptions | None, image: str | bytes, faults: FaultPlan) -> RealSide:
    if options is None:
        return RealSide(label, f"the model of {label}", _modelled(label, image, faults), None)
    host = HookedHost(replace(options, guest_memory=guest_memory(image)))
    guest = WatchedGuest(host, image, faults or None)
    return RealSide(label, host.target.facts.kernel, guest.run(), guest)


def _modelled(profile: str, image: str | bytes, faults: FaultPlan) -> GuestRun:
    """The same on the model, told in the same words. UsageError for Linux: its machine is another one."""
    if is_linux(image):
        raise UsageError(f"{image!s} on {profile}", expected="a payload, or two real kernels", got="Linux")
    recorder = Recorder()
    machine = Machine(
        get_profile(profile), host_pmu="full", memory=MEMORY, memory_base=BASE, recorder=recorder
    )
    machine.load(image)
    machine.inject(faults or None)
    result = machine.run(max_instructions=MOST)
    records = recorder.records
    calls = tuple(one for one in records if one.layer == "sbi" and one.actor != "fault")
    counts = tuple(
        (int(str(one.args["csr"])), int(str(one.result)))
        for one in records if one.actor == "csr" and one.action == "read"
    )  # fmt: skip
    if result.kvm_run_errno is not None:
        from ..perf.event import errno_name

        end = f"KVM_RUN failed with {errno_name(result.kvm_run_errno)}"
    else:
        end = result.stop if result.reset_reason is None else f"{result.stop}, reason {result.reset_reason}"
    fired = 0 if machine.injection is None else machine.injection.injector.fired
    return GuestRun(end, result.console, calls, counts, {}, result.instructions, 0, {}, fired)


def _count(reading: tuple[int, int]) -> str:
    return f"{reading[0]:#x}: {reading[1]:,}"


def _cost(costs: list[int] | None) -> str:
    """The cheapest of a function's calls, and what all of them took."""
    if not costs:
        return "-"
    return f"{min(costs):,}" if len(costs) == 1 else f"{min(costs):,} ({len(costs)}: {sum(costs):,})"


def _texts(one: bytes, two: bytes) -> tuple[str, str]:
    """Two consoles in a cell each: the first line that is not the same."""
    if one == two:
        return (f"{len(one)} bytes",) * 2
    left, right = (text.decode("utf-8", "replace").splitlines() for text in (one, two))
    for mine, other in zip(left, right, strict=False):
        if mine != other:
            return mine, other
    return f"{len(left)} lines", f"{len(right)} lines"


# --- the functions on both paths


def _paths(walked: Sequence[CallTree | None]) -> Iterator[Path]:
    """The functions of both kernels on the way of the call where the runs part."""
    trees = [[] if tree is None else tree.told() for tree in walked]
    if not any(trees):
        return
    keys = [[(call.depth, call.layer, call.function.partition(".")[0]) for call in tree] for tree in trees]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for tag, i, j, m, n in matcher.get_opcodes():
        if tag == "equal":
            yield from (Path(" ", *both) for both in zip(trees[0][i:j], trees[1][m:n], strict=True))
            continue
        yield from (Path("-", call, None) for call in trees[0][i:j])
        yield from (Path("+", None, call) for call in trees[1][m:n])
