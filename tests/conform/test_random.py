"""Random testing: the properties on the specification, the comparison with a target, and the shrinking."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform import explore as exploring
from vpmu.conform.calls import Call, pmu
from vpmu.conform.explore import explore
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.properties import Properties
from vpmu.conform.sequences import Generator, shrink
from vpmu.conform.target import probe
from vpmu.vmm.replay_table import read_table


def test_the_specification_keeps_the_properties() -> None:
    report = explore(1000, 7, None, "spec-3.0")
    assert report.lines()[-1] == "# 0 disagreements"
    assert report.sequences == 1000


def test_kvm_breaks_them_and_the_sequences_found_are_short_tables(tmp_path: Path) -> None:
    report = explore(200, 7, None, "kvm-7.2")
    assert report.findings
    assert min(len(finding.calls) for finding in report.findings) <= 3
    table = tmp_path / "found.txt"
    table.write_text("\n".join(report.lines()) + "\n")
    assert len(read_table(str(table)).runs) == len(report.findings)
    assert main(["replay", str(table), "--profile", "kvm-7.2", "-q"]) == 0


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
