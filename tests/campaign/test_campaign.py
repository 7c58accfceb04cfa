"""Campaigns: the same results however they are run, stopped, killed and taken up again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vpmu.campaign import shrink
from vpmu.campaign.coordinator import Coordinator, campaign
from vpmu.campaign.guests import PayloadStation
from vpmu.campaign.plan import CampaignPlan, Guest, load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.shrink import find_cases, shortest
from vpmu.campaign.store import Store, load_results
from vpmu.campaign.verdict import Verdict
from vpmu.cli.main import main
from vpmu.errors import BootError, FileError, VpmuError
from vpmu.faults.plan import FaultPlan
from vpmu.profiles.profiles import changed, get_profile, watched

PLAN = """
name = "test"
profiles = ["spec-3.0", "kvm-6.9", "kvm-6.12.107", "kvm-7.2"]
guests = ["failing-event", "overflow", "random: 16"]
seeds = 6
[[fault]]
name = "none"
[[fault]]
name = "busy"
inject = ["perf.create:errno=EBUSY,probability=40"]
[[fault]]
name = "no counter"
inject = ["perf.enable:state=error,probability=50", "kvm.interrupt:irq=13,drop,probability=50"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> CampaignPlan:
    (tmp_path / "plan.toml").write_text(PLAN)
    return load_campaign(tmp_path / "plan.toml")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "plan.toml").write_text(PLAN)
    digest, _ = campaign(load_campaign(folder / "plan.toml"), folder / "out")
    return digest, folder / "out"


def test_the_product(plan: CampaignPlan) -> None:
    assert len(plan) == 3 * 4 * 3 * 6
    runs = [plan.run(number) for number in range(len(plan))]
    assert len({(run.fault, run.profile, run.guest, run.seed) for run in runs}) == len(plan)
    assert CampaignPlan.from_object(json.loads(json.dumps(plan.as_object()))).digest == plan.digest


def test_results_do_not_depend_on_the_workers(
    plan: CampaignPlan, reference: tuple[str, Path], tmp_path: Path
) -> None:
    digest, results = campaign(plan, tmp_path / "two", workers=2)
    assert digest == reference[0]
    assert (tmp_path / "two" / "results.jsonl").read_bytes() == (reference[1] / "results.jsonl").read_bytes()
    assert load_results(tmp_path / "two") == results
    runner = Runner(plan)
    for number in (0, 7, 100, len(plan) - 1):  # alone, and in another order
        assert runner.run(number) == results[number]


def test_runs_that_chance_decides_alike_are_made_once(
    plan: CampaignPlan, reference: tuple[str, Path]
) -> None:
    results = load_results(reference[1])
    runner = Runner(plan)
    assert [runner.run(number) for number in range(len(plan))] == results
    assert runner.made < len(plan) * 2 // 3
    lonely = Runner(plan)
    for number in range(0, len(plan), 5):
        lonely._alike = ()  # knows nothing of the runs before
        assert lonely.run(number) == results[number]
    assert lonely.made == len(range(0, len(plan), 5))


def test_verdicts(reference: tuple[str, Path]) -> None:
    results = load_results(reference[1])

    def verdicts(**wanted: object) -> set[object]:
        return {r["verdict"] for r in results if all(r[key] == value for key, value in wanted.items())}

    assert verdicts(profile="spec-3.0", fault="none") == {Verdict.AS_SPECIFIED}
    assert verdicts(profile="kvm-7.2", fault="none", guest="overflow") == {Verdict.AS_SPECIFIED}
    assert Verdict.GUEST_LOST in verdicts(profile="kvm-6.9", fault="busy")
    assert verdicts(profile="kvm-7.2", fault="busy", guest="failing-event") <= {
        Verdict.AS_SPECIFIED, Verdict.DEGRADED,
    }  # fmt: skip
    assert Verdict.SILENTLY_WRONG in verdicts(profile="kvm-7.2", fault="no counter", guest="failing-event")
    with sqlite3.connect(reference[1] / "results.sqlite") as database:
        (rows,) = database.execute("SELECT count(*) FROM runs").fetchone()
        wrong = database.execute("SELECT count(*) FROM runs WHERE verdict = 'silently wrong'").fetchone()
    database.close()
    assert rows == len(results)
    assert wrong == (sum(r["verdict"] == Verdict.SILENTLY_WRONG for r in results),)


