"""Which layer refuses an event: one call followed from the guest down to the hart, out of what was seen and
recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ..brief import Brief
from ..spec.sbi import SbiError, error_name
from .recorder import Record


class Outcome(StrEnum):
    """What a layer did with the request."""

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    """It did not refuse, but what it gave does not count."""
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Stage:
    """One layer's part: what it did, with which code, in words."""

    layer: str
    outcome: Outcome
    detail: str
    code: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Observed(Brief):
    """What was seen of one event on one machine: the answers of the calls, and the records made meanwhile.

    `config` and `start` are SBI errors, None for a call that was not made or did not return; `counter` the
    index that counter_config_matching gave; `kvm_run_errno` the errno with which KVM_RUN failed instead of
    answering; `count` what the counter showed after a loop of `work` instructions; `hart_counters` in words
    which counters of the hart can count it; `player` the layer that answers the guest, kvm or firmware.
    """

    name: str
    event_idx: int
    event_data: int
    profile: str
    host_pmu: str
    firmware: bool
    offered: bool
    config: int | None = None
    counter: int | None = None
    kvm_run_errno: str | None = None
    start: int | None = None
    count: int | None = None
    work: int = 0
    hart_counters: str = ""
    refusal: str = ""
    player: str = "kvm"
    records: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: the stages from the top down, the layer that refused (None: nobody), its code, and one
    sentence."""

    observed: Observed
    stages: tuple[Stage, ...]
    refused_by: str | None
    code: str | None
    verdict: str


def explain(seen: Observed) -> Explanation:
    """Read what was seen into stages and a verdict."""
    if not seen.offered:
        return _not_offered(seen)
    guest = Stage(
        "guest",
        Outcome.PASSED,
        f"asks for {seen.name}: event_idx {seen.event_idx:#x}, event_data {seen.event_data:#x}",
    )
    if seen.kvm_run_errno is not None:
        sbi = Stage("sbi", Outcome.FAILED, "counter_config_matching never returns", None)
    else:
        sbi = Stage("sbi", Outcome.PASSED, f"counter_config_matching -> {_answer(seen.config, seen.counter)}")
    if seen.player == "firmware":
        return _on_the_hart(seen, guest, sbi)
    if seen.firmware:
        return _firmware(seen, guest, sbi)
    created = _last(seen.records, "perf", "create")
    why = "" if created is None else str(created.result)
    if created is not None and why != "ok":
        return _refused_by_perf(seen, guest, sbi, why)
    if seen.config != SbiError.SUCCESS:
        code = seen.kvm_run_errno or _sbi(seen.config)
        kvm = Stage(
            "kvm",
            Outcome.REFUSED,
            seen.refusal or "the virtual PMU refuses before it asks for a perf event",
            code,
        )
        below = (Stage("perf", Outcome.NOT_REACHED, "not asked"), _hart(seen, Outcome.NOT_REACHED))
        return Explanation(
            seen, (guest, sbi, kvm, *below), "kvm", code, f"refused by kvm with {code}: {kvm.detail}"
        )
    kvm = Stage("kvm", Outcome.PASSED, f"binds it to virtual counter {seen.counter}")
    return _created(seen, guest, sbi, kvm)


def _not_offered(seen: Observed) -> Explanation:
    why = f"host PMU {seen.host_pmu} cannot count a guest alone (that needs Sscofpmf)"
    detail = f"does not offer the PMU extension: {why}"
    stages = (
        Stage("guest", Outcome.PASSED, f"asks for {seen.name}: event_idx {seen.event_idx:#x}"),
        Stage("sbi", Outcome.REFUSED, "probe_extension(PMU) -> 0", "SBI_ERR_NOT_SUPPORTED"),
        Stage("kvm", Outcome.REFUSED, detail, "SBI_ERR_NOT_SUPPORTED"),
        Stage("perf", Outcome.NOT_REACHED, "not asked"),
        _hart(seen, Outcome.NOT_REACHED),
    )
    return Explanation(seen, stages, "kvm", "SBI_ERR_NOT_SUPPORTED", f"refused by kvm: it {detail}")


def _on_the_hart(seen: Observed, guest: Stage, sbi: Stage) -> Explanation:
    """Firmware answers: it programs the hart's own counters, and there is no perf between."""
    player, unasked = seen.player, _hart(seen, Outcome.NOT_REACHED)
    failed = seen.config if seen.config != SbiError.SUCCESS else seen.start
    if failed != SbiError.SUCCESS:
        code = _sbi(failed)
        stage = Stage(player, Outcome.REFUSED, seen.refusal or "does not start the counter", code)
        verdict = f"refused by {player} with {code}: {stage.detail}"
        return Explanation(seen, (guest, sbi, stage, unasked), player, code, verdict)
    if seen.firmware:
        stage = Stage(player, Outcome.PASSED, f"counts it in software, on counter {seen.counter}")
        unasked = Stage("hart", Outcome.NOT_REACHED, "a firmware event is counted in software")
        verdict = f"supported: the firmware counts {seen.name} itself"
        return Explanation(seen, (guest, sbi, stage, unasked), None, None, verdict)
    stage = Stage(player, Outcome.PASSED, f"programs counter {seen.counter} of the hart")
    hart = Stage("hart", Outcome.PASSED, f"counts on {counter_name(seen.counter)}")
    return Explanation(seen, (guest, sbi, stage, hart), None, None, _supported(seen))


