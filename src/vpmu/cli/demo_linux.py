"""The scenarios of `vpmu demo` in a stock Debian guest, told by its own perf: `vpmu demo --linux`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .output import print_json, table

if TYPE_CHECKING:
    from ..vmm.linux.boot import Outcome

EVENTS = "cycles,instructions,cache-misses,dTLB-load-misses"
STAT = f"dmesg | grep -i -e riscv-pmu -e 'legacy pmu'; perf stat -x, -e {EVENTS} true 2>&1"
NOT_SUPPORTED, ZERO, COUNTS = "<not supported>", "0", "a count"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine to boot on, and what perf stat must print in it; `lost`: the errno with which KVM_RUN fails
    instead.
    """

    name: str
    expected: Mapping[str, str]
    profile: str | None = None
    machine: Mapping[str, object] = field(default_factory=dict)
    lost: str | None = None


def _all(**other: str) -> dict[str, str]:
    table = {
        "cycles": COUNTS,
        "instructions": COUNTS,
        "cache-misses": NOT_SUPPORTED,
        "dTLB-load-misses": COUNTS,
    }
    return table | {name.replace("_", "-"): value for name, value in other.items()}


SCENARIOS = (
    # Without a PMU from KVM the guest has its legacy driver; KVM answers that one's reads of cycle and
    # instret with 0.
    Scenario(
        "no-pmu",
        _all(cycles=ZERO, instructions=ZERO, dTLB_load_misses=NOT_SUPPORTED),
        machine={"host_pmu": "none"},
    ),
    Scenario("event-fails, before the fix", {}, profile="kvm-6.9", lost="ENOENT"),
    Scenario("event-fails", _all(cycles=NOT_SUPPORTED), machine={"refuse": {"cycles": "EBUSY"}}),
    Scenario("counter starved", _all(dTLB_load_misses=ZERO), machine={"starve": 16}),
    Scenario("normal", _all()),
)


def run(args: argparse.Namespace) -> int:
    """Boot every scenario; 0 if the guest's perf says what KVM makes it say."""
    told: list[dict[str, object]] = []
    wrong = 0
    for scenario in SCENARIOS:
        outcome, output = boot(scenario)
        counts = perf_counts(output)
        right = as_expected(scenario, outcome, counts)
        wrong += not right
        lines = [line for line in output.splitlines() if "PMU" in line or "pmu" in line]
        told.append({
            "scenario": scenario.name, "profile": scenario.profile, "as_expected": right,
            "stop": outcome.result.stop, "failure": outcome.failure, "counts": counts, "dmesg": lines,
            "instructions": outcome.result.instructions,
        })  # fmt: skip
        if not args.json:
            print(text(scenario, outcome, counts, lines, right), flush=True)
    if args.json:
        print_json({"scenarios": told})
    return 1 if wrong else 0


def boot(scenario: Scenario) -> tuple[Outcome, str]:
    """Run perf stat in the guest on the scenario's machine."""
    from ..vmm.linux.boot import LinuxBoot
    from ..vmm.linux.fetch import debian_guest
    from .options import DEFAULT_PROFILE

    guest = debian_guest()
    output = bytearray()
    linux = LinuxBoot(guest.kernel_image(), guest.initramfs(), command=STAT, output=output.extend)
    linux.machine(profile=scenario.profile or DEFAULT_PROFILE, **scenario.machine)
    return linux.run(timeout_ns=20 * 10**9), output.decode("utf-8", "replace")


def perf_counts(output: str) -> dict[str, str]:
    """What perf stat -x, printed for each event."""
    lines = [line.split(",") for line in output.splitlines()]
    return {fields[2]: fields[0] for fields in lines if len(fields) >= 5}


def as_expected(scenario: Scenario, outcome: Outcome, counts: Mapping[str, str]) -> bool:
    """Whether it came out as expected."""
    if scenario.lost is not None:
        return outcome.failure is not None and f"KVM_RUN failed with {scenario.lost}" in outcome.failure
    if not outcome.ok or counts.keys() != scenario.expected.keys():
        return False
    return all(
        (value.isdigit() and int(value) > 0)
        if scenario.expected[name] == COUNTS
        else value == scenario.expected[name]
        for name, value in counts.items()
    )


def text(
    scenario: Scenario, outcome: Outcome, counts: Mapping[str, str], dmesg: list[str], right: bool
) -> str:
    """A scenario for people."""
    verdict = "as expected" if right else "NOT as expected"
    head = f"{scenario.name} ({scenario.profile or 'newest KVM'}): {verdict}"
    lines = [head, *(f"  {line}" for line in dmesg)]
    if outcome.failure is not None:
        lines.append(f"  {outcome.failure}")
    if counts:
        rows = table(("event", "perf stat"), list(counts.items()), right=frozenset({1}))
        lines += [f"  {row}" for row in rows.splitlines()]
    return "\n".join(lines) + "\n"
