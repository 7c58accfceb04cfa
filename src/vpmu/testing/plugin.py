"""The pytest plugin: `vpmu_machine` is a machine as the marks and options of the test say.

    @pytest.mark.vpmu(profile="kvm-6.9", host_pmu="full", inject="perf.create:errno=EBUSY")
    def test_my_driver(vpmu_machine):
        vpmu_machine.load("driver.elf")
        assert vpmu_machine.run(max_instructions=10_000_000).ok

A test that fails has in its report the faults that happened, the wrong counts, what was refused, frozen or
lost and by which layer, and the end of the trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vpmu.campaign.oracle import Oracle
    from vpmu.faults.plan import FaultPlan
    from vpmu.vmm.machine import Machine

KEPT = 60
"""Records of the trace in the report of a failed test."""
CHAINS = 12
"""Chains through the layers in it."""
_OPTIONS = {
    "profile": "profile of vpmu_machine where a test does not say",
    "host-pmu": "host PMU of vpmu_machine where a test does not say",
    "inject": "fault plan of vpmu_machine where a test does not say (a file or SITE:KEY=VALUE,...)",
    "trace": "folder for the traces of tests that fail, as JSON lines",
}
_WORDS = (
    "profile",
    "with_",
    "without",
    "host_pmu",
    "inject",
    "memory",
    "harts",
    "seed",
    "starve",
    "refuse",
    "plic",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--vpmu-*`."""
    group = parser.getgroup("vpmu", "RISC-V guests on a virtual PMU")
    for name, text in _OPTIONS.items():
        group.addoption(f"--vpmu-{name}", default=None, metavar=name.upper(), help=text)


def pytest_configure(config: pytest.Config) -> None:
    """The mark."""
    config.addinivalue_line(
        "markers", f"vpmu({', '.join(_WORDS)}): what the machine of the fixture vpmu_machine is like"
    )


def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """The arguments of the machine: options, then the marks from the module to the test."""
    found: dict[str, object] = {}
    for name in ("profile", "host-pmu", "inject"):
        value = request.config.getoption(f"--vpmu-{name}")
        if value is not None:
            found[name.replace("-", "_")] = value
    for mark in reversed(list(request.node.iter_markers("vpmu"))):
        unknown = set(mark.kwargs) - set(_WORDS)
        if unknown or mark.args:
            words = ", ".join(sorted(unknown)) or "arguments without a name"
            raise pytest.UsageError(
                f"mark vpmu of {request.node.nodeid}: {words}; known: {', '.join(_WORDS)}"
            )
        found.update(mark.kwargs)
    return found


def fault_plan(inject: object, seed: int) -> FaultPlan | None:
    """The plan of `inject`: a file, a rule, several of them, or a plan. None: none."""
    from vpmu.faults import FaultPlan, plan_of

    if inject is None:
        return None
    if isinstance(inject, FaultPlan):
        return inject.with_seed(inject.seed + seed)
    texts = [inject] if isinstance(inject, str | Path) else inject
    assert isinstance(texts, list | tuple)
    plan = sum((plan_of(str(text)) for text in texts), FaultPlan())
    return plan.with_seed(plan.seed + seed)


@pytest.fixture
def vpmu_machine(request: pytest.FixtureRequest) -> Machine:
    """A machine of its own for each test, with its trace recorded."""
    from vpmu.campaign.oracle import Oracle
    from vpmu.errors import VpmuError
    from vpmu.trace.recorder import Recorder
    from vpmu.vmm.machine import Machine

    arguments = settings(request)
    seed = arguments.get("seed", 0)
    assert isinstance(seed, int)
    recorder = Recorder()
    try:
        faults = fault_plan(arguments.pop("inject", None), seed)
        arguments.setdefault("memory", 16 << 20)
        machine = Machine(recorder=recorder, faults=faults, **arguments)  # type: ignore[arg-type]
    except VpmuError as error:
        raise pytest.UsageError(f"vpmu_machine of {request.node.nodeid}: {error}") from None
    oracle = Oracle(machine)
    oracle.attach()
    request.node.stash[_MACHINE] = (machine, oracle)
    return machine


@pytest.fixture
def vpmu_oracle(vpmu_machine: Machine, request: pytest.FixtureRequest) -> Oracle:
    """What the guest was told against what its hart did: `findings` is empty where every count was true."""
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
    if len(records) > KEPT:
        lines.append(f"... {len(records) - KEPT} records before")
    lines += [as_text(record) for record in records[-KEPT:]]
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
