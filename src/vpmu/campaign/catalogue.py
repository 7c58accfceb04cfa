"""The catalogue: eighty failure scenarios (F1 to F80) as data, each with its plan, its guest, and what the
specification and every profile must answer.

The data lie in `faults/catalogue/*.toml`; this module runs them and gives verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import FileError, UnknownNameError, UsageError, VpmuError
from ..faults.plan import FaultPlan, PlanError, Rule
from ..files import parse_toml
from ..perf.description import HostPmuDescription, load_host_pmu
from ..profiles.behaviours import BEHAVIOURS
from ..profiles.profiles import IMPL_ID_OPENSBI, get_profile
from .oracle import Oracle
from .script import Script, parse_script
from .script_text import Answered, Step
from .verdict import Verdict

SPEC = "spec-3.0"
PROFILES = (SPEC, "kvm-6.9", "kvm-6.10", "kvm-6.12", "kvm-7.2")
"""What every scenario runs under that can: the specification first, it is what others are held against."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One entry. `absent`: why it cannot exist here; then it has no guest."""

    id: str
    layer: str
    title: str
    note: str
    plan: FaultPlan
    steps: tuple[Step, ...]
    host_pmu: str
    options: Mapping[str, object] = field(hash=False)
    absent: str = ""
    needs: str = ""
    """The behaviour without which it says nothing."""

    def fits(self, profile: str) -> bool:
        """Whether the entry says something about this profile. Raises UsageError for one of a firmware."""
        implementation = get_profile(profile)
        if implementation.impl_id == IMPL_ID_OPENSBI:
            raise UsageError("profile of the catalogue", expected=f"{SPEC}, or one of KVM", got=profile)
        return not self.needs or implementation.has(BEHAVIOURS[self.needs])

    @property
    def profiles(self) -> tuple[str, ...]:
        """What it runs under unless somebody chooses."""
        return tuple(filter(self.fits, PROFILES))

    @property
    def number(self) -> int:
        """10 for F10."""
        return int(self.id[1:])


@dataclass(frozen=True, slots=True)
class Row:
    """What a scenario did under one profile."""

    id: str
    layer: str
    title: str
    profile: str
    verdict: Verdict
    answers: tuple[Answered, ...]
    findings: tuple[str, ...]
    injected: int

    @property
    def held(self) -> bool:
        """Everything was as this profile's entry says."""
        return self.verdict is not Verdict.UNEXPECTED

    @property
    def expected(self) -> str:
        """The checked answers, as the entry has them."""
        return "; ".join(f"{answer.step} → {answer.expected}" for answer in self.answers if answer.expected)

    @property
    def observed(self) -> str:
        """The checked answers, as they came."""
        return "; ".join(f"{answer.step} → {answer.observed}" for answer in self.answers if answer.expected)

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "id": self.id, "layer": self.layer, "title": self.title, "profile": self.profile,
            "expected": self.expected, "observed": self.observed, "verdict": str(self.verdict),
            "findings": list(self.findings), "injected": self.injected,
        }  # fmt: skip


@cache
def load_catalogue() -> dict[str, Scenario]:
    """All scenarios by id, in the order of their numbers."""
    found: dict[str, Scenario] = {}
    for file in resources.files("vpmu.faults").joinpath("catalogue").iterdir():
        if file.name.endswith(".toml"):
            found |= read_catalogue(file.read_text("utf-8"), file.name)
    return {
        scenario.id: scenario for scenario in sorted(found.values(), key=lambda scenario: scenario.number)
    }


def read_catalogue(text: str, path: str | Path) -> dict[str, Scenario]:
    """The scenarios in the text of a TOML file. FileError names the one that is none."""
    found = {}
    for name, entry in parse_toml(text, path, "faults").items():
        try:
            if not isinstance(entry, dict) or not re.fullmatch(r"F\d{1,4}", name):
                raise UsageError("scenario", expected="a table F1, F2, ...", got=name[:60])
            found[name] = _scenario(name, entry)
        except KeyError as error:
            raise FileError(path, f"{name}: {error} is missing", layer="faults") from None
        except (VpmuError, PlanError) as error:
            raise FileError(path, f"{name}: {error}", layer="faults") from None
    return found


