"""`vpmu demo --real`: the three scenarios in a stock Debian kernel with its KVM, on our own hart.

Before the fix means: 2196c066f138 undone at run time in the stock module, by hooks that its kernel cannot see
(vpmu.peers.hooks). Each row is held against the model's answer.
"""

from __future__ import annotations

import argparse
import errno
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..spec.sbi import Eid, PmuFid, SbiError, StartFlag, error_name
from .demo import BEFORE, Scenario, run_guest, what_happens
from .options import host_options
from .output import errno_name, print_json, say, table

if TYPE_CHECKING:
    from ..conform.hooked import HookedHost
    from ..peers.hooks import HostCall

FIX = "2196c066f138"
CACHE_MISSES, INSTRUCTIONS = 3, 2  # event_idx of the general hardware events
PLAIN = 0x7FFFD
"""The counters of the host's hardware."""
LOOP = 1_000_000
"""The guest's loop has twice as many instructions."""
REFUSING, REFUSAL = "pmu_sbi_event_map", errno.ENOENT
"""The function of the host's driver that says whether it has an event, and what it says."""


@dataclass(frozen=True, slots=True)
class RealRow:
    """One scenario on real KVM, with the fix or without it."""

    scenario: str
    host_answer: str
    fixed: bool
    gets: str
    """What the guest gets for what it asks."""
    goes_on: bool
    """The guest's next calls are answered."""
    counted: int | None
    model: str

    @property
    def agrees(self) -> bool:
        """The model says the same."""
        return self.gets == self.model

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.scenario, "fixed": self.fixed, "real": self.gets, "model": self.model,
            "guest_goes_on": self.goes_on, "counted": self.counted,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RealScenario:
    """What the hart of the host is like, what its guest asks for, and whether the host's perf refuses it."""

    model: Scenario
    host_answer: str
    event: int
    isa: tuple[str, ...] = ()
    host_pmu: str = "full"
    refused: bool = False


SCENARIOS = (
    RealScenario(Scenario("no-pmu", "counting", host_pmu="none"), "no PMU in the hart", INSTRUCTIONS,
                 ("h", "sstc"), "none"),
    RealScenario(Scenario("event-fails", "failing-event", "full", errno_injected=REFUSAL),
                 f"{REFUSING}: {errno_name(REFUSAL)}", CACHE_MISSES, refused=True),
    RealScenario(Scenario("normal", "counting", "full"), "counts", INSTRUCTIONS),
)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the six; 0 where real KVM and the model say the same everywhere, 4 where there is no Debian."""
    from ..conform.hooked import HookedHost
    from ..conform.kvm import VPMU
    from ..conform.target import PeerAbsent
    from ..conform.targets import host_options as of_target
    from ..conform.targets import is_kvm
    from ..vmm.linux.progress import Progress

    if not is_kvm(args.real):
        raise UsageError("--real", expected="kvm, kvm:SUITE", got=args.real)
    chosen = of_target(args.real, host_options(args))
    chosen = replace(chosen, on=chosen.on or VPMU, progress=Progress(quiet=args.json))
    hosts: dict[tuple[str, ...], HookedHost] = {}
    rows = []
    for scenario in SCENARIOS:
        key = (*scenario.isa, scenario.host_pmu)
        if key not in hosts:
            options = replace(chosen, isa=scenario.isa, host_pmu=scenario.host_pmu)
            try:
                hosts[key] = HookedHost(options)
            except PeerAbsent as absent:
                say(f"skip: {absent.what}")
                return absent.exit_status
        rows += [run_row(hosts[key], scenario, fixed=fixed) for fixed in (False, True)]
    release = next(iter(hosts.values())).target.facts.kernel.split(" #")[0]
    wrong = sum(not row.agrees for row in rows)
    if args.json:
        print_json({"kernel": release, "rows": [row.as_object() for row in rows], "wrong": wrong})
    else:
        print(text(release, rows))
        said = f"{wrong} of {len(rows)} rows: the model says something else"
        print(said if wrong else f"Real KVM and the model say the same in all {len(rows)} rows.")
    return 1 if wrong else 0


def run_row(host: HookedHost, scenario: RealScenario, *, fixed: bool) -> RealRow:
    """One guest in a fresh VM of real KVM, and what the model says of the same."""
    from ..peers.host_faults import undo

    if scenario.refused:
        refuse(host, scenario)
    if not fixed:
        undo(host.hooks, FIX)
    try:
        gets, goes_on, counted = ask(host, scenario.event)
    finally:
        host.hooks.remove()
    profile = host.target.profile.name if fixed else BEFORE
    model = what_happens(run_guest(scenario.model, profile))
    return RealRow(scenario.model.name, scenario.host_answer, fixed, gets, goes_on, counted, model)


def refuse(host: HookedHost, scenario: RealScenario) -> None:
    """The host's driver has no such event."""
    asked = host.kernel.function("kvm_riscv_vcpu_pmu_ctr_cfg_match")
    wanted: list[bool] = [False]

    def configured(call: HostCall) -> None:
        wanted[0] = call.arguments[4] == scenario.event

    def mapped(call: HostCall) -> None:
        if wanted[0]:
            call.answer(-REFUSAL)

    host.hooks.on(asked, configured)
    host.hooks.on(host.kernel.function(REFUSING), mapped)


def ask(host: HookedHost, event: int) -> tuple[str, bool, int | None]:
    """The guest asks for a counter, runs a loop, reads it; what it got, whether its later calls were
    answered, and the count.
    """
    from ..conform.calls import Call, ecall, pmu

    def config(event: int) -> Call:
        return pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, PLAIN, 0, event, 0)

    host.fresh()
    target = host.target
    probe, asked = target.run([ecall(Eid.BASE, 3, Eid.PMU), config(event)])
    counted = None
    if asked.error == SbiError.SUCCESS:
        number = asked.value
        *_, counted = target.run([
            pmu(PmuFid.COUNTER_START, number, 1, StartFlag.SET_INIT_VALUE, 0),
            Call("w", (LOOP,)),
            pmu(PmuFid.COUNTER_STOP, number, 1, 0),
            Call("c", (number,)),
        ])  # fmt: skip
    after = target.run([config(INSTRUCTIONS), pmu(PmuFid.NUM_COUNTERS)])
    goes_on = all(answer.errno is None for answer in after)
    if not probe.value:
        return "no PMU extension", goes_on, None
    if asked.errno is not None:
        return f"KVM_RUN: {errno_name(asked.errno)}", goes_on, None
    if counted is None:
        return f"SBI_ERR_{error_name(asked.error or 0)}", goes_on, None
    return "counts", goes_on, counted.value


def text(release: str, rows: list[RealRow]) -> str:
    """The table."""
    from ..profiles.commits import COMMITS

    heading = (
        f"{release}, its stock kvm.ko, on a hart of ours. Before the fix: Linux {FIX} "
        f'("{COMMITS[FIX]}") undone at run time.'
    )
    heads = ("scenario", "host", "KVM", "what the guest gets", "model", "guest goes on", "counted")
    cells = [
        (
            row.scenario, row.host_answer, "stock" if row.fixed else "fix undone", row.gets,
            "the same" if row.agrees else row.model, "yes" if row.goes_on else "no",
            "" if row.counted is None else f"{row.counted:,}",
        )
        for row in rows
    ]  # fmt: skip
    return "\n".join([textwrap.fill(heading, 80), "", table(heads, cells, right=frozenset({6})), ""])