def _firmware(seen: Observed, guest: Stage, sbi: Stage) -> Explanation:
    below = (
        Stage("perf", Outcome.NOT_REACHED, "a firmware event needs no perf event"),
        Stage("hart", Outcome.NOT_REACHED, "a firmware event is counted in software, by KVM"),
    )
    if seen.config != SbiError.SUCCESS:
        code = _sbi(seen.config)
        kvm = Stage(
            "kvm",
            Outcome.REFUSED,
            seen.refusal or "no such firmware event, or no firmware counter left",
            code,
        )
        return Explanation(
            seen, (guest, sbi, kvm, *below), "kvm", code, f"refused by kvm with {code}: {kvm.detail}"
        )
    kvm = Stage("kvm", Outcome.PASSED, f"counts it in software, on virtual counter {seen.counter}")
    return Explanation(
        seen, (guest, sbi, kvm, *below), None, None, f"supported: KVM counts {seen.name} itself"
    )


def _refused_by_perf(seen: Observed, guest: Stage, sbi: Stage, why: str) -> Explanation:
    code = why.partition(":")[0]
    if seen.kvm_run_errno is not None:
        kvm = Stage(
            "kvm",
            Outcome.FAILED,
            "passes the errno to user space: KVM_RUN fails, the machine is lost",
            seen.kvm_run_errno,
        )
        guest_sees = f"KVM_RUN fails with {seen.kvm_run_errno}: the guest never gets an answer"
    else:
        kvm = Stage(
            "kvm",
            Outcome.FAILED,
            f"turns the errno into {_sbi(seen.config)}; the guest goes on",
            _sbi(seen.config),
        )
        guest_sees = f"the guest sees {_sbi(seen.config)} and goes on"
    perf = Stage("perf", Outcome.REFUSED, why, code)
    verdict = f"refused by perf with {why}; {guest_sees}"
    return Explanation(seen, (guest, sbi, kvm, perf, _hart(seen, Outcome.NOT_REACHED)), "perf", code, verdict)


def _created(seen: Observed, guest: Stage, sbi: Stage, kvm: Stage) -> Explanation:
    perf = Stage("perf", Outcome.PASSED, "creates the event")
    enabled = _last(seen.records, "perf", "enable")
    if enabled is not None and enabled.result == "error":
        hart = Stage(
            "hart", Outcome.REFUSED, f"no free counter ({seen.hart_counters or 'none can count it'})"
        )
        perf = Stage(
            "perf",
            Outcome.FAILED,
            "creates the event, cannot schedule it: pinned, so it goes to ERROR without an errno",
        )
        verdict = (
            f"no free counter of the hart: every call answers SUCCESS, and the count stays {seen.count or 0}"
        )
        return Explanation(seen, (guest, sbi, kvm, perf, hart), "hart", None, verdict)
    if seen.start is not None and seen.start != SbiError.SUCCESS:
        code = _sbi(seen.start)
        return Explanation(seen, (guest, sbi, kvm, perf), "kvm", code, f"counter_start refused with {code}")
    on = None if enabled is None else enabled.args.get("counter")
    where = (
        _hart(seen, Outcome.PASSED)
        if on is None
        else Stage("hart", Outcome.PASSED, f"counts on {counter_name(on)}")
    )
    return Explanation(seen, (guest, sbi, kvm, perf, where), None, None, _supported(seen))


def _supported(seen: Observed) -> str:
    if seen.count is None:
        return "supported"
    return f"supported: {seen.count:,} in {seen.work:,} instructions of a loop that loads, stores and jumps"


def _hart(seen: Observed, outcome: Outcome) -> Stage:
    if seen.hart_counters:
        return Stage("hart", outcome, f"could count it on {seen.hart_counters}")
    return Stage("hart", outcome, f"no counter of host PMU {seen.host_pmu} can count it")


def counter_name(index: object) -> str:
    """The CSR name of a physical counter."""
    return (
        {0: "cycle", 2: "instret"}.get(index, f"hpmcounter{index}") if isinstance(index, int) else str(index)
    )


def _last(records: Iterable[Record], layer: str, action: str) -> Record | None:
    found = [record for record in records if record.layer == layer and record.action == action]
    return found[-1] if found else None


def _sbi(error: int | None) -> str:
    return "no answer" if error is None else f"SBI_ERR_{error_name(error)}" if error else "SBI_SUCCESS"


def _answer(error: int | None, counter: int | None) -> str:
    return f"counter {counter}" if error == SbiError.SUCCESS else f"{_sbi(error)} ({error})"


_MARKS = {Outcome.PASSED: " ", Outcome.REFUSED: "x", Outcome.FAILED: "!", Outcome.NOT_REACHED: "."}


def as_text(explanation: Explanation) -> str:
    """One line per layer from the guest down (`x` refused, `!` failed, `.` not reached), then the verdict."""
    seen = explanation.observed
    lines = [f"{seen.name} on {seen.profile}, host PMU {seen.host_pmu}"]
    width = max(len(stage.layer) for stage in explanation.stages)
    for stage in explanation.stages:
        code = f"  [{stage.code}]" if stage.code else ""
        lines.append(f"  {_MARKS[stage.outcome]} {stage.layer:<{width}}  {stage.detail}{code}")
    lines.append(explanation.verdict)
    return "\n".join(lines)


def as_object(explanation: Explanation) -> dict[str, object]:
    """The explanation for `--json`."""
    seen = explanation.observed
    return {
        "event": seen.name,
        "event_idx": seen.event_idx,
        "event_data": seen.event_data,
        "profile": seen.profile,
        "host_pmu": seen.host_pmu,
        "refused_by": explanation.refused_by,
        "code": explanation.code,
        "kvm_run_errno": seen.kvm_run_errno,
        "sbi_error": seen.config,
        "counter": seen.counter,
        "count": seen.count,
        "verdict": explanation.verdict,
        "stages": [
            {"layer": s.layer, "outcome": str(s.outcome), "code": s.code, "detail": s.detail}
            for s in explanation.stages
        ],
    }
