"""Hooks in a stock Debian kernel and its kvm.ko, on our own hart: what a guest of real KVM gets then."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vpmu.campaign.catalogue import load_catalogue
from vpmu.campaign.real_catalogue import Fate, run_real, summary
from vpmu.cli.main import main
from vpmu.conform.calls import Result, pmu
from vpmu.conform.costs import costs
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.target import PeerAbsent, TargetLost
from vpmu.conform.watched_guest import WatchedGuest
from vpmu.debug.running_kernel import HookError, RunningKernel
from vpmu.errors import UnknownNameError
from vpmu.faults import FaultPlan, parse_rule
from vpmu.hart.events import HartEvent, Mode
from vpmu.payloads import path as payload
from vpmu.peers.hooks import Hooks, HostCall
from vpmu.peers.host_faults import HostFaults, undo
from vpmu.peers.host_source import own, release_of

pytestmark = pytest.mark.slow

CREATE, CONFIG = "perf_event_create_kernel_counter", "kvm_riscv_vcpu_pmu_ctr_cfg_match"
CYCLES = pmu(2, 0, 0x7FFFD, 0, 1, 0)
EBUSY, NOT_SUPPORTED = 16, -2


@pytest.fixture(scope="module")
def kept() -> HookedHost:
    try:
        return HookedHost(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)


@pytest.fixture
def host(kept: HookedHost) -> Iterator[HookedHost]:
    yield kept
    kept.hooks.remove()
    assert not len(kept.machine.memory.breakpoints)


def cycles(host: HookedHost) -> Result:
    host.fresh()
    return host.target.run([CYCLES])[0]


def test_functions_of_kernel_and_module_are_found_where_they_run(host: HookedHost) -> None:
    kernel = host.kernel
    assert kernel.function(CREATE).module == ""
    inside = kernel.function(CONFIG)
    assert inside.module == "kvm"
    assert kernel.at(inside.address + 8) == inside
    assert kernel.function(hex(inside.address)).address == inside.address


def test_a_call_of_kvm_is_answered_instead_of_made_and_costs_nothing(host: HookedHost) -> None:
    assert cycles(host).error == 0
    seen: list[tuple[str, str]] = []

    def answer(call: HostCall) -> None:
        assert call.caller is not None
        seen.append((call.caller.name, call.task))
        call.answer(-EBUSY)

    host.hooks.on(host.kernel.function(CREATE), answer, caller=host.kernel.function(CONFIG))
    assert cycles(host).error == NOT_SUPPORTED
    assert [name for name, _ in seen] == [CONFIG]
    assert seen[0][1], "a task has a name"


def test_who_only_looks_changes_no_count_and_no_instruction(host: HookedHost) -> None:
    def count() -> tuple[int, ...]:
        host.fresh()
        hart = host.machine.vcpu(0).hart
        host.target.run([CYCLES, pmu(0)])
        return (
            host.machine.instructions, hart.time_ns,
            *(hart.count(HartEvent.INSTRUCTIONS, mode) for mode in (Mode.U, Mode.S, Mode.VS, Mode.VU)),
        )  # fmt: skip

    alone = count()
    results: list[int] = []
    met: list[str] = []
    for name in (CREATE, CONFIG, "perf_try_init_event", "pmu_sbi_event_map", "__kmalloc_cache_noprof"):

        def look(call: HostCall) -> None:
            met.append(call.function.name)
            call.at_return(lambda done: results.append(done.result))

        host.hooks.on(host.kernel.function(name), look)
    assert count() == alone
    assert {CREATE, CONFIG} <= set(met)
    assert len(results) >= len(met) - 1


def test_2196c066f138_is_undone_in_the_stock_module(host: HookedHost) -> None:
    undo(host.hooks, "2196c066f138")
    assert cycles(host).error == 0
    host.hooks.on(host.kernel.function("pmu_sbi_event_map"), lambda call: call.answer(-2))
    assert cycles(host).errno == 2
    assert host.target.run([pmu(0)])[0].error == 0, "the guest goes on"


def test_delay_is_virtual_time(host: HookedHost) -> None:
    cycles(host)
    before = host.machine.vcpu(0).hart.time_ns
    host.hooks.on(host.kernel.function(CONFIG), lambda call: call.delay(3_000_000))
    cycles(host)
    assert 0 <= host.machine.vcpu(0).hart.time_ns - before - 3_000_000 < 200_000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kvm_pmu_create_perf_event", f"inlined in {CONFIG}"),
        ("0xzz", "expected a hexadecimal number"),
    ],
)
def test_what_is_no_function_is_said(host: HookedHost, name: str, words: str) -> None:
    with pytest.raises(HookError, match=words):
        host.kernel.function(name)


def test_near_names_are_said(host: HookedHost) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean {CONFIG}"):
        host.kernel.function(CONFIG[:-2])


def test_a_kernel_without_symbols_has_functions_by_address_only(host: HookedHost) -> None:
    hart, memory = host.machine.vcpu(0).hart, host.machine.memory
    bare = RunningKernel(hart, memory, bytes(4096))
    with pytest.raises(HookError, match="no symbols"):
        bare.function(CREATE)
    assert bare.function("0xffffffff80000000").size == 4
    with pytest.raises(HookError, match="nothing at 0x10"):
        host.hooks.on(bare.function("0x10"), lambda call: None)


def test_demo_real_shows_six_rows(kept: HookedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--real"]) == 0
    out = capsys.readouterr().out
    assert "KVM_RUN: ENOENT" in out
    assert "the same in all 6 rows" in out
    assert main(["demo", "--real", "--linux"]) == 2


def faults_of(host: HookedHost, *rules: str) -> HostFaults:
    return HostFaults(host.hooks, FaultPlan(tuple(parse_rule(rule) for rule in rules)))


def test_host_call_by_caller_number_and_effect(host: HookedHost) -> None:
    faults = faults_of(host, f"host.call:function={CREATE},caller={CONFIG},call=2,errno=EBUSY")
    host.fresh()
    answers = host.target.run([CYCLES, CYCLES, CYCLES])
    assert [answer.error for answer in answers] == [0, NOT_SUPPORTED, 0]
    assert faults.fired == 1
    faults.remove()


@pytest.mark.parametrize(
    ("rule", "errors"),
    [
        (f"host.call:function={CREATE},caller=do_exit,errno=EBUSY", [0]),
        (f"host.call:function={CREATE},value=0", [0]),
        (f"host.call:function={CREATE},result=-12", [NOT_SUPPORTED]),
        (f"host.call:function={CREATE},delay=1ms", [0]),
        ("sbi.call:function=counter_config_matching,error=FAILED", [-1]),
        ("perf.create:event=cycles,errno=EBUSY", [NOT_SUPPORTED]),
        ("perf.create:event=instructions,errno=EBUSY", [0]),
    ],
)
def test_what_a_rule_does_to_a_call_of_the_guest(host: HookedHost, rule: str, errors: list[int]) -> None:
    faults = faults_of(host, rule)
    host.fresh()
    assert [answer.error for answer in host.target.run([CYCLES])] == errors
    assert faults.fired == ("do_exit" not in rule and "event=instructions" not in rule)
    faults.remove()


def test_a_failed_allocation_in_kvm_is_seen_by_the_guest(host: HookedHost) -> None:
    """The copy of the snapshot page: Debian's kernels have no failslab."""
    faults = faults_of(host, "kvm.allocate:fail")
    host.fresh()
    assert host.target.run([pmu(7, host.target.scratch, 0, 0)])[0].error not in (0, None)
    assert faults.fired
    faults.remove()


