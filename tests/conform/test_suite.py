"""The suite against our own machines: in process, and through the agent in machine code."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from vpmu.cli.main import main
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.machine_link import agent_target
from vpmu.conform.report import as_object, junit, ktap, passed
from vpmu.conform.suite import load_suite
from vpmu.conform.target import Target
from vpmu.conform.verdict import Outcome, Verdict, run_suite
from vpmu.profiles.behaviours import BEHAVIOURS
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.report.conformance import matrix

CONFIRMED = {
    "O1": "read-accumulates",
    "O2": "started-survives-reset",
    "O3": "auto-start-untracked",
    "O4": "fixed-counter-ignores-set",
    "O5": "skip-match-needs-configured",
    "O6": "snapshot-ends-at-error",
    "O7": "shmem-unaligned",
    "O8": "fw-read-accepts-hw",
    "O9": "info-beyond-last",
    "O10": "reserved-flags-ignored",
    "O11": "no-event-counts-cycles",
    "O14": "fw-state-per-code",
}
"""Findings in KVM that real runs have confirmed, and the behaviour that the suite finds each by."""


def complaints(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{one.test.id}: {one.reason}"
        for one in outcomes
        if one.verdict in (Verdict.UNEXPECTED, Verdict.LOST)
    ]


def test_the_suite_is_large_enough_and_every_test_has_its_section() -> None:
    tests = load_suite()
    assert len(tests) >= 200
    assert all(test.id and test.title and test.spec and test.steps for test in tests)
    assert all(test.id == test.id.upper() or "_" in test.id for test in tests)


@pytest.mark.parametrize("host", ["qemu-virt", "full"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_what_is_expected_of_it(profile: str, host: str) -> None:
    outcomes = run_suite(InProcessTarget(profile, host), load_suite())
    assert complaints(outcomes) == []
    assert passed(outcomes)


def test_the_specification_has_no_divergences() -> None:
    outcomes = run_suite(InProcessTarget("spec-3.0", "full"), load_suite())
    others = {outcome.test.id for outcome in outcomes if outcome.verdict is not Verdict.PASS}
    assert others == {"LIFE-HELD", "LIFE-LEAK"}  # these take a TLB: the agent does them


def test_held_and_leaked_host_counters() -> None:
    """As on KVM 6.12.107 and 7.2.13 under QEMU 10.0.2 (O12, O27); the specification loses none."""
    tests = [test for test in load_suite() if test.id in ("LIFE-HELD", "LIFE-LEAK")]
    assert len(tests) == 2
    for profile, verdict in (("spec-3.0", Verdict.PASS), ("kvm-6.12", Verdict.DIVERGENCE)):
        outcomes = run_suite(agent_target(profile), tests)
        assert [outcome.verdict for outcome in outcomes] == [verdict, verdict]
    assert [outcome.behaviours[0] for outcome in outcomes] == ["error-state-ignored", "fw-reset-leaks-event"]


@pytest.mark.parametrize("profile", ["spec-3.0", "kvm-6.12", "kvm-7.2", "opensbi-1.6"])
def test_the_agent_agrees(profile: str) -> None:
    assert complaints(run_suite(agent_target(profile), load_suite())) == []


def test_the_agent_runs_anywhere() -> None:
    from vpmu.conform.agent import AgentTarget
    from vpmu.conform.machine_link import MachineLink
    from vpmu.payloads import path

    link = MachineLink("spec-3.0", "qemu-virt")
    place = link.machine.memory_base + 0x5_3000
    link.machine.vcpu(0).write(place, path("agent").read_bytes())
    link.machine.vcpu(0).pc = place
    target = AgentTarget(link, "agent", "moved", profile="spec-3.0")
    assert target.base == place
    tests = [test for test in load_suite() if test.id.startswith(("VALUE", "CSR", "FWREAD"))]
    target.memory_end = link.machine.memory_base + link.machine.memory_size
    assert complaints(run_suite(target, tests)) == []


def test_what_is_confirmed_of_kvm_is_found() -> None:
    found = set()
    for profile in ("kvm-6.12", "kvm-7.2"):
        for outcome in run_suite(InProcessTarget(profile), load_suite()):
            found.update(outcome.behaviours)
    assert {name for name, behaviour in CONFIRMED.items() if behaviour not in found} == set()


def test_a_profile_that_claims_too_much_is_noticed() -> None:
    target = InProcessTarget(get_profile("spec-3.0"))
    target.profile = get_profile("spec-3.0", with_=["hole-accepted"])
    unexpected = [one.test.id for one in run_suite(target, load_suite()) if one.verdict is Verdict.UNEXPECTED]
    assert "START-HOLE" in unexpected


@pytest.mark.qemu
def test_opensbi_on_qemu() -> None:
    if shutil.which("qemu-system-riscv64") is None:
        pytest.skip("qemu-system-riscv64 is not installed")
    from vpmu.conform.qemu import qemu_target

    target: Target = qemu_target()
    try:
        if target.profile.name != "opensbi-1.1":
            pytest.skip(f"no run of {target.description} has been looked at")
        outcomes = run_suite(target, load_suite())
    finally:
        target.close()
    assert complaints(outcomes) == []
    assert sum(one.verdict is Verdict.PASS for one in outcomes) > 200


@pytest.fixture(scope="module")
def run() -> tuple[Target, list[Outcome]]:
    target = InProcessTarget("kvm-7.2")
    return target, run_suite(target, load_suite())


def test_ktap(run: tuple[Target, list[Outcome]]) -> None:
    lines = list(ktap(*run))
    results = [line for line in lines if line.startswith(("ok", "not ok"))]
    assert lines[0] == "KTAP version 1"
    assert f"1..{len(results)}" in lines
    assert [int(line.split()[1]) for line in results] == list(range(1, len(results) + 1))
    assert any(line.startswith("# known divergence:") and "O9" in line for line in lines)


def test_junit(run: tuple[Target, list[Outcome]]) -> None:
    root = ElementTree.fromstring(junit([run]))
    cases = root.findall("./testsuite/testcase")
    assert len(cases) == len(load_suite())
    assert root.attrib["failures"] == "0"
    assert len(root.findall(".//skipped")) == sum(one.verdict is Verdict.SKIPPED for one in run[1])


def test_json(run: tuple[Target, list[Outcome]]) -> None:
    value = json.loads(json.dumps(as_object(*run)))
    for entry in value["results"]:
        assert {"id", "title", "spec", "verdict", "behaviour", "calls"} <= set(entry)
        if entry["verdict"] == "known divergence":
            assert all(BEHAVIOURS[one["name"]].reference for one in entry["citations"])
            assert entry["behaviour"]


def test_the_page_is_whole_and_needs_nothing_from_outside(run: tuple[Target, list[Outcome]]) -> None:
    spec = InProcessTarget("spec-3.0")
    text = matrix([run, (spec, run_suite(spec, load_suite()))])
    opened: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not {"src", "href"} & {name for name, _ in attrs}
            if tag not in ("meta", "br", "input"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Parser().feed(text)
    assert opened == []
    assert "width=device-width" in text
    assert text.count("<tr data-verdict=") == len(load_suite())


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    page, xml = tmp_path / "m.html", tmp_path / "j.xml"
    assert (
        main(["conform", "--profile", "kvm-7.2", "--only", "CFG", "--html", str(page), "--junit", str(xml)])
        == 0
    )
    assert capsys.readouterr().out.startswith("KTAP version 1\n")
    assert page.stat().st_size > 1000
    assert xml.stat().st_size > 1000
    assert main(["conform", "--profile", "spec-3.0", "--only", "CFG-HOLE", "--json"]) == 0
    assert [one["verdict"] for one in json.loads(capsys.readouterr().out)["results"]] == ["pass"] * 4
    assert main(["conform", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(load_suite())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "nowhere"],
        ["--only", "nothing-like-this"],
        ["--against", "qemu"],
        ["--profile", "kvm-1.0"],
    ],
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", *arguments]) == 2
    assert capsys.readouterr().err.startswith("vpmu: error: ")
