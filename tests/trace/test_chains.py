"""What went wrong in a run, read out of its trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vpmu import Machine
from vpmu.cli.main import main
from vpmu.errors import FileError
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path
from vpmu.trace.chain import Chain
from vpmu.trace.chain_views import as_object, as_text
from vpmu.trace.chains import MAX_CHAINS, Walker, chains_of
from vpmu.trace.read import read_trace
from vpmu.trace.recorder import Record, Recorder
from vpmu.trace.views import TraceFile


def run(guest: str, *rules: str, profile: str = "kvm-7.2") -> list[Record]:
    recorder = Recorder()
    plan = FaultPlan(tuple(map(parse_rule, rules)))
    machine = Machine(profile, host_pmu="full", memory=16 << 20, recorder=recorder, faults=plan or None)
    machine.load(str(path(guest)))
    machine.run(max_instructions=20_000_000)
    return recorder.records


def found(guest: str, *rules: str, profile: str = "kvm-7.2") -> list[tuple[str, str, str]]:
    """(kind, title, layer at which it began)."""
    chains = chains_of(run(guest, *rules, profile=profile))
    return [(chain.kind, chain.title, chain.culprit.layer if chain.culprit else "-") for chain in chains]


def test_a_run_in_which_all_is_well() -> None:
    assert found("counting") == []
    assert found("overflow") == []


def test_refused() -> None:
    fault = "perf.create:event=cycles,errno=EBUSY"
    (chain,) = found("failing-event", fault)
    assert chain == ("refused", "counter_config_matching of cycles: SBI_ERR_NOT_SUPPORTED", "perf")
    (chain,) = found("failing-event", fault, profile="kvm-6.9")
    assert chain == ("refused", "counter_config_matching of cycles: KVM_RUN failed", "perf")


def test_never_scheduled_and_what_the_guest_then_sees() -> None:
    (chain,) = chains_of(run("failing-event", "perf.enable:event=cache-misses,state=error"))
    assert chain.kind == "never scheduled"
    assert chain.title == "cache-misses: no counter of the host, and counter_start answers SUCCESS"
    assert [(record.actor, record.result) for record in chain.later][:2] == [
        ("counter_stop", (0, 0)), ("csr", 0),
    ]  # fmt: skip


def test_frozen_in_the_middle() -> None:
    records = run("counting")
    lost = [
        Record(500_000, 0, "perf", "perf_event", "reschedule", {"event": "cycles", "counter": None}, "error")
    ]
    at = next(index for index, record in enumerate(records) if record.time > 500_000)
    (chain,) = chains_of([*records[:at], *lost, *records[at:]])
    assert (chain.kind, chain.records) == ("frozen", tuple(lost))
    assert chain.title.startswith("cycles: loses its counter")
    assert chain.later, "nothing of what the guest then sees"


def test_a_counter_that_says_the_same_twice_is_frozen() -> None:
    def read(time: int, value: int) -> Record:
        return Record(time, 0, "kvm", "csr", "read", {"csr": 0xC00}, value)

    config = Record(1, 0, "sbi", "counter_config_matching", "call",
                    {"event_idx": 1, "config_flags": 0}, (0, 0))  # fmt: skip
    start = Record(2, 0, "sbi", "counter_start", "call",
                   {"counter_idx_base": 0, "counter_idx_mask": 1, "start_flags": 1, "initial_value": 0},
                   (0, 0))  # fmt: skip
    assert chains_of([config, start, read(10, 8), read(20, 18)]) == []
    for times in ((10, 8), (20, 8)), ((10, 0), (20, 0)):
        (chain,) = chains_of([config, start, *(read(*one) for one in times)])
        assert chain.kind == "frozen"
    # an event that may well have nothing to count, and modes that are not counted
    for idx, flags in ((3, 0), (1, 1 << 5)):
        other = Record(1, 0, "sbi", "counter_config_matching", "call",
                       {"event_idx": idx, "config_flags": flags}, (0, 0))  # fmt: skip
        assert chains_of([other, start, read(10, 8), read(20, 8)]) == []


@pytest.mark.parametrize(
    ("rule", "kind", "layer"),
    [
        ("kvm.interrupt:irq=13,drop,times=1", "lost interrupt", "kvm"),
        ("hart.overflow:drop,times=1", "lost interrupt", "hart"),
        ("kvm.interrupt:irq=13,delay=5us,times=1", "late interrupt", "kvm"),
        ("perf.period:errno=EINVAL,times=1", "lost interrupt", "perf"),
    ],
)
def test_interrupts(rule: str, kind: str, layer: str) -> None:
    assert [(one, where) for one, _, where in found("overflow", rule)] == [(kind, layer)]


def test_faults_that_the_guest_is_not_told_of() -> None:
    ((kind, title, layer),) = found("counting", "hart.counter:counter=0,value=5,after=1ms")
    assert (kind, title, layer) == ("fault", "hart.counter: as the plan orders", "hart")


def test_text_and_object() -> None:
    (chain,) = chains_of(run("failing-event", "perf.create:event=cycles,errno=EBUSY"))
    head, *lines = as_text(chain).splitlines()
    assert head.endswith("hart 0: refused: counter_config_matching of cycles: SBI_ERR_NOT_SUPPORTED")
    assert [line[2:9].split() for line in lines][:2] == [["x", "sbi"], ["x", "kvm"]]
    assert "  ! perf   fault.create(" in as_text(chain)
    made = as_object(chain)
    assert (made["kind"], made["layer"], made["times"]) == ("refused", "perf", 1)
    assert json.loads(json.dumps(made)) == made


def test_what_happens_again_is_told_once_and_much_is_cut_off() -> None:
    def refused(time: int, event: int) -> tuple[Record]:
        args = {"event_idx": event, "event_data": 0, "config_flags": 2}
        return (Record(time, 0, "sbi", "counter_config_matching", "call", args, (-2, 0)),)

    walker = Walker()
    for time in range(5):
        walker.take(refused(time, 1))
    assert [chain.times for chain in walker.chains] == [5]
    for event in range(MAX_CHAINS + 9):
        walker.take(refused(100 + event, 0x10000 + event))
    assert (len(walker.chains), walker.left_out) == (MAX_CHAINS, 10)
    assert isinstance(walker.chains[0], Chain)


def test_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = run("overflow", "kvm.interrupt:irq=13,drop,times=1")
    name = tmp_path / "run.jsonl"
    with TraceFile(name) as sink:
        for record in records:
            sink(record)
    assert list(map(as_object, chains_of(read_trace(name)))) == list(map(as_object, chains_of(records)))
    assert main(["explain", str(name)]) == 1
    printed = capsys.readouterr().out
    assert "lost interrupt: instructions: it overflowed" in printed
    assert printed.endswith("run.jsonl: 1 lost interrupt\n")
    assert main(["explain", str(name), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["runs"][0]["chains"][0]["kind"] == "lost interrupt"


def test_a_run_of_a_campaign_is_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(
        'guests = ["failing-event"]\n[[fault]]\nname = "none"\n'
        '[[fault]]\nname = "busy"\ninject = ["perf.create:event=cycles,errno=EBUSY"]\n'
    )
    assert main(["campaign", str(tmp_path / "plan.toml"), "-q"]) == 0
    capsys.readouterr()
    assert main(["explain", f"{tmp_path / 'plan'}:0"]) == 0
    assert main(["explain", f"{tmp_path / 'plan'}:1"]) == 1
    assert "refused: counter_config_matching of cycles" in capsys.readouterr().out
    assert main(["explain", f"{tmp_path / 'plan'}:2"]) == 2
    assert "expected 0 to 1, got 2" in capsys.readouterr().err


HEADER = '{"schema": "vpmu-trace", "version": 1, "time_unit": "virtual ns"}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a trace"),
        ("hello\n", "not a trace"),
        (HEADER.replace("1", "2"), "expected vpmu-trace 1"),
        (HEADER + '{"time": 1\n' + HEADER, "run:2: damaged trace"),
        (HEADER + '{"time": 1}\n', "run:2: damaged trace"),
        (HEADER + '{"time":"1","hart":0,"layer":"sbi","actor":"a","action":"b"}\n', "run:2: damaged trace"),
        (HEADER + "[" * 100_000 + "\n", "run:2: damaged trace"),
    ],
)
def test_files_that_are_no_trace(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text(text)
    with pytest.raises(FileError, match=words) as caught:
        chains_of(read_trace(tmp_path / "run"))
    assert "\n" not in str(caught.value)


def test_events_and_runs_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "cycles", "./run.jsonl"]) == 2
    assert "events or runs, not both" in capsys.readouterr().err
    assert main(["explain", "./run.jsonl"]) == 2
    assert "No such file" in capsys.readouterr().err


def _asks(time: int, event: int, answer: tuple[int, int], flags: int = 0) -> Record:
    args: dict[str, object] = {"event_idx": event, "event_data": 0, "config_flags": flags}
    return Record(time, 0, "sbi", "counter_config_matching", "call", args, answer)


def _stops(time: int) -> Record:
    args: dict[str, object] = {"counter_idx_base": 3, "counter_idx_mask": 1, "stop_flags": 1}
    return Record(time, 0, "sbi", "counter_stop", "call", args, (-8, 0))


def test_a_driver_that_looks_which_events_there_are_is_left_out() -> None:
    looking = [_asks(1, 1, (0, 3)), _stops(2), _asks(3, 5, (-2, 0)), _asks(4, 6, (-2, 0))]
    walker = Walker()
    for record in looking:
        walker.take((record,))
    walker.finish()
    assert (walker.chains, walker.probed) == ([], 2)
    # what is asked for with a purpose, by a fault, or by a guest that starts its counters, is told
    start = Record(2, 0, "sbi", "counter_start", "call",
                   {"counter_idx_base": 3, "counter_idx_mask": 1, "start_flags": 1}, (0, 0))  # fmt: skip
    assert len(chains_of([looking[0], start, *looking[2:], _stops(5)])) == 2
    assert len(chains_of([*looking, _asks(9, 7, (-2, 0), flags=2)])) == 1
    fault = Record(9, 0, "perf", "fault", "create", {"rule": 0}, {"errno": 16})
    assert [chain.kind for chain in chains_of([*looking, _asks(9, 7, (-2, 0)), fault])] == ["refused"]


def test_a_run_that_is_silently_wrong_says_so_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "run.jsonl"
    fault = "perf.enable:event=cycles,state=error"
    arguments = ["run", "failing-event", "--host-pmu", "full", "--inject", fault, "-q"]
    assert main([*arguments, "--trace", str(trace)]) == main(arguments)
    assert main(["explain", str(trace)]) == 1
    printed = capsys.readouterr().out
    assert "silently wrong: cycles: the guest read 0 from counter 0, the hart did 200,039" in printed
    assert "because of never scheduled: cycles: no counter of the host" in printed
    assert "marks: ! a fault that was ordered, * not what the hart did, < before, >" in printed


def test_a_run_that_died_says_what_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "run.jsonl"
    fault = "perf.create:event=cycles,errno=EBUSY"
    dies = ["run", "failing-event", "--host-pmu", "full", "--profile", "kvm-6.9", "--inject", fault]
    assert main([*dies, "--trace", str(trace)]) == 1
    assert main(["explain", str(trace)]) == 1
    assert "ended badly: kvm_run_failed: " in capsys.readouterr().out


def test_a_wrong_run_of_a_campaign_names_its_behaviours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text(
        'guests = ["script: config cycles flags=auto; work 100; start 0,3 value=-100; read 0"]\n'
        'profiles = ["kvm-7.2"]\n'
    )
    assert main(["campaign", str(tmp_path / "plan.toml"), "-q"]) == 0
    capsys.readouterr()
    assert main(["explain", f"{tmp_path / 'plan'}:0"]) == 1
    printed = capsys.readouterr().out
    assert "verdict: silently wrong: counter " in printed
    assert "right without rebind-releases-first (" in printed
