"""Random testing: the properties on the specification, the comparison with a target, and the shrinking."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform import explore as exploring
from vpmu.conform.calls import Call, Result, pmu
from vpmu.conform.explore import explore
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.properties import Properties
from vpmu.conform.sequences import Generator, shrink
from vpmu.conform.target import probe
from vpmu.spec.sbi import Eid, PmuFid, SbiError
from vpmu.vmm.replay_table import read_table


def test_the_specification_keeps_the_properties() -> None:
    report = explore(1000, 7, None, "spec-3.0")
    assert report.lines()[-1] == "# 0 disagreements"
    assert report.sequences == 1000


@pytest.mark.parametrize(
    ("profile", "some"),
    [
        ("kvm-6.9", {("perf-failure-ends-kvm-run",), ("no snapshot",), ("no fw-read-hi",)}),
        ("kvm-6.10", {("fw-state-per-code",), ("hole-accepted",)}),
        ("kvm-6.12", {("fw-state-per-code",), ("wrapped-set-accepted",)}),
        ("kvm-7.2", {("fixed-counter-ignores-set",), ("reserved-flags-ignored",)}),
    ],
)
def test_kvm_breaks_them_as_its_behaviours_say(
    profile: str, some: set[tuple[str, ...]], tmp_path: Path
) -> None:
    report = explore(120, 0, None, profile)
    assert report.findings == []
    assert report.passed
    assert some <= {finding.behaviours for finding in report.known}
    assert report.diverging > 80
    assert min(len(finding.calls) for finding in report.known) <= 3
    assert report.lines()[-1] == "# 0 disagreements"
    table = tmp_path / "found.txt"
    table.write_text("\n".join(report.lines()) + "\n")
    assert len(read_table(str(table)).runs) == len(report.known)
    if profile == "kvm-7.2":  # older ones count what the payload itself does between the calls
        assert main(["replay", str(table), "--profile", profile, "-q"]) == 0


def test_what_no_behaviour_explains_is_found_beside_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    run = InProcessTarget.run

    def broken(self: InProcessTarget, calls: Sequence[Call]) -> list[Result]:
        """counter_start answers what the specification has for counter_stop."""
        start = (Eid.PMU, PmuFid.COUNTER_START)
        return [
            replace(result, error=int(SbiError.ALREADY_STOPPED)) if call.operands[:2] == start else result
            for call, result in zip(calls, run(self, calls), strict=True)
        ]

    monkeypatch.setattr(InProcessTarget, "run", broken)
    report = explore(40, 0, None, "kvm-7.2")
    assert report.known
    assert {len(finding.calls) for finding in report.findings} == {1}
    assert all("property 10: ALREADY_STOPPED" in finding.reason for finding in report.findings)
    assert not report.passed


def test_our_agent_answers_as_the_model_does() -> None:
    for profile in ("spec-3.0", "kvm-7.2"):
        report = explore(40, 3, "agent", profile)
        assert [finding.reason for finding in report.findings] == []


def test_a_model_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(InProcessTarget):
        def __init__(self, profile: object, host_pmu: str) -> None:
            super().__init__("kvm-6.12", host_pmu)

    monkeypatch.setattr(exploring, "InProcessTarget", Other)
    report = explore(100, 3, "in-process", "spec-3.0")
    assert not report.passed
    assert all(finding.calls for finding in report.findings)


def test_the_same_seed_gives_the_same_sequences() -> None:
    facts = probe(InProcessTarget("spec-3.0"))
    one, other = Generator(facts, 5), Generator(facts, 5)
    assert [one.sequence() for _ in range(20)] == [other.sequence() for _ in range(20)]
    assert Generator(facts, 6).sequence() != Generator(facts, 5).sequence()


def test_shrinking_leaves_what_matters() -> None:
    calls = [Call("w", (100,)), pmu(0), pmu(1, 63), Call("w", (7,)), pmu(4, 0, 12, 1)]
    best = shrink(calls, lambda some: any(call.op == "e" and call.operands[1] == 1 for call in some))
    assert best == [pmu(1, 0)]


def test_properties_notice_a_wrong_answer() -> None:
    target = InProcessTarget("spec-3.0")
    properties = Properties(probe(target))
    call = pmu(2, 0, 1 << 19, 0, 0xF0005, 0)
    right = target.run([call])[0]
    assert properties.violation(call, call.resolve([]), right) is None
    assert "property 6" in (properties.violation(call, call.resolve([]), right) or "")


@pytest.mark.qemu
def test_opensbi_on_qemu_answers_as_its_profile() -> None:
    if shutil.which("qemu-system-riscv64") is None:
        pytest.skip("qemu-system-riscv64 is not installed")
    report = explore(25, 11, "qemu", None)
    if report.profile != "opensbi-1.1":
        pytest.skip("no run of this OpenSBI has been looked at")
    assert report.lines()[-1] == "# 0 disagreements"
