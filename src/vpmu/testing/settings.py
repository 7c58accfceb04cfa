"""What the machine of a test is like: command-line options, then the marks from the module to the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vpmu.faults.plan import FaultPlan

OPTIONS = {
    "profile": "profile of vpmu_machine and vpmu_linux where a test does not say",
    "host-pmu": "their host PMU where a test does not say",
    "inject": "fault plan where a test does not say (a file or SITE:KEY=VALUE,...)",
    "trace": "folder for the traces of tests that fail, as JSON lines",
    "host": "the host of vpmu_host: kvm:SUITE (default kvm:trixie)",
    "host-kernel": "the kernel of vpmu_host: your own build",
    "kvm-module": "kvm.ko of that build, where KVM is not built in",
}
MACHINE = (
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
"""Words of the mark: arguments of vpmu.Machine, and `inject`."""
_OF_OPTIONS = ("profile", "host-pmu", "inject")


def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """The arguments of the machine: options, then marks. UsageError for a word that there is not."""
    found: dict[str, object] = {}
    for name in _OF_OPTIONS:
        value = request.config.getoption(f"--vpmu-{name}")
        if value is not None:
            found[name.replace("-", "_")] = value
    for mark in reversed(list(request.node.iter_markers("vpmu"))):
        unknown = set(mark.kwargs) - set(MACHINE)
        if unknown or mark.args:
            words = ", ".join(sorted(unknown)) or "arguments without a name"
            raise pytest.UsageError(
                f"mark vpmu of {request.node.nodeid}: {words}; known: {', '.join(MACHINE)}"
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


def seed_of(arguments: dict[str, object]) -> int:
    """The seed among the arguments of a machine."""
    seed = arguments.get("seed", 0)
    assert isinstance(seed, int)
    return seed
