"""Real KVM on our own hart: the user's kernel, what brings it down, random sequences, recorded tables.

What is fetched is what Debian has today; where it cannot be had the tests skip.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from vpmu.cli.main import main
from vpmu.conform.calls import Call, Ref, Result, pmu
from vpmu.conform.explore import explore
from vpmu.conform.host_link import HostLink
from vpmu.conform.kvm import HostOptions, HostTarget, host_target
from vpmu.conform.kvm_registers import extensions
from vpmu.conform.model_link import model_target
from vpmu.conform.target import HostDown, PeerAbsent, TargetLost
from vpmu.errors import VpmuError
from vpmu.peers.host_image import HostImage, host_image
from vpmu.peers.host_source import HostSource, of_suite, own
from vpmu.peers.vpmu_host import ISA, kept_path
from vpmu.spec.sbi import PmuFid
from vpmu.vmm.kallsyms import KERNEL_LINK_ADDRESS, Kallsyms
from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.progress import Progress

pytestmark = pytest.mark.slow
QUIET = Progress(quiet=True)
ALL = 0x1FF_FFFF_FFFD


@pytest.fixture(scope="module")
def image() -> HostImage:
    try:
        return host_image("trixie")
    except FetchError as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def target(image: HostImage) -> HostTarget:
    return host_target(None, HostOptions("trixie"))


@pytest.fixture(scope="module")
def module(image: HostImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = of_suite(image).read().module
    assert data is not None
    path = tmp_path_factory.mktemp("module") / "kvm.ko"
    path.write_bytes(data)
    return path


def test_counts_of_real_kvm_are_those_of_the_model(target: HostTarget) -> None:
    """No instruction of the host enters: the counters of real KVM and of the model read the same."""
    calls = [
        pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, 1, 0),
        pmu(PmuFid.COUNTER_START, 0, ALL, 1, 0),
        Call("w", (100,)), Call("c", (0,)), Call("c", (0,)),
        pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, ALL, 0, 2, 0),
        pmu(PmuFid.COUNTER_START, Ref(5), 1, 1, 7),
        Call("c", (2,)), Call("c", (2,)),
    ]  # fmt: skip
    model = model_target(target.profile)
    target.reset()
    model.reset()
    real, modelled = target.run(calls), model.run(calls)
    assert [str(one) for one in real] == [str(one) for one in modelled]
    assert real[4].value - real[3].value == 71
    assert target.run([Call("c", (0,))])[0].value > real[4].value


def test_random_sequences_agree_and_a_miscount_would_be_found(
    target: HostTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = explore(60, 11, "kvm:trixie", None)
    assert report.passed, report.lines()
    from vpmu.conform.agent import AgentTarget

    honest = AgentTarget.run

    def off_by_one(self: AgentTarget, calls: Any) -> list[Result]:
        results = honest(self, calls)
        if self.name != "model":
            return results
        return [
            Result(one.value + (call.op == "c"), one.error, one.trap, one.errno, one.lost)
            for call, one in zip(calls, results, strict=True)
        ]

    monkeypatch.setattr(AgentTarget, "run", off_by_one)
    report = explore(60, 11, "kvm:trixie", None)
    assert report.findings
    assert all("the model counts" in finding.reason for finding in report.findings)
    assert min(len(finding.calls) for finding in report.findings) == 1  # shrunk


def test_a_guest_that_hangs_is_lost_and_comes_back(
    target: HostTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target.link, "patience", 20_000_000)
    target.reset()
    with pytest.raises(TargetLost, match=r"no answer within 20 M instructions: VS mode, pc 0x80"):
        target.run([Call("w", (1 << 40,))])
    assert target.revives
    target.reset()
    assert target.run([pmu(PmuFid.NUM_COUNTERS)])[0].value > 30


def test_without_the_pmu_extension_the_guest_has_none(target: HostTarget) -> None:
    target.reset(pmu=False)
    assert target.run([pmu(PmuFid.NUM_COUNTERS)])[0].error == -2
    target.reset()
    assert target.run([pmu(PmuFid.NUM_COUNTERS)])[0].error == 0


def test_what_kvm_offers(target: HostTarget) -> None:
    target.reset()
    found = extensions(target.link.exchange(b"K"))
    assert {"i", "m", "a", "c", "sscofpmf", "sstc"} <= set(found["isa"])
    assert {"TIME", "PMU", "HSM"} <= set(found["sbi"])
    assert found["sbi off"] == ["DBCN"]


def down(source: HostSource, **options: Any) -> HostDown:
    with pytest.raises(HostDown) as caught:
        HostLink(source, QUIET, **options)
    assert not kept_path(source, **options).exists()
    return caught.value


def test_own_kernel_and_module(
    image: HostImage, module: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    status = main(
        ["host", "--host-kernel", str(image.kernel), "--kvm-module", str(module), "--console", str(log)]
    )
    said = capsys.readouterr().out
    assert status == 0
    assert f"Linux {image.release}" in said
    assert re.search(r"^guest's SBI: .*\bPMU\b", said, re.MULTILINE)
    assert "hypervisor extension available" in log.read_text()


def test_a_kernel_without_kvm(image: HostImage) -> None:
    error = down(own(image.kernel))
    assert str(error).startswith(
        "kvm: no KVM in this kernel: expected it built in, or --kvm-module, got no /dev/kvm (its console: "
    )
    assert Path(str(error)[:-1].rpartition("console: ")[2]).read_bytes().decode() == error.console
    assert "Linux version" in error.console


def test_a_hart_without_h(image: HostImage) -> None:
    isa = tuple(name for name in ISA if name not in ("h", "ssaia"))
    assert "no KVM: expected a hart with the H extension" in str(down(of_suite(image), isa=isa))


def test_a_host_that_panics_at_boot(
    image: HostImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = bytearray(image.kernel.read_bytes())
    symbol = Kallsyms(kernel).find("kernel_init")
    assert symbol is not None
    at = symbol.address - KERNEL_LINK_ADDRESS + 16  # behind the place of ftrace's call
    kernel[at : at + 8] = bytes(8)  # illegal instructions
    path, log = tmp_path / "Image", tmp_path / "log"
    path.write_bytes(kernel)
    assert main(["host", "--host-kernel", str(path), "--console", str(log)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("vpmu: error: host kernel: the KVM host does not come up: it ends (reset) after ")
    assert "Oops" in log.read_text()


def test_a_host_that_hangs_at_boot_says_where(
    image: HostImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = bytearray(image.kernel.read_bytes())
    symbol = Kallsyms(kernel).find("rest_init")
    assert symbol is not None
    at = symbol.address - KERNEL_LINK_ADDRESS + 16
    kernel[at : at + 4] = (0x6F).to_bytes(4, "little")  # j .
    path, log = tmp_path / "Image", tmp_path / "log"
    path.write_bytes(kernel)
    monkeypatch.setattr("vpmu.conform.host_link.BOOT_INSTRUCTIONS", 300_000_000)
    assert main(["host", "--host-kernel", str(path), "--console", str(log)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "it hangs after 300 M instructions, S mode, pc 0x" in error
    assert "(rest_init): [" in error
    assert "Linux version" in log.read_text()


def test_a_kernel_that_is_cut_short_is_named(
    image: HostImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "Image"
    path.write_bytes(image.kernel.read_bytes()[:-1_000_000])
    assert main(["host", "--host-kernel", str(path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"vpmu: error: loader: {path}: truncated kernel: expected")


def test_recorded_tables_on_the_real_kernel(
    image: HostImage, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    """Of a table of an earlier 6.12 the lines disagree that its fixes decide, as the model says of them."""
    table = project / "tests" / "tables" / "kvm-6.12-sbi.txt"
    main(["replay", "-q", str(table), "--on", "kvm:trixie"])
    said = capsys.readouterr().out
    agree, lines = map(int, re.findall(r"^(\d+) of (\d+) lines agree", said)[0])
    explained = int(re.findall(r"^(\d+) of the others: the model of kvm-6\.12", said, re.MULTILINE)[0])
    assert agree > 500
    assert agree + explained == lines


def test_a_snapshot_that_does_not_fit_is_made_anew(image: HostImage, target: HostTarget) -> None:
    path = kept_path(of_suite(image))
    kept = path.read_bytes()
    try:
        path.unlink()
        path.write_bytes(kept[:5000])
        link = HostLink(of_suite(image), QUIET)
        assert link.facts.kernel == target.facts.kernel
        assert path.stat().st_size > 10_000_000
    except VpmuError as error:
        pytest.fail(str(error))


def test_no_suite_without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise FetchError("no APT")

    monkeypatch.setattr("vpmu.conform.kvm.host_image", refuse)
    with pytest.raises(PeerAbsent):
        host_target(None, HostOptions("trixie"))
