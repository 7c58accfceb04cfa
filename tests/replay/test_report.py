"""The comparison: which lines agree, which values are free, and how disagreements are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.vmm.replay_report import TIME_READ, Report, StepOutput, any_value, compare, lines_agree
from vpmu.vmm.replay_table import parse_table, result_line


def compared(recorded: list[str], got: StepOutput) -> Report:
    (step,) = parse_table(recorded, "t").runs[0].steps
    report = Report("t")
    compare(report, step, got)
    return report


def test_padding_is_free_and_nothing_else_is() -> None:
    assert lines_agree("c 0 => 0x1 (1) 0", result_line("c 0", "0x1 (1) 0"))
    assert not lines_agree("c 0 => 0x1 (1) 0", "c 0 => 0x1 (1) 0 TRAPPED")
    assert not lines_agree("c 0 => 0x1 (1) 0", "c  0 => 0x1 (1) 0")
    assert not lines_agree("  trap scause=2 sepc=1 stval=2", "  trap scause=2 sepc=1 stval=3")


def test_an_equal_line_agrees() -> None:
    report = compared(["c 0 => 0x1 (1) 0"], StepOutput(["c 0 => 0x1 (1) 0"]))
    assert (report.lines, report.agree, report.passed) == (1, 1, True)


def test_another_value_disagrees_and_both_are_told() -> None:
    report = compared(["c 0 => 0x1 (1) 0"], StepOutput(["c 0 => 0x2 (2) 0"]))
    (found,) = report.disagreements
    assert (report.agree, report.passed) == (0, False)
    assert (found.path, found.line, found.recorded, found.got) == (
        "t",
        1,
        "c 0 => 0x1 (1) 0",
        "c 0 => 0x2 (2) 0",
    )


def test_an_undetermined_value_agrees_with_any_and_is_counted() -> None:
    report = compared(["c 1 => 0x1533e (86846) 0"], StepOutput(["c 1 => 0x2 (2) 0"], TIME_READ))
    assert report.passed
    assert report.undetermined == {TIME_READ: 1}


def test_an_undetermined_value_frees_the_value_only() -> None:
    assert not compared(["c 1 => 0x1 (1) 0"], StepOutput(["c 1 => 0x2 (2) 0x7"], TIME_READ)).passed
    assert not compared(["c 1 => 0x1 (1) 0 TRAPPED"], StepOutput(["c 1 => 0x2 (2) 0"], TIME_READ)).passed
    assert compared(
        ["e 1 5 3 => a0=0 (SUCCESS) a1=0x7"], StepOutput(["e 1 5 3 => a0=0 (SUCCESS) a1=0"], "garbage")
    ).passed
    assert not compared(
        ["e 1 5 3 => a0=-3 (INVALID_PARAM) a1=0"], StepOutput(["e 1 5 3 => a0=0 (SUCCESS) a1=0"], "garbage")
    ).passed


def test_an_undetermined_value_does_not_excuse_the_trap_before_it() -> None:
    recorded = ["  trap scause=2 sepc=1 stval=1", "c 1 => 0x1 (1) 0 TRAPPED"]
    report = compared(
        recorded, StepOutput(["  trap scause=2 sepc=2 stval=1", "c 1 => 0x1 (1) 0 TRAPPED"], TIME_READ)
    )
    assert [found.line for found in report.disagreements] == [1]


def test_missing_and_surplus_lines_disagree() -> None:
    missing = compared(["c 0 => 0x1 (1) 0"], StepOutput())
    assert [found.got for found in missing.disagreements] == [None]
    surplus = compared(["c 0 => 0x1 (1) 0"], StepOutput(["c 0 => 0x1 (1) 0", "mmio write e0=1"]))
    assert surplus.agree == 1
    assert not surplus.passed
    assert surplus.disagreements[0].got == "mmio write e0=1"


def test_any_value_hides_a0_of_a_csr_read_and_a1_of_an_ecall() -> None:
    assert any_value("c 1 => 0x10 (16) 0") == "c 1 => * 0"
    assert (
        any_value("e 1 2 => a0=0 (SUCCESS) a1=0x10 regs-changed=0")
        == "e 1 2 => a0=0 (SUCCESS) a1=* regs-changed=0"
    )


def test_a_line_whose_call_goes_astray_is_told_in_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.txt"
    path.write_text("W 0xfff => 1\n")
    assert main(["replay", str(path)]) == 1
    said = capsys.readouterr().out
    assert f"{path}:1: and " in said
    assert len(said.splitlines()) < 40
