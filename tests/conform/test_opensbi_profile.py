"""Profile opensbi-1.6 against what a real run recorded: every line agrees."""

from __future__ import annotations

from pathlib import Path

from vpmu.vmm.replay_machine import Options
from vpmu.vmm.replay_report import replay_table
from vpmu.vmm.replay_table import read_table


def test_the_recorded_table(project: Path) -> None:
    table = read_table(str(project / "tests" / "tables" / "opensbi-1.6.txt"))
    report = replay_table(table, Options("opensbi-1.6").monitor)
    assert report.disagreements == []
    assert report.agree == report.lines == 1984
    # What the model itself says it cannot know: the firmware's own instructions, reads of time, another TLB.
    assert sum(report.undetermined.values()) <= 40


def test_another_profile_does_not_agree(project: Path) -> None:
    table = read_table(str(project / "tests" / "tables" / "opensbi-1.6.txt"))
    assert len(replay_table(table, Options("opensbi-1.1").monitor).disagreements) > 20
