"""Real software at every level of one hart: OpenSBI in M mode, Debian in HS mode, its KVM, a guest in VS.

What is fetched is what Debian has today; where it cannot be had the tests skip.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from vpmu.conform.kvm import HostOptions, kvm_target
from vpmu.conform.machine_link import opensbi_target
from vpmu.conform.suite import load_suite
from vpmu.conform.target import PeerAbsent, Target
from vpmu.conform.verdict import Verdict, run_suite
from vpmu.hart.events import HartEvent, Mode
from vpmu.payloads import path
from vpmu.vmm.isa import FIRMWARE_ISA
from vpmu.vmm.linux.boot import DEFAULT_MEMORY, LinuxBoot
from vpmu.vmm.linux.cache import Cache, FetchError, default_root
from vpmu.vmm.linux.fetch import debian_guest
from vpmu.vmm.linux.opensbi import INSIDE, fetched_opensbi
from vpmu.vmm.machine import Machine

pytestmark = pytest.mark.slow

HOST_ISA = ("h", "sstc", "sscofpmf", "ssaia")


def installed() -> Path:
    """The firmware of this machine's own package."""
    found = Path("/", INSIDE)
    if not found.exists():
        pytest.skip("the package opensbi is not installed")
    return found


def fetched() -> Path:
    """The firmware of Debian's stable suite."""
    if shutil.which("apt-get") is None:
        pytest.skip("no APT to fetch OpenSBI with")
    try:
        return fetched_opensbi()
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[installed, fetched], ids=["installed", "fetched"])
def firmware(request: pytest.FixtureRequest) -> Path:
    return Path(request.param())


def machine_on(firmware: Path, **options: object) -> Machine:
    settings = {"firmware": str(firmware), "isa": FIRMWARE_ISA, "host_pmu": "full", "memory": 32 << 20}
    return Machine(**(settings | options))  # type: ignore[arg-type]


def test_opensbi_boots_in_m_mode_and_starts_an_image(firmware: Path) -> None:
    machine = machine_on(firmware)
    machine.load(str(path("hello")))
    result = machine.run(max_instructions=100_000_000)
    assert (result.stop, result.reset_reason) == ("shutdown", 0)
    assert re.search(rb"OpenSBI v\d\.\d", result.console)
    assert b"hello from S-mode on hart 0" in result.console
    assert re.search(rb"MIDELEG\s+: 0x0*2666\b", result.console)
    assert re.search(rb"PMP Count\s+: 16\b", result.console)
    hart = machine.vcpu(0).hart
    by_mode = {mode: hart.count(HartEvent.INSTRUCTIONS, mode) for mode in Mode}
    assert by_mode[Mode.M] > 1_000_000
    assert 1000 < by_mode[Mode.S] < 10_000
    assert by_mode[Mode.U] == by_mode[Mode.VS] == by_mode[Mode.VU] == 0
    assert sum(by_mode.values()) == result.instructions


@pytest.mark.parametrize("options", [{"pmp": 0}, {"isa": ("sscofpmf",)}, {"harts": 2}], ids=str)
def test_opensbi_on_other_harts(firmware: Path, options: dict[str, object]) -> None:
    machine = machine_on(firmware, **options)
    machine.load(str(path("hello")))
    result = machine.run(max_instructions=200_000_000)
    assert (result.stop, result.reset_reason) == ("shutdown", 0), result.console.decode(errors="replace")


def unexpected(target: Target, *parts: str) -> list[str]:
    """Run tests of the suite; what came out as neither the specification nor the profile says."""
    tests = [test for test in load_suite() if test.id.startswith(parts)]
    try:
        outcomes = run_suite(target, tests)
    finally:
        target.close()
    assert sum(outcome.verdict is Verdict.PASS for outcome in outcomes) > len(tests) // 3
    bad = (Verdict.UNEXPECTED, Verdict.LOST)
    return [f"{outcome.test.id}: {outcome.reason}" for outcome in outcomes if outcome.verdict in bad]


def test_real_opensbi_answers_as_its_profile(firmware: Path) -> None:
    target = opensbi_target(f"opensbi:{firmware}")
    assert not unexpected(target, "CFG", "START", "STOP", "VALUE", "OVERFLOW")


@pytest.fixture(scope="module")
def debian_files() -> tuple[memoryview, memoryview]:
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    guest = debian_guest()
    return guest.kernel_image(), guest.initramfs()


def outcome_of(files: tuple[memoryview, memoryview], command: str, **options: object) -> str:
    said = bytearray()
    boot = LinuxBoot(*files, command=command, output=said.extend)
    settings = {"host_pmu": "full", "memory": DEFAULT_MEMORY}
    boot.machine(**(settings | options))
    outcome = boot.run(max_instructions=8_000_000_000)
    assert outcome.ok, outcome.failure
    return said.decode()


STAT = "perf stat -x, -e cycles:u,instructions:u true 2>&1"
RECORD = (
    "perf record -q -c 50000 -e cycles:u -o /tmp/p perf stat true 2>/dev/null; "
    "perf script -i /tmp/p -F event | wc -l"
)


@pytest.mark.parametrize("below", ["firmware in Python", "real OpenSBI"])
def test_debian_counts_and_samples_in_hs_mode(
    debian_files: tuple[memoryview, memoryview], below: str
) -> None:
    """The same counts whoever plays M mode: what runs in U mode is the same program."""
    options: dict[str, object] = {"profile": "opensbi-1.6", "isa": FIRMWARE_ISA}
    if below == "real OpenSBI":
        options = {"firmware": str(fetched()), "isa": FIRMWARE_ISA}
    counts = re.findall(r"^(\d+),", outcome_of(debian_files, STAT, **options), re.MULTILINE)
    assert len(counts) == 2
    assert counts[0] == counts[1] != "0"


def test_debian_samples_in_hs_mode(debian_files: tuple[memoryview, memoryview]) -> None:
    said = outcome_of(debian_files, RECORD, profile="opensbi-1.6", isa=FIRMWARE_ISA)
    assert int(said.split()[-1]) > 10


def test_real_kvm_on_our_hart_answers_as_its_profile() -> None:
    """The stock host, its kvm.ko, and a guest of it; overflow interrupts, which no QEMU host passes on."""
    try:
        target = kvm_target(options=HostOptions("trixie", on="vpmu"))
    except PeerAbsent as absent:
        pytest.skip(str(absent))
    assert "hypervisor extension available" in " ".join(target.facts.log)
    assert not unexpected(target, "OVERFLOW", "CFG", "CSR")
