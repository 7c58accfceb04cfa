"""Campaigns on real KVM: Debian's stock host on our own hart. Needs the fetched host; never fetches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from vpmu.campaign.coordinator import campaign
from vpmu.campaign.guests import prepare
from vpmu.campaign.plan import CampaignPlan, Guest, load_campaign
from vpmu.campaign.real_stations import RealStation
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases
from vpmu.campaign.verdict import Verdict
from vpmu.cli.main import main
from vpmu.errors import UnknownNameError, VpmuError
from vpmu.faults import FaultPlan, parse_rule
from vpmu.payloads import path as payload
from vpmu.peers.host_source import of_suite
from vpmu.vmm.linux.cache import default_root

HOST = default_root() / "kvm-host-trixie"
GUEST = default_root() / "debian-trixie"
needs_host = pytest.mark.skipif(
    not (HOST / "manifest.json").exists(), reason="the KVM host is not fetched (vpmu host)"
)
needs_guest = pytest.mark.skipif(
    not (GUEST / "manifest.json").exists(), reason="the Debian guest is not fetched (vpmu fetch debian)"
)

FAULTS = """
[[fault]]
name = "none"
[[fault]]
name = "busy"
inject = ["perf.create:errno=EBUSY,probability=30"]
[[fault]]
name = "never"
inject = ["perf.enable:state=error,probability=30"]
[[fault]]
name = "host"
inject = ["host.call:function=kvm_riscv_vcpu_pmu_ctr_start,errno=EIO,probability=20"]
"""
PLAN = 'name = "real"\nguests = ["kvm: counting", "kvm:trixie random: 12"]\nseeds = 6\n' + FAULTS


def plan_file(folder: Path, text: str = PLAN) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


# --- plans


def test_a_guest_says_that_it_runs_on_real_kvm(tmp_path: Path) -> None:
    guests = '["counting", "kvm: counting", "kvm:sid random: 3"]'
    text = f'profiles = ["kvm-6.9", "kvm-7.2"]\nguests = {guests}\nseeds = 2'
    plan = load_campaign(plan_file(tmp_path, text))
    runs = [plan.run(number) for number in range(len(plan))]
    assert [(run.guest.name, run.profile) for run in runs[::2]] == [
        ("counting", "kvm-6.9"), ("counting", "kvm-7.2"), ("kvm: counting", "kvm:trixie"),
        ("kvm:sid random: 3", "kvm:sid"),
    ]  # fmt: skip
    assert plan.implementations == ("kvm-6.9", "kvm-7.2", "kvm:trixie", "kvm:sid")
    again = CampaignPlan.from_object(json.loads(json.dumps(plan.as_object())))
    assert [again.run(number) for number in range(len(again))] == runs
    assert again.digest == plan.digest


def test_a_plan_without_real_kvm_has_the_digest_that_it_had(tmp_path: Path) -> None:
    plan = load_campaign(plan_file(tmp_path, 'guests = ["counting"]\nseeds = 2'))
    assert plan.as_object()["guests"] == [["payload", "counting"]]
    assert "files" not in plan.as_object()


def test_an_own_build_is_part_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(b"one")
    (tmp_path / "kvm.ko").write_bytes(b"module")
    text = 'profiles = ["kvm:./Image+./kvm.ko"]\nguests = ["counting"]'
    plan = load_campaign(plan_file(tmp_path, text))
    assert {Path(path).name for path, _ in plan.files} == {"Image", "kvm.ko"}
    (tmp_path / "Image").write_bytes(b"two")
    assert load_campaign(plan_file(tmp_path, text)).digest != plan.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('guests = ["kvm: nosuch"]', "unknown payload 'nosuch'"),
        ('guests = ["kvm: kvm: counting"]', "expected one real KVM"),
        ('guests = ["kvm:"]', "expected kvm: GUEST"),
        ('guests = ["counting"]\nprofiles = ["kvm:"]', "expected kvm:SUITE"),
        ('guests = ["counting"]\nprofiles = ["kvm:./no-such-Image"]', "no-such-Image"),
        ('guests = ["counting"]\nprofiles = ["kvm:./a+./b+./c"]', "3 files"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(VpmuError) as error:
        load_campaign(plan_file(tmp_path, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert UnknownNameError  # the kinds of errors are VpmuError's


# --- on the host


@needs_host
def test_the_same_results_with_one_worker_with_two_and_after_a_kill(tmp_path: Path) -> None:
    plan = load_campaign(plan_file(tmp_path))
    digest, results = campaign(plan, tmp_path / "one")
    assert campaign(plan, tmp_path / "two", workers=2)[0] == digest
    command = [sys.executable, "-m", "vpmu", "campaign", str(tmp_path / "plan.toml"), "-q", "--no-cases"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "journal.jsonl"
    until = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert campaign(plan, tmp_path / "killed")[0] == digest

    verdicts = Counter((result["fault"], result["verdict"]) for result in results)
    assert verdicts["busy", Verdict.DEGRADED] > 3
    assert verdicts["never", Verdict.SILENTLY_WRONG] > 1
    assert verdicts["host", Verdict.GUEST_LOST] > 1  # an errno of KVM's handler ends KVM_RUN
    assert not any(verdict == Verdict.UNEXPECTED for _, verdict in verdicts)
    told = [one for result in results for one in result["findings"]]  # type: ignore[attr-defined]
    assert any(one["told"] == 0 < one["truth"] for one in told)


@needs_host
def test_a_payload_says_on_real_kvm_what_it_says_on_the_model() -> None:
    for name in ("counting", "snapshot", "overflow", "failing-event"):
        guest = Guest("payload", name)
        station = prepare(guest, "kvm:trixie", "full", None)
        assert isinstance(station, RealStation)
        real = station.run(FaultPlan(), 0, 20_000_000)
        model = prepare(guest, station.host.target.profile, "full", None).run(FaultPlan(), 0, 20_000_000)
        assert real.output == model.output
        assert (real.findings, real.values) == ((), model.values)
        assert real.stop == "shutdown"


@needs_host
def test_runs_of_one_station_do_not_touch_each_other() -> None:
    station = prepare(Guest("random", "16"), "kvm:trixie", "full", None)
    errors = FaultPlan((parse_rule("perf.create:errno=EBUSY,probability=50"),))
    alone = [station.run(errors.with_seed(seed), seed, 20_000_000) for seed in (1, 2)]
    between = [FaultPlan(), errors.with_seed(7), FaultPlan((parse_rule("hart.overflow:drop"),))]
    for plan in between:
        station.run(plan, 3, 20_000_000)
    assert [station.run(errors.with_seed(seed), seed, 20_000_000) for seed in (2, 1)] == alone[::-1]
    fresh = prepare(Guest("random", "16"), "kvm:trixie", "full", None)
    assert fresh.run(errors.with_seed(2), 2, 20_000_000) == alone[1]


@needs_host
def test_faults_of_the_hart_reach_a_guest_of_real_kvm() -> None:
    """An overflow that the hart loses is never announced; a counter that it changes is read wrong."""
    station = prepare(Guest("payload", "overflow"), "kvm:trixie", "full", None)
    assert station.run(FaultPlan(), 0, 40_000_000).findings == ()
    lost = station.run(FaultPlan((parse_rule("hart.overflow:drop"),)), 0, 40_000_000)
    assert lost.injected > 0
    assert [one.way for one in lost.findings][:1] == ["overflow"] or lost.hung
    station = prepare(Guest("payload", "counting"), "kvm:trixie", "full", None)
    end = station.run(FaultPlan(), 0, 40_000_000)
    middle = end.virtual_ns - 1_000_000  # of the long loop, 2 ms before the end
    wrong = set()
    for counter in range(3, 19):
        rule = parse_rule(f"hart.counter:counter={counter},after={middle}ns,add=4096")
        changed = station.run(FaultPlan((rule,)), 0, 40_000_000)
        assert changed.injected == 1
        wrong |= {(one.event, one.told - one.truth) for one in changed.findings}
    assert wrong == {("cycles", 4096), ("instructions", 4096)}


@needs_host
def test_the_shortest_plan_of_what_is_silently_wrong(tmp_path: Path) -> None:
    text = """
