"""A guest that brings the host down: what it is called everywhere, and that a real host is spared."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from vpmu import HostLostError, Machine, Recorder, VpmuError
from vpmu.campaign.catalogue import load_catalogue, run_scenario
from vpmu.campaign.verdict import Verdict
from vpmu.cli.main import main
from vpmu.conform.explore import _Compared
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.suite import load_suite
from vpmu.conform.target import probe
from vpmu.conform.verdict import Verdict as Conformance
from vpmu.conform.verdict import run_suite
from vpmu.errors import HOST_LOST_STATUS
from vpmu.spec.sbi import Eid, PmuFid
from vpmu.trace.chains import chains_of
from vpmu.trace.views import TraceFile

FIX = "b7749531a9b1"
ECALL = 0x00000073
PAGE, HOLE = 0x80008000, 0x40000000
CALLS = (
    (PmuFid.SNAPSHOT_SET_SHMEM, PAGE, 0, 0),
    (PmuFid.COUNTER_CONFIG_MATCHING, 0, 4, 2, 2, 0),
    (PmuFid.COUNTER_START, 2, 1, 1, 0),
    (PmuFid.SNAPSHOT_SET_SHMEM, HOLE, 0, 0),
    (PmuFid.COUNTER_STOP, 2, 1, 2),
)
"""A good page, a counter, a page that is none, and a snapshot of the counter."""


def image() -> bytes:
    """The calls as machine code: registers from a table behind it, then power off."""
    words = [0x00000417, 0x10040413]  # auipc s0, 0; addi s0, s0, 256
    rows = [(int(Eid.PMU), *map(int, call), *[0] * (7 - len(call))) for call in CALLS]
    rows.append((int(Eid.SRST), 0, 0, 0, 0, 0, 0, 0))
    for number in range(len(rows)):
        for place, register in enumerate((17, 16, 10, 11, 12, 13, 14)):
            words.append((64 * number + 8 * place) << 20 | 8 << 15 | 3 << 12 | register << 7 | 0x03)
        words.append(ECALL)
    code = struct.pack(f"<{len(words)}I", *words)
    return code.ljust(256, b"\0") + b"".join(struct.pack("<8Q", *row) for row in rows)


@pytest.fixture
def guest(tmp_path: Path) -> str:
    (tmp_path / "guest.bin").write_bytes(image())
    return str(tmp_path / "guest.bin")


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_run_ends_with_the_host(engine: str) -> None:
    machine = Machine("kvm-7.2", memory=4 << 20, engine=engine)
    machine.load(image())
    for _ in range(2):  # it does not come back
        result = machine.run()
        assert (result.stop, result.fixed_by, result.ok) == ("host_lost", FIX, False)
        assert FIX in result.reason
        assert "shmem-stale-page" in result.reason
        assert result.kvm_run_errno is None
    with pytest.raises(VpmuError, match="host lives"):
        machine.snapshot()


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-6.12"])
def test_others_survive(profile: str) -> None:
    machine = Machine(profile, memory=4 << 20)
    machine.load(image())
    assert machine.run().stop == "shutdown"


def test_without_the_behaviour_the_guest_goes_on() -> None:
    machine = Machine("kvm-7.2", without=["shmem-stale-page"], memory=4 << 20)
    machine.load(image())
    assert machine.run().stop == "shutdown"


def test_a_snapshot_keeps_it() -> None:
    machine = Machine("kvm-7.2", memory=4 << 20)
    machine.load(image())
    while machine.vcpu(0).pmu.snapshot.gone is False:
        machine.run(max_instructions=1)
    snapshot = machine.snapshot()
    assert machine.run().stop == "host_lost"
    machine.restore(snapshot)
    assert machine.run().stop == "host_lost"


def test_scripted_guest() -> None:
    vcpu = Machine("kvm-7.2", memory=1 << 20).vcpu(0)
    for call in CALLS[:-1]:
        vcpu.ecall(Eid.PMU, *call)
    with pytest.raises(HostLostError, match=FIX):
        vcpu.ecall(Eid.PMU, *CALLS[-1])


@pytest.mark.parametrize("command", ["run", "stat"])
def test_exit_status(command: str, guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, guest, "--profile", "kvm-7.2"]) == HOST_LOST_STATUS
    assert FIX in capsys.readouterr().err
    assert main([command, guest, "--profile", "kvm-6.12"]) == 0
    capsys.readouterr()
    assert main([command, guest, "--profile", "kvm-7.2", "--json"]) == HOST_LOST_STATUS
    told = json.loads(capsys.readouterr().out)
    assert (told["stop"], told["fixed_by"]) == ("host_lost", FIX)


def test_explain_says_what_killed_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    machine = Machine("kvm-7.2", memory=4 << 20, recorder=recorder)
    machine.load(image())
    machine.run()
    *_, chain = chains_of(recorder.records)
    assert chain.kind == "host lost"
    assert FIX in chain.title
    with TraceFile(tmp_path / "run.jsonl") as file:
        for record in recorder.records:
            file(record)
    assert main(["explain", str(tmp_path / "run.jsonl")]) == HOST_LOST_STATUS
    assert f"host lost: counter_stop: the host goes down; {FIX} mends it" in capsys.readouterr().out


def test_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row.profile: row.verdict for row in run_scenario(load_catalogue()["F39"])}
    assert rows["kvm-7.2"] is Verdict.HOST_LOST
    assert Verdict.HOST_LOST not in (rows["kvm-6.10"], rows["kvm-6.12"], rows["spec-3.0"])
    assert main(["faults", "run", "F39"]) == 0  # it is as the catalogue says
    assert "host lost" in capsys.readouterr().out
    assert main(["faults", "run", "F39", "--profile", "kvm-6.12"]) == 0


def test_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str], guest: str) -> None:
    (tmp_path / "plan.toml").write_text(
        f'''name = "lost"
profiles = ["kvm-6.12", "kvm-7.2"]
guests = ["{guest}", "script: shmem page; config ref-cycles counters=3; start 3; shmem hole; stop 3 snapshot"]
seeds = 1
[[fault]]
name = "none"
'''
    )
    assert main(["campaign", str(tmp_path / "plan.toml"), "--json"]) == HOST_LOST_STATUS
    assert json.loads(capsys.readouterr().out)["verdicts"] == {"as specified": 2, "host lost": 2}
    assert "host lost" in (tmp_path / "plan/report.html").read_text()


# --- conformance


def test_conformance_has_a_verdict_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "--profile", "kvm-7.2", "--only", "STALE"]) == 0  # known of this profile
    assert f"# host lost: shmem-stale-page ({FIX}" in capsys.readouterr().out
    for profile in ("kvm-6.12", "spec-3.0"):
        assert main(["conform", "--profile", profile, "--only", "STALE"]) == 0


class Real(InProcessTarget):
    """A target that has a host to lose."""

    def __init__(self) -> None:
        super().__init__("kvm-7.2")
        self.name = "kvm"


def test_a_real_host_is_spared() -> None:
    tests = [test for test in load_suite() if "STALE" in test.id]
    verdicts = {one.test.id: one for one in run_suite(Real(), tests)}
    for name in ("SHMEM-STALE-STOP", "SHMEM-STALE-START"):
        assert verdicts[name].verdict is Conformance.SKIPPED
        assert FIX in verdicts[name].reason
    assert verdicts["SHMEM-STALE-OFF"].verdict is Conformance.PASS


def test_random_sequences_that_would_lose_a_real_host_are_not_done_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vpmu.conform.calls import pmu

    target = Real()
    compared = _Compared(target, probe(target), "qemu-virt")
    monkeypatch.setattr(target, "run", lambda calls: pytest.fail("it was done"))
    calls = [
        pmu(PmuFid.SNAPSHOT_SET_SHMEM, target.scratch, 0, 0),
        pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, 4, 2, 2, 0),
        pmu(PmuFid.SNAPSHOT_SET_SHMEM, target.hole, 0, 0),
        pmu(PmuFid.COUNTER_START, 2, 1, 2, 0),
    ]
    assert compared.reason([], calls) is None
