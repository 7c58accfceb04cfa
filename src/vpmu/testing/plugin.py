"""The pytest plugin: machines for tests, as the marks and options of a test say.

    @pytest.mark.vpmu(profile="kvm-6.9", host_pmu="full", inject="perf.create:errno=EBUSY")
    def test_my_driver(vpmu_machine):
        vpmu_machine.load("driver.elf")
        assert vpmu_machine.run(max_instructions=10_000_000).ok

    def test_my_tool(vpmu_linux):
        assert "instructions" in vpmu_linux.run("perf stat -e instructions true").text

    def test_my_kernel(vpmu_host):
        assert vpmu_host.ecall(Eid.BASE, BaseFid.PROBE_EXTENSION, Eid.PMU) == (0, 1)

`vpmu_linux` is Debian at its prompt, `vpmu_host` a guest in a VM of real KVM: both are booted once, and every
test begins at the same state. A test that fails has in its report the faults that happened, the wrong counts,
what was refused, frozen or lost and by which layer, and the end of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .settings import MACHINE, OPTIONS, fault_plan, seed_of, settings

if TYPE_CHECKING:
    from vpmu.campaign.oracle import Oracle
    from vpmu.vmm.machine import Machine

    from .guest_linux import LinuxGuest, LinuxGuests
    from .real_host import RealHost, RealHosts

KEPT = 60
"""Records of the trace in the report of a failed test."""
CHAINS = 12
"""Chains through the layers in it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--vpmu-*`."""
    group = parser.getgroup("vpmu", "RISC-V guests on a virtual PMU")
    for name, text in OPTIONS.items():
        group.addoption(f"--vpmu-{name}", default=None, metavar=name.upper(), help=text)


def pytest_configure(config: pytest.Config) -> None:
    """The mark."""
    config.addinivalue_line(
        "markers", f"vpmu({', '.join(MACHINE)}): what the machine of vpmu_machine or vpmu_linux is like"
    )


@pytest.fixture
def vpmu_machine(request: pytest.FixtureRequest) -> Machine:
    """A machine of its own for each test, with its trace recorded."""
    from vpmu.campaign.oracle import Oracle
    from vpmu.errors import VpmuError
    from vpmu.trace.recorder import Recorder
    from vpmu.vmm.machine import Machine

    arguments = settings(request)
    try:
        faults = fault_plan(arguments.pop("inject", None), seed_of(arguments))
        arguments.setdefault("memory", 16 << 20)
        machine = Machine(recorder=Recorder(), faults=faults, **arguments)  # type: ignore[arg-type]
    except VpmuError as error:
        raise pytest.UsageError(f"vpmu_machine of {request.node.nodeid}: {error}") from None
    oracle = Oracle(machine)
    oracle.attach()
    request.node.stash[_MACHINE] = (machine, oracle)
    return machine


@pytest.fixture(scope="session")
def vpmu_linux_guests() -> LinuxGuests:
    """The booted guests that the tests of a process share."""
    from .guest_linux import LinuxGuests

    return LinuxGuests()


@pytest.fixture
def vpmu_linux(request: pytest.FixtureRequest, vpmu_linux_guests: LinuxGuests) -> LinuxGuest:
    """Debian at its prompt: `vpmu_linux.run("perf stat true")` answers with output and status. Each `run`
    begins at the same state.
    """
    from vpmu.errors import VpmuError

    from .guest_linux import skip_without_debian

    try:
        guest = vpmu_linux_guests.guest(settings(request))
    except VpmuError as error:
        skip_without_debian(error)
        raise pytest.UsageError(f"vpmu_linux of {request.node.nodeid}: {error}") from None
    request.node.stash[_MACHINE] = (guest.machine, guest.oracle)
    return guest


@pytest.fixture(scope="session")
def vpmu_hosts() -> RealHosts:
    """The hosts of real KVM that the tests of a process share."""
    from .real_host import RealHosts

    return RealHosts()


@pytest.fixture
def vpmu_host(request: pytest.FixtureRequest, vpmu_hosts: RealHosts) -> Iterator[RealHost]:
    """A guest in a fresh VM of real KVM on our hart, and hooks in the host's kernel, which end with the test.
    Which kernel: `--vpmu-host`, or `--vpmu-host-kernel` with `--vpmu-kvm-module`.
    """
    from vpmu.conform.target import PeerAbsent
    from vpmu.errors import VpmuError

    option = request.config.getoption
    try:
        host = vpmu_hosts.host(
            option("--vpmu-host") or "kvm", option("--vpmu-host-kernel"), option("--vpmu-kvm-module")
        )
        host.restore()
    except PeerAbsent as absent:
        pytest.skip(str(absent))
    except VpmuError as error:
        raise pytest.UsageError(f"vpmu_host of {request.node.nodeid}: {error}") from None
    yield host
    host.restore()


@pytest.fixture
def vpmu_oracle(request: pytest.FixtureRequest) -> Oracle:
    """What the guest of vpmu_machine or vpmu_linux was told against what its hart did: `findings` is empty
    where every count was true.
    """
    wanted = "vpmu_linux" if "vpmu_linux" in request.fixturenames else "vpmu_machine"
    request.getfixturevalue(wanted)
    return request.node.stash[_MACHINE][1]  # type: ignore[no-any-return]


_MACHINE: pytest.StashKey[tuple[Machine, Oracle]] = pytest.StashKey()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test says what its machine did."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call" and report.failed and _MACHINE in item.stash:
        machine, oracle = item.stash[_MACHINE]
        report.sections.append(("vpmu", explanation(machine, oracle)))
        folder = item.config.getoption("--vpmu-trace")
        if folder is not None:
            report.sections.append(("vpmu trace", str(save_trace(machine, Path(folder), item.name))))


def explanation(machine: Machine, oracle: Oracle) -> str:
    """The machine, its faults, its wrong counts, what went wrong layer by layer, and the end of its trace."""
    from vpmu.trace.chain_views import as_text as chain_text
    from vpmu.trace.chains import chains_of
    from vpmu.trace.views import as_text

    records = machine.recorder.records
    shown = [record for record in records if record.action != "mmio"]  # a console is a record a character
    lines = [
        f"profile {machine.profile.name}, host PMU {machine.host_pmu.name}, "
        f"{machine.instructions:,} instructions"
    ]
    if machine.injection is not None:
        fired = machine.injection.injector.fired_by_rule
        rules = zip(machine.injection.plan.rules, fired, strict=True)
        lines += [f"fault {rule.source}: happened {times} time{'s' * (times != 1)}" for rule, times in rules]
    lines += [f"wrong count: {finding}" for finding in oracle.findings]
    lines += [chain_text(chain) for chain in chains_of(records)[:CHAINS]]
    lines.append("trace:")
    if len(shown) > KEPT:
        lines.append(f"... {len(shown) - KEPT} records before")
    lines += [as_text(record) for record in shown[-KEPT:]]
    return "\n".join(lines)


def save_trace(machine: Machine, folder: Path, name: str) -> Path:
    """The whole trace in a file of the folder."""
    from vpmu.trace.views import TraceFile

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("".join(c if c.isalnum() or c in "-_." else "_" for c in name) + ".jsonl")
    with TraceFile(path) as sink:
        for record in machine.recorder.records:
            sink(record)
    return path
