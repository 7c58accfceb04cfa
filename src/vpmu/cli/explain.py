"""Which layer refuses an event, and with what code: guest, SBI, KVM's virtual PMU, perf, hart. Or what went
wrong in a run.

EVENT --on kvm:SUITE, or with --host-kernel: in a real host's kernel, the functions on its way, what each of
them returned, the instructions that each layer took, and who said no.

EVENT: asks for it as a guest would (counter_config_matching, start, a loop of known length that loads, stores
and jumps, stop), on a machine of its own. Exit status 0 when the event counts, 1 when some layer refuses it.

RUN: a trace as JSON lines (vpmu run IMAGE --trace RUN.jsonl), or FOLDER:NUMBER for a run of a campaign, which
is done again. Each event that was refused, never scheduled or frozen, each interrupt that was lost and each
fault is followed through the layers. Exit status 0 when there is none, 5 when the host was lost, 1 otherwise.
"""

from __future__ import annotations

import argparse
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .images import campaign_run
from .options import Subparsers, add_fault_options, add_host_options, add_json, add_profile_options
from .output import errno_name, print_json, say

if TYPE_CHECKING:
    from ..spec.sbi_events import Event
    from ..trace.explain import Observed

ROUNDS = 10_000
WORK = 1 + 3 * ROUNDS
"""Instructions that run while the event counts."""
LOOP = struct.pack("<4I", 0x00001297, 0x0002B303, 0x0062B023, 0xFF9FF06F)
"""auipc t0, 1; then for ever: ld t1, 0(t0); sd t1, 0(t0); j -8."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """The options of `vpmu explain`."""
    parser = subparsers.add_parser("explain", description=__doc__)
    parser.add_argument(
        "events",
        nargs="+",
        metavar="EVENT|RUN",
        help="perf's name of an event, fw:NAME, rHEX, or an event_idx; or a trace, or FOLDER:NUMBER",
    )
    add_profile_options(parser)
    add_fault_options(parser)
    parser.add_argument(
        "--on", metavar="TARGET", help="in a real host's kernel: kvm:trixie. Its functions and their errnos"
    )
    add_host_options(parser, on=False)
    parser.add_argument(
        "--records",
        action="store_true",
        help="print the trace of the calls as well; in a real kernel: every function on the way",
    )
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Explain the events, or the runs; the exit status."""
    runs = [name for name in args.events if is_run(name)]
    if runs:
        if len(runs) != len(args.events):
            other = next(name for name in args.events if name not in runs)
            raise UsageError("explain", expected="events or runs, not both", got=f"{runs[0]} and {other}")
        from .explain_run import explain_runs

        return explain_runs(runs, as_json=args.json, records=args.records)
    from ..spec.sbi_events import event_by_name
    from ..trace.explain import as_object, as_text, explain
    from ..trace.views import as_object as record_object
    from ..trace.views import as_text as record_text

    events = [event_by_name(name) for name in args.events]
    if any(value is not None for value in (args.on, args.host_kernel, args.kvm_module, args.host_initrd)):
        from .explain_real import explain_on

        return explain_on(events, args)
    explanations = [explain(observe(event, args)) for event in events]
    if args.json:
        objects = [as_object(explanation) for explanation in explanations]
        if args.records:
            for found, explanation in zip(objects, explanations, strict=True):
                found["records"] = [record_object(record) for record in explanation.observed.records]
        print_json({"events": objects})
    else:
        for index, explanation in enumerate(explanations):
            if index:
                print()
            for line in as_text(explanation).splitlines():
                say(line)
            if args.records:
                for record in explanation.observed.records:
                    print(f"    {record_text(record)}")
    return 0 if all(explanation.refused_by is None for explanation in explanations) else 1


def is_run(name: str) -> bool:
    """Whether a name is that of a trace, or of a campaign's folder with the number of a run."""
    return bool(campaign_run(name)) or "/" in name or name.endswith(".jsonl") or Path(name).is_file()


def observe(event: Event, args: argparse.Namespace) -> Observed:
    """Ask for the event on a fresh machine and note every answer."""
    from ..kvm.errors import KvmRunError
    from ..spec.csr import Csr
    from ..spec.sbi import BaseFid, ConfigFlag, Eid, PmuFid, SbiError, SbiRet, StartFlag
    from ..spec.sbi_events import EventType, split_event_idx
    from ..trace.explain import Observed
    from ..trace.recorder import Recorder
    from ..vmm.machine import Machine
    from .events import hart_counters

    recorder = Recorder()
    machine = Machine(
        profile=args.profile,
        with_=tuple(args.with_),
        without=tuple(args.without),
        host_pmu=args.host_pmu,
        perf=args.perf,
        refuse=dict(args.refuse),
        starve=args.starve,
        engine=args.engine,
        memory=1 << 20,
        recorder=recorder,
    )
    vcpu = machine.vcpu(0)

    def call(eid: int, fid: int, *args: int) -> SbiRet:
        answer = vcpu.ecall(eid, fid, *args)
        assert isinstance(answer, SbiRet)  # BASE and PMU are served below: no exit to user space
        return answer

    name, event_idx, event_data = event.name, event.event_idx, event.event_data
    firmware = split_event_idx(event_idx)[0] == EventType.FW
    seen = Observed(
        name=name,
        event_idx=event_idx,
        event_data=event_data,
        profile=machine.profile.name,
        host_pmu=machine.host_pmu.name,
        firmware=firmware,
        player=vcpu.pmu.layer,
        offered=bool(call(Eid.BASE, BaseFid.PROBE_EXTENSION, Eid.PMU).value),
        hart_counters=hart_counters(machine.host_pmu, name, event_data),
    )
    if not seen.offered:
        return seen
    every = (1 << (call(Eid.PMU, PmuFid.NUM_COUNTERS).value or 0)) - 1 & ~2
    recorder.records.clear()
    matching, clear = PmuFid.COUNTER_CONFIG_MATCHING, ConfigFlag.CLEAR_VALUE
    try:
        config, counter = call(Eid.PMU, matching, 0, every, clear, event_idx, event_data)
    except KvmRunError as error:
        return replace(seen, kvm_run_errno=errno_name(error.errno), records=recorder.records)
    if config != SbiError.SUCCESS or counter is None:
        refusal = vcpu.pmu.last_refusal
        reason = refusal.reason if refusal is not None and refusal.layer == vcpu.pmu.layer else ""
        return replace(seen, config=config, refusal=reason, records=recorder.records)
    start = call(Eid.PMU, PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 0).error
    vcpu.write(machine.memory_base, LOOP)
    vcpu.pc = machine.memory_base
    machine.run(max_instructions=WORK)
    # One reading, while it runs: some profiles count what they have read once more.
    if firmware:
        count = call(Eid.PMU, PmuFid.COUNTER_FW_READ, counter).value
    else:
        count = vcpu.csr_read(Csr.CYCLE + counter)
    call(Eid.PMU, PmuFid.COUNTER_STOP, counter, 1, 0)
    return replace(
        seen,
        config=config,
        counter=counter,
        start=start,
        count=count,
        work=WORK,
        records=recorder.records,
    )