def test_a_stopped_campaign_goes_on(plan: CampaignPlan, reference: tuple[str, Path], tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 40:
            raise Stop

    with pytest.raises(Stop):
        campaign(plan, tmp_path / "out", progress=stop)
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"run": 99, "verd')  # a line that was never finished
    again: list[int] = []
    digest, _ = campaign(plan, tmp_path / "out", progress=lambda done, total: again.append(done))
    assert digest == reference[0]
    assert len(again) == len(plan) - 40


def test_killed_workers_are_replaced(plan: CampaignPlan, reference: tuple[str, Path], tmp_path: Path) -> None:
    store = Store(tmp_path / "out", plan)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if done in (10, 60):
            victim = coordinator.pids[0]
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    coordinator = Coordinator(plan, store, 2, kill)
    coordinator.run()
    assert len(killed) == 2
    assert coordinator.restarted >= 2
    assert store.finish() == reference[0]
    lines = (tmp_path / "out" / "journal.jsonl").read_bytes().splitlines()
    assert len(lines) == len({json.loads(line)["run"] for line in lines}) == len(plan)
    store.close()


def test_a_killed_coordinator_is_taken_up(reference: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    command = [sys.executable, "-m", "vpmu", "campaign", str(tmp_path / "plan.toml"), "-o",
               str(tmp_path / "out"), "-j", "2", "--no-cases"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    journal = tmp_path / "out" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hash"] == reference[0]


def test_a_run_that_hangs_is_a_result(tmp_path: Path) -> None:
    import struct

    loop = tmp_path / "loop.bin"
    loop.write_bytes(struct.pack("<I", 0x0000006F))
    (tmp_path / "plan.toml").write_text(
        f'guests = ["{loop}", "hello"]\nmax_instructions = 1_000_000_000_000\nseconds = 1\n'
    )
    _, results = campaign(load_campaign(tmp_path / "plan.toml"), tmp_path / "out")
    assert [result["verdict"] for result in results] == [Verdict.GUEST_HUNG, Verdict.AS_SPECIFIED]
    assert results[0]["reason"] == "no end within 1 s of host time"
    (tmp_path / "plan.toml").write_text(f'guests = ["{loop}"]\nmax_instructions = 100_000\n')
    _, results = campaign(load_campaign(tmp_path / "plan.toml"), tmp_path / "budget")
    assert results[0]["verdict"] == Verdict.GUEST_HUNG


def test_folders_are_kept_apart(plan: CampaignPlan, tmp_path: Path) -> None:
    store = Store(tmp_path / "out", plan)
    with pytest.raises(FileError, match="another campaign works"):
        Store(tmp_path / "out", plan)
    store.close()
    (tmp_path / "other.toml").write_text('guests = ["hello"]')
    with pytest.raises(FileError, match="results of another plan"):
        Store(tmp_path / "out", load_campaign(tmp_path / "other.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one"),
        ('guests = ["helo"]', "did you mean hello"),
        ('guests = ["hello"]\nprofiles = ["kvm-7.9"]', "kvm-6.3 to kvm-7.3"),
        ('guests = ["hello"]\nhost_pmus = ["fll"]', "did you mean full"),
        ('guests = ["hello"]\nseed = 3', "did you mean seeds"),
        ('guests = ["hello"]\nseeds = 0', "how many"),
        ('guests = ["hello"]\n[[fault]]\ninject = ["perf.creat:errno=EIO"]', "did you mean perf.create"),
        ('guests = ["hello"]\n[[fault]]\nname = "a"\n[[fault]]\nname = "a"', "no other fault"),
        ('guests = ["random: x"]', "number of steps"),
        ('guests = ["script: strat 3"]', "unknown step"),
        ('guests = ["window: 3"]', "kind of guest"),
        ('guests = ["hello"', "expected TOML"),
        ('guests = ["hello"]\nseeds = 10_000_000\nprofiles = ["kvm-7.2", "kvm-6.9"]', "runs"),
    ],
)
def test_plans_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(VpmuError, match=words) as caught:
        load_campaign(tmp_path / "plan.toml")
    assert "plan.toml" in str(caught.value)


def test_what_another_version_began_is_not_finished_by_this_one(
    plan: CampaignPlan, reference: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        campaign(plan, tmp_path / "out", progress=stop)
    with monkeypatch.context() as patched:
        patched.setattr("vpmu.campaign.store.made_by", lambda: "99.9 another")
        with pytest.raises(FileError, match=r"another version of vpmu.*expected 99\.9 another, got \d"):
            campaign(plan, tmp_path / "out")
        assert campaign(plan, reference[1])[0] == reference[0]  # it is complete: nothing is mixed
    assert campaign(plan, tmp_path / "out")[0] == reference[0]


def test_shortest() -> None:
    assert shortest(list(range(40)), lambda some: {3, 17, 30} <= set(some)) == [3, 17, 30]
    assert shortest([1, 2], lambda some: True) == []


def test_it_finds_wrong_counts_by_itself_and_says_why(
    plan: CampaignPlan, reference: tuple[str, Path]
) -> None:
    cases = find_cases(plan, load_results(reference[1]), Runner(plan))
    blamed = {name for case in cases for name in case.behaviours}
    assert {"read-accumulates", "error-state-ignored", "event-created-enabled"} <= blamed
    assert all(len(case.rules) <= 1 for case in cases)
    assert all(case.records for case in cases)
    assert all(case.profile != "spec-3.0" for case in cases)
    assert find_cases(plan, load_results(reference[1]), Runner(plan), workers=2) == cases


def test_a_behaviour_that_a_run_does_not_ask_for_makes_no_difference_to_it(
    plan: CampaignPlan, reference: tuple[str, Path]
) -> None:
    results = load_results(reference[1])
    number = next(
        int(str(r["run"]))
        for r in results
        if r["verdict"] == Verdict.SILENTLY_WRONG and r["guest"] == "failing-event"
    )
    short = shrink._whole(plan, number)
    profile = get_profile(short.profile)
    own, asked = watched(profile)
    shown = short.tried(PayloadStation(short.guest, own, short.host_pmu))
    assert asked & profile.behaviours
    assert profile.behaviours - asked
    for behaviour in profile.behaviours - asked:
        other = changed(profile, (), [behaviour.name])
        assert short.tried(PayloadStation(short.guest, other, short.host_pmu)) == shown, behaviour.name
    assert set(shrink.blamed(plan, number)) <= {behaviour.name for behaviour in asked}


def test_a_process_that_dies_while_it_looks_for_cases_is_one_line(
    plan: CampaignPlan, reference: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrink, "_case", _die)
    with pytest.raises(VpmuError, match="--no-cases"):
        find_cases(plan, load_results(reference[1]), Runner(plan), workers=2)


def _die(*arguments: object) -> None:
    os._exit(9)


CLUSTER = """
from distributed import LocalCluster
import sys
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def test_dask_gives_the_same_results(reference: tuple[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "cluster.py").write_text(CLUSTER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")], env=environment, cwd=tmp_path, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as cluster:  # fmt: skip
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, "-m", "vpmu", "campaign", "plan.toml", "--scheduler", address, "--no-cases",
             "--json"],
            env=environment, cwd=tmp_path, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        cluster.communicate()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hash"] == reference[0]


def test_a_scheduler_that_is_none(plan: CampaignPlan, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with pytest.raises(VpmuError, match="expected a Dask scheduler, got window://1"):
        campaign(plan, tmp_path / "out", scheduler="window://1")


def test_linux_may_take_longer_than_a_payload(tmp_path: Path) -> None:
    text = 'guests = ["hello", "linux: true"]\n'
    (tmp_path / "plan.toml").write_text(text)
    plan = load_campaign(tmp_path / "plan.toml")
    assert [plan.limit(guest) for guest in plan.guests] == [20_000_000, 1_000_000_000]
    (tmp_path / "plan.toml").write_text(text + "max_instructions = 7\n")
    plan = CampaignPlan.from_object(load_campaign(tmp_path / "plan.toml").as_object())
    assert [plan.limit(guest) for guest in plan.guests] == [7, 7]


def test_cases_stand_for_every_wrong_run_and_merge_no_guests_and_no_symptoms(
    plan: CampaignPlan, reference: tuple[str, Path]
) -> None:
    results = load_results(reference[1])
    wrong = [result for result in results if result["verdict"] == Verdict.SILENTLY_WRONG]
    cases = find_cases(plan, results, Runner(plan))
    assert len({(case.guest, case.profile) for case in cases}) > 3
    assert sum(case.runs for case in cases) == len(wrong)
    for profile, guest in {(case.profile, case.guest) for case in cases}:
        mine = [case for case in cases if (case.profile, case.guest) == (profile, guest)]
        theirs = [r for r in wrong if (r["profile"], r["guest"]) == (profile, guest)]
        assert sum(case.runs for case in mine) == len(theirs)
        symptoms = {(r["findings"][0]["way"], r["findings"][0]["event"]) for r in theirs}  # type: ignore[index]
        for _, event in symptoms:
            assert any(f"({event})" in case.finding for case in mine), (event, mine)


def test_fail_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(
        'guests = ["failing-event"]\nprofiles = ["kvm-6.9"]\n'
        '[[fault]]\ninject = ["perf.create:event=cycles,errno=EBUSY"]\n'
    )
    command = ["campaign", str(tmp_path / "plan.toml"), "-q"]
    assert main(command) == 0
    assert "guest lost in kvm-6.9 (1 run): kvm pmu event creation failed" in capsys.readouterr().out
    assert main([*command, "--fail-on", "guest-hung,silently-wrong"]) == 0
    assert main([*command, "--fail-on", "guest-hung", "--fail-on", "guest lost"]) == 1
    assert main([*command, "--fail-on", "guest-gone"]) == 2
    assert "known: as-specified, degraded-gracefully" in capsys.readouterr().err


def test_a_guest_that_does_not_boot_is_lost_and_is_booted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    boots = []

    def prepare(*key: object) -> None:
        boots.append(key)
        raise BootError("Linux did not boot to its prompt", got="panic: no init")

    monkeypatch.setattr("vpmu.campaign.run.prepare", prepare)
    plan = CampaignPlan(
        "x", (("none", FaultPlan()),), ("kvm-6.9",), ("full",), (Guest("linux", "true"),), (1, 2)
    )
    runner = Runner(plan)
    results = [runner.run(number) for number in range(2)]
    assert [result["verdict"] for result in results] == [Verdict.GUEST_LOST] * 2
    assert "panic: no init" in str(results[0]["reason"])
    assert len(boots) == 1


def test_a_cluster_without_workers_says_so(
    plan: CampaignPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def __init__(self, *arguments: object, **options: object) -> None:
            pass

        def wait_for_workers(self, number: int, timeout: float) -> None:
            raise TimeoutError

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

    monkeypatch.setattr("vpmu.campaign.dask.import_module", lambda name: SimpleNamespace(Client=Client))
    with pytest.raises(VpmuError, match="expected a Dask cluster with workers, got tcp://x:1: none within"):
        campaign(plan, tmp_path / "out", scheduler="tcp://x:1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guests", [["nobody", "0"]]), ("guests", [["payload", 7]]), ("guests", [["random", "x"]]),
        ("guests", [["script", "what is this"]]), ("guests", [["payload", "counting", "kvm-7.2"]]),
        ("guests", [["payload", "counting", 7]]), ("guests", [["payload", "counting", "kvm", "kvm"]]),
        ("files", [["a", "b"]]), ("files", {"a": 1}), ("profiles", [6.9]), ("host_pmus", [None]),
        ("seeds", ["0"]), ("seeds", [True]), ("max_instructions", "many"),
    ],
)  # fmt: skip
def test_a_plan_that_nobody_saved(plan: CampaignPlan, key: str, value: object) -> None:
    """plan.json of a folder, which anybody may have edited."""
    assert CampaignPlan.from_object(plan.as_object()).digest == plan.digest
    with pytest.raises((ValueError, KeyError, TypeError, VpmuError)):
        CampaignPlan.from_object({**plan.as_object(), key: value})