def test_a_rule_that_no_function_carries_is_said(kept: HookedHost) -> None:
    faults = faults_of(kept, "guest.memory:address=snapshot,remove")
    assert [why for _, why in faults.not_carried] == ["no function of the kernel is guest.memory"]
    faults.remove()
    with pytest.raises(UnknownNameError, match="did you mean"):
        faults_of(kept, "host.call:function=perf_event_create_kernel_countr,errno=EBUSY")
    kept.hooks.remove()


def test_the_catalogue_on_the_real_kernel(kept: HookedHost) -> None:
    """Fifty and more scenarios, each answered as the model of this release answers it."""
    rows = [run_real(kept, scenario) for scenario in load_catalogue().values()]
    counts = summary(rows)
    assert len(rows) - counts[Fate.NOT_CARRIED] >= 50
    assert [(row.id, row.differences) for row in rows if row.differences] == []
    assert {Fate.SURVIVES, Fate.DEGRADES, Fate.LIES} <= {fate for fate in Fate if counts[fate]}
    assert all(row.note for row in rows if row.fate is Fate.NOT_CARRIED)
    lies = {row.id for row in rows if row.fate is Fate.LIES}
    assert lies >= {"F10", "F15", "F23", "F28", "F29", "F38", "F40", "F45", "F59", "F78"}
    again = [run_real(kept, scenario) for scenario in load_catalogue().values()]
    assert again == rows, "the same every time"


def test_the_commands(capsys: pytest.CaptureFixture[str], kept: HookedHost) -> None:
    assert main(["faults", "run", "F1", "F10", "--on", "kvm:trixie"]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 scenarios on the real kernel: 1 survives, 1 lies" in out
    assert main(["faults", "run", "F1", "--on", "opensbi"]) == 2
    assert "expected kvm, kvm:SUITE" in capsys.readouterr().err
    assert main(["conform", "--target", "kvm", "--inject", "guest.memory:address=snapshot,remove"]) == 2
    assert "no function of the kernel is guest.memory" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["0xzz", "0xffffffff80203641", "-0x10", "0x1" + "0" * 16])
