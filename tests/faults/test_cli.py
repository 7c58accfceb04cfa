"""`vpmu faults`, `vpmu campaign`, `vpmu compare` and `--inject` from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.faults import SITES


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    status = main([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_sites(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = output(capsys, "faults")
    assert status == 0
    assert [site["site"] for site in found["sites"]] == list(SITES)  # type: ignore[index, attr-defined]
    assert main(["faults"]) == 0
    assert "probability, interval, times, space" in capsys.readouterr().out


def test_run_one_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = output(capsys, "faults", "run", "f10")
    assert status == 0
    rows = found["results"]
    assert isinstance(rows, list)
    assert {"id", "layer", "profile", "expected", "observed", "verdict"} <= rows[0].keys()
    assert {row["verdict"] for row in rows if row["profile"].startswith("kvm")} == {"silently wrong"}
    status, found = output(capsys, "faults", "run", "--all")
    assert (status, found["unexpected"], len(found["absent"])) == (0, 0, 2)  # type: ignore[arg-type]
    assert len({row["id"] for row in found["results"]}) == 78  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["faults", "run", "F81"], "unknown scenario 'F81'"),
        (["faults", "run"], "--all"),
        (["faults", "check"], "expected plans"),
        (["faults", "run", "F1", "--profile", "kvm-6.2"], "kvm-6.3 to kvm-7.3"),
        (["faults", "run", "F1", "--profile", "opensbi-1.6"], "one of KVM"),
        (["run", "hello", "--inject", "perf.crate:errno=EIO"], "did you mean perf.create"),
        (["run", "hello", "--inject", "missing.toml"], "No such file"),
        (["campaign", "missing.toml"], "No such file"),
        (["compare", "kvm-6.9", "kvm-7.9", "hello"], "kvm-6.3 to kvm-7.3"),
        (["conform", "--target", "agent", "--inject", "perf.create:errno=EIO"], "the target in-process"),
    ],
)
def test_what_cannot_be(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_inject_and_seed(capsys: pytest.CaptureFixture[str]) -> None:
    def console(*arguments: str) -> object:
        command = ("run", "failing-event", "--host-pmu", "full", *arguments)
        return output(capsys, *command)[1]["console"]

    assert "cycles         SBI_ERR_NOT_SUPPORTED" in str(
        console("--inject", "perf.create:event=cycles,errno=EIO")
    )
    half = ("--inject", "perf.create:errno=EIO,probability=50")
    texts = [console(*half, "--seed", str(seed)) for seed in range(8)]
    assert len(set(texts)) > 1
    assert texts == [console(*half, "--seed", str(seed)) for seed in range(8)]


def test_a_replay_under_faults_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    table = Path(__file__).parents[1] / "tables" / "kvm-6.12-wide.txt"
    status, found = output(
        capsys, "replay", str(table), "--profile", "kvm-6.12", "--inject", "perf.create:errno=EBUSY,times=1"
    )
    assert status == 1
    assert 0 < found["lines"] - found["agree"] < found["lines"] // 4  # type: ignore[operator]


def test_a_campaign_and_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(
        'guests = ["failing-event"]\nseeds = 3\n'
        '[[fault]]\nname = "busy"\ninject = ["perf.create:errno=EBUSY"]\n'
    )
    status, found = output(capsys, "campaign", str(tmp_path / "plan.toml"))
    assert (status, found["verdicts"]) == (0, {"degraded gracefully": 3})
    for name in ("results.jsonl", "results.sqlite", "report.html", "plan.json"):
        assert (tmp_path / "plan" / name).stat().st_size
    status = main([
        "compare", "kvm-6.9", "kvm-7.2", "failing-event",
        "--inject", "perf.create:event=cache-misses,errno=EBUSY",
        "--html", str(tmp_path / "page.html"), "--markdown", str(tmp_path / "page.md"),
    ])  # fmt: skip
    assert status == 1
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text()
    assert "2196c066f138" in (tmp_path / "page.html").read_text()


def test_perfetto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting", "-q", "--perfetto", str(tmp_path / "trace")]) == 0
    events = json.loads((tmp_path / "trace").read_text())["traceEvents"]
    assert {"M", "i", "C"} <= {event["ph"] for event in events}


def test_tables_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["faults", "run", "F1", "F10", "--profile", "spec-3.0,kvm-7.2"]) == 0
    text = capsys.readouterr().out
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert max(map(len, lines)) <= 60
    assert "\x1b[33m" in text, "silently wrong is yellow"
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert main(["faults", "run", "F1", "F10", "--profile", "spec-3.0,kvm-7.2"]) == 0
    assert "\x1b" not in capsys.readouterr().out
