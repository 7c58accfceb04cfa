"""Recorded tables on the real kernel of today: what differs does so for a reason that is data. Needs the
fetched hosts; never fetches them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.conform.recorded_hosts import DIGEST, decided, explained
from vpmu.vmm.linux.cache import default_root
from vpmu.vmm.replay_report import Disagreement
from vpmu.vmm.replay_table import read_table

TABLES = Path(__file__).parents[1] / "tables"
SUITES = {"trixie": "6.12", "sid": "7.2"}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGEST]


def test_the_data_is_of_the_tables_that_are_here() -> None:
    tables = {digest(path): path for path in TABLES.glob("kvm-*.txt")}
    lines = {(key, line.number) for key, path in tables.items() for run in read_table(path).runs
             for step in run.steps for line in step.lines}  # fmt: skip
    assert decided().keys() <= lines


def test_a_reason_does_not_excuse_every_answer() -> None:
    table = str(TABLES / "kvm-7.2-overflow.txt")
    near = Disagreement(table, 37, "l 8 => 0x7de (2014) 0", "l 8 => 0x7dd (2013) 0")
    far = Disagreement(table, 37, "l 8 => 0x7de (2014) 0", "l 8 => 0x700 (1792) 0")
    nothing = Disagreement(table, 37, "l 8 => 0x7de (2014) 0", None)
    other = Disagreement(table, 38, "l 8 => 0x7de (2014) 0", "l 8 => 0x7dd (2013) 0")
    assert explained([near]) == {37: "an instruction that traps is counted (QEMU 11)"}
    assert explained([far]) == explained([nothing]) == explained([other]) == {}
    shows = Disagreement(
        str(TABLES / "kvm-7.2-basic.txt"), 285, "c 32 => 0xfff8 (65528) 0", "c 32 => 0x1 (1) 0"
    )
    assert explained([shows]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("kind", ["basic", "wide", "sbi", "overflow", "fix-undone"])
def test_every_line_agrees_or_differs_for_a_known_reason(
    suite: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (default_root() / f"kvm-host-{suite}" / "manifest.json").exists():
        pytest.skip(f"the KVM host of {suite} is not fetched (vpmu host kvm:{suite})")
    table = TABLES / f"kvm-{SUITES[suite]}-{kind}.txt"
    if not table.exists():
        pytest.skip(f"no {table.name}")
    undo = ["--with", "perf-failure-ends-kvm-run"] if kind == "fix-undone" else []
    status = main(["replay", str(table), "--on", f"kvm:{suite}", "--json", *undo])
    told = json.loads(capsys.readouterr().out)
    left = [line for one in told["tables"] for line in one["disagreements"] if "why" not in line]
    assert left == []
    assert status == 0
    assert told["agree"] > 0.9 * told["lines"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--with", "snapshot"], "unknown fix that can be undone in a real kernel"),
        (["--without", "snapshot"], "expected a model"),
    ],
)
def test_what_cannot_be_switched_in_a_real_kernel_is_said(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (default_root() / "kvm-host-trixie" / "manifest.json").exists():
        pytest.skip("the KVM host is not fetched (vpmu host)")
    assert main(["replay", str(TABLES / "kvm-6.12-sbi.txt"), "--on", "kvm", *arguments]) == 2
    assert words in capsys.readouterr().err