def test_an_address_that_is_none_is_one_line(kept: HookedHost, name: str) -> None:
    with pytest.raises((HookError, UnknownNameError)) as caught:
        kept.kernel.function(name)
    assert name in str(caught.value)


def test_a_host_that_hangs_in_a_call_says_in_which_function(
    host: HookedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "kvm_riscv_vcpu_pmu_num_ctrs"
    monkeypatch.setattr(host.target.link, "patience", 3_000_000)
    host.fresh()
    host.kernel.write(host.kernel.function(name).address, (0x6F).to_bytes(4, "little"))  # j .
    with pytest.raises(TargetLost, match=rf"no answer within 3 M instructions: S mode, pc 0x\w+ \({name}\)"):
        host.target.run([pmu(0)])
    assert cycles(host).error == 0, "the next test begins anew"


def test_a_kept_host_of_another_kernel_is_one_line(host: HookedHost, tmp_path: Path) -> None:
    image = host.source.read().kernel
    release = release_of(image)
    assert release is not None
    other = tmp_path / "Image"
    other.write_bytes(image.replace(release.encode(), b"9" * len(release)))
    strange = copy.copy(host)
    vars(strange).pop("kernel", None)
    strange.source = own(other)
    with pytest.raises(HookError, match=rf"kept for {other}: expected 9+, got Linux {re.escape(release)}"):
        strange.kernel  # noqa: B018


def test_a_kernel_without_names_still_says_what_calls_cost_and_answer(
    host: HookedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kallsyms: the world switch is found by stvec, hooks by address, functions stay unnamed."""
    create = host.kernel.function(CREATE).address
    named = {cost.name: cost.total for cost in costs(host, ["BASE", "start"])}
    unnamed = RunningKernel(host.machine.vcpu(0).hart, host.machine.memory, b"", {})
    monkeypatch.setitem(vars(host), "kernel", unnamed)
    monkeypatch.setitem(vars(host), "hooks", Hooks(host.machine, unnamed))
    assert {cost.name: cost.total for cost in costs(host, ["BASE", "start"])} == named
    assert WatchedGuest(host, str(payload("hello"))).run().end == "shutdown, reason 0"
    with pytest.raises(HookError, match="no symbols"):
        unnamed.function(CREATE)
    host.hooks.on(unnamed.function(hex(create)), lambda call: call.answer(-EBUSY))
    assert cycles(host).error == NOT_SUPPORTED
    host.hooks.remove()


def test_explain_walks_the_real_layers(capsys: pytest.CaptureFixture[str], kept: HookedHost) -> None:
    assert main(["explain", "cycles", "node-loads", "--on", "kvm:trixie"]) == 1
    out = capsys.readouterr().out
    granted, refused = out.split("node-loads: ")
    names = [line.split()[1] for line in granted.splitlines() if line.startswith("    ")]
    way = [
        "kvm_sbi_ext_pmu_handler", CONFIG, CREATE, "perf_try_init_event", "pmu_sbi_event_map",
        "kvm_riscv_vcpu_pmu_ctr_start", "perf_event_enable", "pmu_sbi_ctr_get_idx", "__sbi_ecall",
    ]  # fmt: skip
    assert [names.index(name) for name in way] == sorted(names.index(name) for name in way)
    assert "said no" not in granted
    assert "pmu_sbi_event_map (driver) said no: ENOENT" in refused
    assert main(["explain", "cycles", "--on", "qemu"]) == 2
    assert main(["explain", "cycles", "--kvm-module", "kvm.ko"]) == 2


def test_explain_says_what_each_layer_took_exactly(
    capsys: pytest.CaptureFixture[str], kept: HookedHost
) -> None:
    assert main(["explain", "cycles", "--on", "kvm", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["events"][0]["stages"]
    assert [stage["call"] for stage in stages] == ["config", "start", "stop"]
    for stage in stages:
        assert sum(stage["layers"].values()) == stage["instructions"]
        handler = stage["path"][0]
        assert (handler["function"], handler["depth"]) == ("kvm_sbi_ext_pmu_handler", 0)
        assert stage["instructions"] > handler["instructions"] > 100
    start = {one["function"]: one for one in stages[1]["path"]}
    assert start["__sbi_ecall"]["layer"] == "sbi"
    assert start["pmu_sbi_ctr_get_idx"]["depth"] == start["riscv_pmu_add"]["depth"] + 1


def test_the_catalogue_as_junit(capsys: pytest.CaptureFixture[str], kept: HookedHost, tmp_path: Path) -> None:
    path = tmp_path / "faults.xml"
    assert main(["faults", "run", "F1", "F10", "F3", "--on", "kvm:trixie", "--junit", str(path)]) == 0
    cases = {case.get("name"): case for case in ElementTree.parse(path).getroot().iter("testcase")}
    assert set(cases) == {"F1", "F10", "F3"}
    assert cases["F10"].findtext("system-out", "").startswith("lies\n")