def _scenario(name: str, entry: Mapping[str, object]) -> Scenario:
    options = _kind(entry, "machine", dict, {})
    rules = _kind(entry, "rules", list, [])
    if not all(isinstance(rule, dict) for rule in rules):
        raise UsageError("rules", expected="tables", got=repr(rules)[:60])
    plan = FaultPlan(tuple(Rule.build(rule) for rule in rules), name, str(entry["title"]))
    return Scenario(
        name, str(entry["layer"]), str(entry["title"]), str(entry.get("note", "")), plan,
        parse_script(str(entry.get("guest", ""))), str(options.get("host_pmu", "full")),
        {key: value for key, value in options.items() if key != "host_pmu"},
        str(entry.get("absent", "")), str(entry.get("needs", "")),
    )  # fmt: skip


def _kind(entry: Mapping[str, object], key: str, kind: type, default: object) -> Any:
    value = entry.get(key, default)
    if not isinstance(value, kind):
        raise UsageError(key, expected=f"a {kind.__name__}", got=repr(value)[:60])
    return value


def find_scenarios(names: Iterable[str]) -> list[Scenario]:
    """Scenarios by id. UnknownNameError."""
    catalogue = load_catalogue()
    found = []
    for name in names:
        if name.upper() not in catalogue:
            raise UnknownNameError("scenario", name, catalogue, layer="faults")
        found.append(catalogue[name.upper()])
    return found


def run_scenario(scenario: Scenario, profiles: Iterable[str] | None = None) -> list[Row]:
    """Run an entry under its profiles, or under those of `profiles` that it fits."""
    if scenario.absent:
        return []
    wanted = scenario.profiles if profiles is None else list(filter(scenario.fits, profiles))
    reference = _run(scenario, SPEC)
    rows = []
    for profile in wanted:
        run = reference if profile == SPEC else _run(scenario, profile)
        rows.append(_row(scenario, profile, run, reference))
    return rows


@dataclass(frozen=True, slots=True)
class _Run:
    answers: tuple[Answered, ...]
    findings: tuple[str, ...]
    lost: bool
    host_lost: bool
    hung: bool
    injected: int


def _run(scenario: Scenario, profile: str) -> _Run:
    from ..vmm.machine import Machine

    options = {
        "memory": 1 << 20,
        "host_pmu": _host_pmu(scenario.host_pmu),
        "faults": scenario.plan,
        **scenario.options,
    }
    machine = Machine(profile, **options)  # type: ignore[arg-type]
    oracle = Oracle(machine)
    oracle.attach()
    script = Script(machine)
    answers = script.run(scenario.steps)
    injected = machine.injection.injector.fired if machine.injection is not None else 0
    return _Run(
        tuple(answers), tuple(map(str, oracle.findings)), script.lost is not None,
        script.host_lost is not None,
        any(answer.observed in ("hung", "idle", "budget") for answer in answers), injected,
    )  # fmt: skip


@cache
def _host_pmu(name: str) -> HostPmuDescription:
    """One of the hosts that come with vpmu, or of those that only the catalogue needs."""
    own = resources.files("vpmu.faults").joinpath("host_pmus", f"{name}.toml")
    with resources.as_file(own) as path:
        return load_host_pmu(path if path.is_file() else name)


def _row(scenario: Scenario, profile: str, run: _Run, reference: _Run) -> Row:
    unexpected = not all(answer.held for answer in run.answers)
    if scenario.plan and not run.injected and not run.lost:
        unexpected = True  # a fault that did not happen proves nothing
    if unexpected:
        verdict = Verdict.UNEXPECTED
    elif run.host_lost:
        verdict = Verdict.HOST_LOST
    elif run.lost:
        verdict = Verdict.GUEST_LOST
    elif run.hung:
        verdict = Verdict.GUEST_HUNG
    elif run.findings:
        verdict = Verdict.SILENTLY_WRONG
    elif _checked(run) == _checked(reference):
        verdict = Verdict.AS_SPECIFIED
    elif _refused(run) > _refused(reference):
        verdict = Verdict.DEGRADED
    else:
        verdict = Verdict.DEVIATES
    return Row(
        scenario.id, scenario.layer, scenario.title, profile, verdict, run.answers, run.findings, run.injected
    )


def _checked(run: _Run) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for answer in run.answers:
        if answer.expected:
            found.setdefault(answer.step, []).append(answer.observed)
    return found


def _refused(run: _Run) -> int:
    """Answers that tell the guest that something cannot be done."""
    return sum(
        (answer.observed.isupper() and not answer.observed.startswith("SUCCESS"))
        or answer.observed == "illegal"
        for answer in run.answers
    )