guests = ["kvm: script: config cycles; start 0; work 100; config instructions; read 0; stop 0"]
[[fault]]
inject = ["perf.enable:event=cycles,state=error", "perf.create:event=cache-misses,errno=EBUSY"]
"""
    plan = load_campaign(plan_file(tmp_path, text))
    runner = Runner(plan)
    results = [runner.run(number) for number in range(len(plan))]
    assert [result["verdict"] for result in results] == [Verdict.SILENTLY_WRONG]
    (case,) = find_cases(plan, results, runner)
    assert case.rules == ("perf.enable:event=cycles,state=error,times=1",)
    assert case.behaviours == ()
    assert {record.actor for record in case.records} >= {"counter_start", "oracle"}


@needs_host
def test_a_rule_that_real_kvm_has_no_place_for_is_said(tmp_path: Path) -> None:
    text = 'guests = ["kvm: counting"]\n[[fault]]\ninject = ["guest.memory:address=0x80200000,remove"]'
    plan = load_campaign(plan_file(tmp_path, text))
    result = Runner(plan).run(0)
    assert result["verdict"] == Verdict.UNEXPECTED
    assert "on real KVM: no function of the kernel is guest.memory" in str(result["reason"])


@needs_host
def test_a_guest_that_never_ends_and_a_host_that_dies() -> None:
    hung = prepare(Guest("payload", "counting"), "kvm:trixie", "full", None).run(FaultPlan(), 0, 500_000)
    assert hung.hung
    assert "no end within 500,000 instructions" in hung.reason
    station = prepare(Guest("script", "config cycles; start 0"), "kvm:trixie", "full", None)
    panic = FaultPlan((parse_rule("host.call:function=kvm_riscv_vcpu_pmu_ctr_start,value=0,delay=1us"),))
    assert not station.run(panic, 0, 20_000_000).host_lost
    dead = station.run(
        FaultPlan((parse_rule("host.call:function=perf_event_create_kernel_counter,value=64"),)),
        0,
        60_000_000,
    )
    assert dead.host_lost
    assert "the KVM host stopped" in dead.reason
    assert station.run(FaultPlan(), 0, 20_000_000).stop == "script"


@needs_host
def test_the_command_has_a_column_for_the_real_one_and_fails_on_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'profiles = ["kvm-6.12", "kvm:trixie"]\nguests = ["failing-event"]\nseeds = 3\n' + FAULTS
    junit = tmp_path / "junit.xml"
    arguments = ["campaign", str(plan_file(tmp_path, text)), "--junit", str(junit), "-q"]
    assert main([*arguments, "--fail-on", "silently-wrong"]) == 1
    out = capsys.readouterr().out
    assert "kvm:trixie" in out.splitlines()[0]
    assert "silently wrong in kvm:trixie" in out
    assert 'classname="campaign.kvm:trixie.full"' in junit.read_text()
    assert "kvm:trixie" in (tmp_path / "plan" / "report.html").read_text()


@needs_host
def test_an_own_build_in_a_plan(tmp_path: Path) -> None:
    from vpmu.peers.host_image import host_image

    image = host_image("trixie")
    module = of_suite(image).read().module
    assert module is not None
    (tmp_path / "kvm.ko").write_bytes(module)
    (tmp_path / "Image").symlink_to(image.kernel)
    text = 'profiles = ["kvm:./Image+./kvm.ko"]\nguests = ["failing-event"]'
    plan = load_campaign(plan_file(tmp_path, text))
    assert Runner(plan).run(0)["verdict"] == Verdict.AS_SPECIFIED


@needs_host
@needs_guest
@pytest.mark.slow
def test_debian_in_a_vm_of_the_host_counts_what_the_hart_did() -> None:
    command = "perf stat -x, -e cycles,instructions true"
    station = prepare(Guest("linux", command), "kvm:trixie", "full", None)
    first = station.run(FaultPlan(), 0, 1_000_000_000)
    assert first.status == 0
    assert first.values >= 2
    assert first.findings == ()
    assert b"cycles" in first.output
    busy = station.run(FaultPlan((parse_rule("perf.create:event=cycles,errno=EBUSY"),)), 0, 1_000_000_000)
    assert b"<not counted>" in busy.output
    assert station.run(FaultPlan(), 0, 1_000_000_000) == first
    assert payload("counting").is_file()
