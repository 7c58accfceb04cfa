"""Replaying tables against the model: a machine for each run, and the line-by-line comparison."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .replay_table import Run, Step, Table, split_result

TIME_READ = "time reads"
LATE_OVERFLOW = "overflow flags whose arrival the host delays"
HOST_VALUE = "values that depend on the host"
"""Why a value is undetermined."""


@dataclass(slots=True)
class StepOutput:
    """What the monitor printed for one step and, if the model cannot know its value, why."""

    lines: list[str] = field(default_factory=list)
    undetermined: str | None = None


class Replayed(Protocol):
    """A monitor as the comparison sees it: `outputs` has one entry per step once `run` has returned."""

    outputs: list[StepOutput]

    def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One recorded line that the model answered otherwise; `got` is None where it printed nothing."""

    path: str
    line: int
    recorded: str
    got: str | None


@dataclass(slots=True)
class Report:
    """What came of replaying one table: `agree` of `lines` recorded lines; `undetermined` counts, by
    reason, those among them that differ in a value which the model itself says it cannot know."""

    path: str
    lines: int = 0
    agree: int = 0
    undetermined: dict[str, int] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every recorded line agrees and the model printed none besides."""
        return not self.disagreements


def replay_table(table: Table, make_monitor: Callable[[Run], Replayed]) -> Report:
    """Replay every run of `table`, each on the machine that `make_monitor` builds for it, and compare all
    lines."""
    report = Report(table.path)
    for run in table.runs:
        monitor = make_monitor(run)
        monitor.run()
        for step, output in zip(run.steps, monitor.outputs, strict=True):
            compare(report, step, output)
    return report


def compare(report: Report, step: Step, output: StepOutput) -> None:
    """Add the lines of one step to `report`: the n-th recorded line against the n-th that the model
    printed."""
    report.lines += len(step.lines)
    for index, line in enumerate(step.lines):
        got = output.lines[index] if index < len(output.lines) else None
        # Only the line with the result can hold a value that nobody can know.
        reason = output.undetermined if got is not None and got == output.lines[-1] else None
        if got is not None and lines_agree(line.text, got):
            report.agree += 1
        elif got is not None and reason is not None and lines_agree(any_value(line.text), any_value(got)):
            report.agree += 1
            report.undetermined[reason] = report.undetermined.get(reason, 0) + 1
        else:
            report.disagreements.append(Disagreement(report.path, line.number, line.text, got))
    where = step.lines[-1].number if step.lines else step.number
    for got in output.lines[len(step.lines) :]:
        report.disagreements.append(Disagreement(report.path, where, "", got))


def shared(report: Report, model: Report) -> set[int]:
    """Lines on which both disagree with the recording in the same way: what another release decides."""
    ours = {line.line: line.got for line in model.disagreements}
    return {
        line.line
        for line in report.disagreements
        if line.got is not None
        and (theirs := ours.get(line.line)) is not None
        and lines_agree(any_value(line.got), any_value(theirs))
    }


def lines_agree(recorded: str, got: str) -> bool:
    """Whether two lines say the same; only the padding between script line and result is free."""
    return split_result(recorded) == split_result(got)


_CSR_VALUE = re.compile(r"(=> )(?:0x[0-9a-f]+|0) \(\d+\) ")
_ECALL_VALUE = re.compile(r"( a1=)(?:0x[0-9a-f]+|0)(?= |$)")


def any_value(line: str) -> str:
    """The line with the value it reports replaced by `*`: a0 of a CSR read or load, a1 of an ecall."""
    return _ECALL_VALUE.sub(r"\1*", _CSR_VALUE.sub(r"\1* ", line))
