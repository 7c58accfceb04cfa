"""The three scenarios of a host that cannot give an event, each before the fix of Linux 2196c066f138 and
with the newest KVM.

no-pmu: the host has no PMU that KVM can use, so the guest is offered none. event-fails: the host's perf
refuses the event that the guest asks for. normal: events that the host has. Each line is a real guest, in
machine code, on a machine of its own. Exit status 0 when all of it comes out as on the real systems, 1 when
not; 4 when `--perf host` has no perf_event_open, or `--real` no Debian.
"""

from __future__ import annotations

import argparse
import errno
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError
from .options import DEFAULT_PROFILE, Subparsers, add_host_options, add_json
from .output import Console, errno_name, print_json, table

BEFORE, AFTER = "kvm-6.9", DEFAULT_PROFILE
FAILING_EVENT = "cache-misses"
"""What the payload `failing-event` asks for."""
ERRNOS = (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOMEM, errno.EBUSY)
MAX_INSTRUCTIONS = 200_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One guest to run: on which host PMU, and which errno the failing event meets."""

    name: str
    payload: str
    host_pmu: str = "qemu-virt"
    errno_injected: int | None = None
    perf: str = "model"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one guest fared under one profile. `sbi_error` is what the refused counter_config_matching
    answered."""

    scenario: Scenario
    profile: str
    stop: str
    kvm_run_errno: int | None
    sbi_error: int | None
    guest_finished: bool
    instructions: int
    exits: int
    console: str


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu demo`."""
    parser = subparsers.add_parser("demo", description=__doc__)
    parser.add_argument(
        "--perf",
        choices=("model", "host"),
        default="model",
        help="host: events come from this machine's own kernel",
    )
    parser.add_argument(
        "--linux", action="store_true", help="the same in a stock Debian guest, with its own perf"
    )
    parser.add_argument(
        "--real",
        nargs="?",
        const="kvm",
        metavar="TARGET",
        help="the same in a stock Debian KVM host on our hart (kvm:trixie), the fix undone at run time",
    )
    add_host_options(parser, on=False)
    add_json(parser)
    return parser


def scenarios(perf: str) -> list[Scenario]:
    """What there is to run."""
    if perf == "host":
        return [
            Scenario("event-fails", "failing-event", perf="host"),
            Scenario("normal", "counting", perf="host"),
        ]
    # A host that has the event: the kernel looks for an exclusive PMU (EBUSY) only after it has found one.
    failing = [Scenario("event-fails", "failing-event", "full", errno_injected=number) for number in ERRNOS]
    return [Scenario("no-pmu", "counting", host_pmu="none"), *failing, Scenario("normal", "counting")]


def run(args: argparse.Namespace) -> int:
    """Run the scenarios; the exit status."""
    chosen = [name for name in ("--linux", "--real") if getattr(args, name[2:])]
    chosen += ["--perf host"] * (args.perf == "host")
    if len(chosen) > 1:
        raise UsageError(" with ".join(chosen), expected="one of them", got="both")
    if args.host_kernel is not None and not args.real:
        raise UsageError("--host-kernel", expected="--real beside it", got="none")
    if args.real:
        from .demo_real import run as run_real

        return run_real(args)
    if args.linux:
        from .demo_linux import run as run_linux

        return run_linux(args)
    if args.perf == "host":
        refused = no_perf_event_open()
        if refused is not None:
            print(f"skip: this machine does not let us call perf_event_open: {refused}")
            return 4
    outcomes = [
        run_guest(scenario, profile) for scenario in scenarios(args.perf) for profile in (BEFORE, AFTER)
    ]
    wrong = check(outcomes) if args.perf == "model" else []
    if args.json:
        print_json({"scenarios": [as_object(outcome) for outcome in outcomes], "wrong": wrong})
    else:
        print(text(outcomes))
        if args.perf == "model" and not wrong:
            print(f"All {len(outcomes)} runs came out as on the real systems.")
        for line in wrong:
            print(f"not as on the real systems: {line}")
    return 1 if wrong else 0


def no_perf_event_open() -> str | None:
    """Why perf_event_open cannot be called at all on this machine; None where it can, whatever it answers."""
    from ..perf.event import PerfError
    from ..perf.linux import LinuxPerf
    from ..spec.perf import PerfEventAttr, PerfHw, PerfType

    try:
        LinuxPerf().create(PerfEventAttr(PerfType.HARDWARE, PerfHw.CPU_CYCLES, disabled=True)).release()
    except PerfError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            return error.reason
    return None


def run_guest(scenario: Scenario, profile: str) -> Outcome:
    """Run the scenario's payload under `profile`, in machine code."""
    from ..payloads import path
    from ..trace.recorder import Record, Recorder
    from ..vmm.machine import Machine

    errors: list[int] = []

    def note(record: Record) -> None:
        if (
            record.layer == "sbi"
            and record.actor == "counter_config_matching"
            and isinstance(record.result, tuple)
        ):
            errors.append(record.result[0])

    console = Console(None)
    machine = Machine(
        profile=profile,
        host_pmu=scenario.host_pmu,
        perf=scenario.perf,
        memory=16 << 20,
        recorder=Recorder(note),
        refuse={} if scenario.errno_injected is None else {FAILING_EVENT: scenario.errno_injected},
        console_out=console,
    )
    machine.load(path(scenario.payload))
    result = machine.run(max_instructions=MAX_INSTRUCTIONS)
    return Outcome(
        scenario,
        profile,
        result.stop,
        result.kvm_run_errno,
        next((error for error in errors if error), None),
        result.stop == "shutdown" and result.ok,
        result.instructions,
        result.exits,
        console.text,
    )


def check(outcomes: Sequence[Outcome]) -> list[str]:
    """What did not come out as on the real systems, one line each."""
    wrong = []
    counts: set[str] = set()
    for outcome in outcomes:
        where = f"{outcome.scenario.name} under {outcome.profile}"
        injected = outcome.scenario.errno_injected
        if injected is not None and outcome.profile == BEFORE:
            if outcome.stop != "kvm_run_failed" or outcome.kvm_run_errno != injected:
                wrong.append(f"{where}: KVM_RUN should fail with {errno_name(injected)}")
        elif not outcome.guest_finished:
            wrong.append(f"{where}: the guest should finish")
        elif injected is not None and outcome.sbi_error != -2:
            wrong.append(f"{where}: the guest should be answered SBI_ERR_NOT_SUPPORTED")
        if outcome.scenario.name == "normal":
            counts.add(outcome.console)
    if len(counts) > 1:
        wrong.append("normal: the counts should be the same before and after")
    return wrong


def as_object(outcome: Outcome) -> dict[str, object]:
    """One line of the table for `--json`."""
    return {
        "name": outcome.scenario.name,
        "profile": outcome.profile,
        "errno_injected": outcome.scenario.errno_injected,
        "stop": outcome.stop,
        "kvm_run_errno": outcome.kvm_run_errno,
        "sbi_error": outcome.sbi_error,
        "guest_finished": outcome.guest_finished,
        "instructions": outcome.instructions,
        "exits": outcome.exits,
        "console": outcome.console,
    }


def text(outcomes: Sequence[Outcome]) -> str:
    """The table, and what the guests of the last scenario printed."""
    from ..profiles.commits import COMMITS

    heads = ("scenario", "host's perf", "profile", "what the guest gets", "guest", "retired")
    rows = [
        (
            outcome.scenario.name,
            host_answer(outcome.scenario),
            outcome.profile,
            what_happens(outcome),
            "finished" if outcome.guest_finished else "lost",
            f"{outcome.instructions:,}",
        )
        for outcome in outcomes
    ]
    fix = "2196c066f138"
    heading = f'Before the fix: {BEFORE}. After it: {AFTER}. The fix: Linux {fix} ("{COMMITS[fix]}").'
    out = [textwrap.fill(heading, 80), ""]
    out += [table(heads, rows, right=frozenset({5})), ""]
    for outcome in outcomes:
        if outcome.profile == AFTER and outcome.scenario.errno_injected in (None, ERRNOS[0]):
            out.append(f"The guest of {outcome.scenario.name} on {outcome.profile} printed:")
            out += [f"    {line}" for line in outcome.console.splitlines()]
    return "\n".join(out)


def host_answer(scenario: Scenario) -> str:
    """What the host's perf says in this scenario."""
    if scenario.perf == "host":
        return "this kernel"
    if scenario.errno_injected is not None:
        return errno_name(scenario.errno_injected) or ""
    return "no usable PMU" if scenario.host_pmu == "none" else "counts"


def what_happens(outcome: Outcome) -> str:
    """What the guest gets for what it asks."""
    from ..spec.sbi import error_name

    failed = errno_name(outcome.kvm_run_errno)
    if failed:
        return f"KVM_RUN: {failed}"
    if outcome.scenario.name == "no-pmu":
        return "no PMU extension"
    if outcome.sbi_error is not None:
        return f"SBI_ERR_{error_name(outcome.sbi_error)}"
    return "counts" if outcome.guest_finished else outcome.stop
