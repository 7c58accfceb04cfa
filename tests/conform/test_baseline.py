"""`vpmu conform --baseline`: only what got worse fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpmu.cli.main import main
from vpmu.conform import baseline
from vpmu.conform.in_process import InProcessTarget
from vpmu.conform.suite import load_suite
from vpmu.conform.verdict import Outcome, Verdict, run_suite

CONFORM = ["conform", "--profile", "kvm-7.2", "--only", "cfg"]


def written(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, *arguments: str) -> Path:
    """A baseline, as the command writes it."""
    path = tmp_path / f"before.{kind}"
    if kind == "xml":
        main([*CONFORM, *arguments, "--junit", str(path), "-q"])
        capsys.readouterr()
    else:
        main([*CONFORM, *arguments, "--json"])
        path.write_text(capsys.readouterr().out)
    return path


@pytest.mark.parametrize("kind", ["json", "xml"])
def test_nothing_is_worse_than_itself(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, capsys, kind)
    assert main([*CONFORM, "--baseline", str(path)]) == 0
    said = capsys.readouterr().out
    assert "# against the baseline: 0 worse, 0 better, 0 changed, 0 new, 0 gone" in said


@pytest.mark.parametrize("kind", ["json", "xml"])
def test_a_bug_that_is_there_again_is_worse_although_it_is_a_known_one(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, capsys, kind)
    again = ["--with", "perf-failure-ends-kvm-run"]
    assert main([*CONFORM, *again, "-q"]) == 0, "the profile says so: nothing is unexpected"
    capsys.readouterr()
    assert main([*CONFORM, *again, "--baseline", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["baseline"]
    assert told["worse"]
    assert {one["now"] for one in told["worse"]} == {"known divergence"}
    assert not told["better"]


@pytest.mark.parametrize("kind", ["json", "xml"])
def test_what_was_broken_before_fails_nothing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, capsys, kind, "--with", "perf-failure-ends-kvm-run")
    assert main([*CONFORM, "--baseline", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["baseline"]
    assert told["better"]
    assert not told["worse"]
    assert all("perf-failure-ends-kvm-run" in one["before"] for one in told["changed"])


def test_new_tests_and_tests_that_are_gone_fail_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, capsys, "json")
    content = json.loads(path.read_text())
    gone = content["results"].pop()["id"]
    content["results"][0]["id"] = "once-there"
    path.write_text(json.dumps(content))
    assert main([*CONFORM, "--baseline", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["baseline"]
    assert [one["id"] for one in told["gone"]] == ["once-there"]
    assert gone in [one["id"] for one in told["new"]]


def _columns(verdict: Verdict, reason: str = "", behaviours: tuple[str, ...] = ()) -> Any:
    target = InProcessTarget("kvm-7.2", "full")
    outcome = run_suite(target, load_suite()[:1])[0]
    return [(target, [Outcome(outcome.test, verdict, reason, behaviours)])]


@pytest.mark.parametrize("before", list(Verdict))
@pytest.mark.parametrize("now", list(Verdict))
def test_every_verdict_against_every_other(before: Verdict, now: Verdict) -> None:
    columns = _columns(now, "why")
    name = columns[0][1][0].test.id
    found = baseline.compare(columns, [baseline.Column("kvm-7.2", {name: baseline.Before(before)})])
    assert (len(found.worse), len(found.better), found.same) == (
        baseline.RANK[now] > baseline.RANK[before], baseline.RANK[now] < baseline.RANK[before], now is before,
    )  # fmt: skip


def test_one_more_reason_to_diverge_is_worse_and_one_less_is_better() -> None:
    columns = _columns(Verdict.DIVERGENCE, "", ("a", "b"))
    name = columns[0][1][0].test.id
    for behaviours, worse, better in (
        (("a",), 1, 0), (("a", "b"), 0, 0), (("a", "b", "c"), 0, 1), (("a", "c"), 0, 0)
    ):  # fmt: skip
        before = baseline.Column("other", {name: baseline.Before(Verdict.DIVERGENCE, behaviours)})
        found = baseline.compare(columns, [before])
        assert (len(found.worse), len(found.better)) == (worse, better)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "[[", '{"profile": "x", "results": [{"id": 1}]}', '{"profile": "x", "results": []}',
     "<a>", "<testsuites/>", '<!DOCTYPE a [<!ENTITY b "c">]><testsuites/>',
     '<testsuites><testsuite name="x"/></testsuites>',
     '{"profile": "x", "results": [{"id": "a", "verdict": "fine", "behaviour": null, "reason": ""}]}'],
)  # fmt: skip
def test_a_file_that_is_no_baseline_is_one_line_before_anything_runs(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "before"
    path.write_text(content)
    assert main([*CONFORM, "--baseline", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("vpmu: error: baseline: ")
    assert len(captured.err.splitlines()) == 1
    assert not captured.out
