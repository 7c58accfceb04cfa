"""The folder of a campaign: damaged lines are done again, and a full disk loses nothing."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vpmu.campaign.coordinator import campaign
from vpmu.campaign.plan import CampaignPlan, load_campaign
from vpmu.campaign.run import Runner
from vpmu.campaign.store import Result, Store
from vpmu.cli.main import main
from vpmu.errors import FileError

Disk = Callable[[int], AbstractContextManager[None]]
ROUNDS = int(os.environ.get("VPMU_FUZZ", "400")) // 2
PLAN = """
profiles = ["kvm-6.9", "kvm-7.2"]
guests = ["random: 8"]
seeds = 6
[[fault]]
name = "none"
[[fault]]
name = "busy"
inject = ["perf.create:errno=EBUSY,probability=30"]
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> CampaignPlan:
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN)
    return load_campaign(path)


@pytest.fixture(scope="module")
def results(plan: CampaignPlan) -> list[Result]:
    runner = Runner(plan)
    return [runner.run(number) for number in range(len(plan))]


def fill(folder: Path, plan: CampaignPlan, results: list[Result]) -> tuple[str, list[str]]:
    """Do what is missing, as a campaign does; the hash, and what was said."""
    store = Store(folder, plan)
    try:
        for result in results:
            store.add(result)
        return store.finish(), store.notes
    finally:
        store.close()


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def torn(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def doubled(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(200)
    return data[:at] + data[at : at + size] + data[at:]


def holed(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(600)
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


@pytest.mark.parametrize("damage", [flipped, torn, doubled, holed])
def test_damaged_journals(
    damage: Callable[[bytes, random.Random], bytes], plan: CampaignPlan, results: list[Result], tmp_path: Path
) -> None:
    digest, notes = fill(tmp_path, plan, results)
    assert notes == []
    journal = tmp_path / "journal.jsonl"
    good = journal.read_bytes()
    said = 0
    for number in range(ROUNDS // 4):
        journal.write_bytes(damage(good, random.Random(number)))
        again, notes = fill(tmp_path, plan, results)
        assert again == digest, number
        assert sorted(journal.read_bytes().splitlines()) == sorted(good.splitlines()), number
        said += any("done again" in note for note in notes)
    assert said > ROUNDS // 8


def test_only_what_is_damaged_is_done_again(
    plan: CampaignPlan, results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    command = ["campaign", str(tmp_path / "plan.toml"), "-o", str(tmp_path / "out"), "--no-cases"]
    assert main([*command, "--json"]) == 0
    digest = json.loads(capsys.readouterr().out)["hash"]
    journal = tmp_path / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    number = json.loads(lines[5])["run"]
    lines[5] = lines[5].replace(b'"virtual_ns":', b'"virtual_ns":1')  # still JSON, still a number
    journal.write_bytes(b"".join(lines))
    store = Store(tmp_path / "out", plan)
    assert sorted(store.done) == [other for other in range(len(plan)) if other != number]
    store.close()
    journal.write_bytes(b"".join(lines))
    assert main([*command, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["hash"] == digest
    assert shown.err == f"vpmu: {journal}: damaged (line 6); what is missing is done again\n"


def test_a_line_that_is_no_record_of_this_plan(
    plan: CampaignPlan, results: list[Result], tmp_path: Path
) -> None:
    """The checksum holds, and the content is anything."""
    import zlib

    digest, _ = fill(tmp_path, plan, results)
    journal = tmp_path / "journal.jsonl"
    good = journal.read_bytes()
    for key, value in [
        ("run", -1), ("run", len(plan)), ("run", "0"), ("run", True), ("verdict", "fine"),
        ("profile", "kvm-7.3"), ("instructions", "many"), ("virtual_ns", 1 << 63), ("calls", 3),
        ("seed", None), ("status", [1]),
    ]:  # fmt: skip
        body = json.dumps({**results[0], key: value}).encode().removesuffix(b"}")
        journal.write_bytes(body + b',"crc32":"%08x"}\n' % zlib.crc32(body) + good)
        again, notes = fill(tmp_path, plan, results)
        assert again == digest
        assert ["damaged (line 1)" in note for note in notes] == [True], (key, value)
    for nothing in (b"", b"\n", b"\xff\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n"):
        journal.write_bytes(nothing + good)
        assert fill(tmp_path, plan, results)[0] == digest


def test_damaged_plans(plan: CampaignPlan, results: list[Result], tmp_path: Path) -> None:
    digest, _ = fill(tmp_path, plan, results)
    path = tmp_path / "plan.json"
    good = path.read_bytes()
    for number in range(ROUNDS // 4):
        rng = random.Random(number)
        path.write_bytes(rng.choice((flipped, torn, doubled, holed))(good, rng))
        refused = ""
        try:
            again, _ = fill(tmp_path, plan, results)
        except FileError as error:  # the damage hit the word that names the check, and the digest
            refused = str(error)
        assert again == digest if not refused else "results of another plan" in refused
        path.write_bytes(good)


def test_a_full_disk_loses_nothing(
    plan: CampaignPlan, results: list[Result], tmp_path: Path, full_disk: Disk
) -> None:
    """Whatever was written when it became full: what is there is whole, and the folder can be used again."""
    digest, _ = fill(tmp_path / "whole", plan, results)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").iterdir()}
    stopped: list[FileError] = []
    for number in range(ROUNDS // 4):
        folder = tmp_path / str(number)
        size = random.Random(number).choice((0, 1, sizes["plan.json"] - 1, *range(0, 30_000, 97)))
        try:
            with full_disk(size):
                fill(folder, plan, results)
        except FileError as error:
            stopped.append(error)
        for name in ("plan.json", "results.jsonl"):
            if (folder / name).exists():
                assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        if (folder / "journal.jsonl").exists():
            assert (folder / "journal.jsonl").read_bytes()[-1:] in (b"", b"\n")
        again, notes = fill(folder, plan, results)
        assert (again, notes) == (digest, [])
        assert {path.name for path in folder.iterdir()} == set(sizes)
        with sqlite3.connect(folder / "results.sqlite") as database:
            assert database.execute("SELECT count(*) FROM runs").fetchone() == (len(plan),)
        database.close()
    assert {"plan.json", "journal.jsonl"} <= {Path(error.path).name for error in stopped}
    assert all(error.what.endswith("File too large") for error in stopped)


def test_a_full_disk_is_one_line(tmp_path: Path, full_disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    out = tmp_path / "out"
    command = ["campaign", str(tmp_path / "plan.toml"), "-o", str(out), "--no-cases"]
    with full_disk(100):
        assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.err == f"vpmu: error: file: {out / 'plan.json'}: File too large\n"
    assert main(command) == 0


def test_a_folder_of_before_is_used_again(plan: CampaignPlan, results: list[Result], tmp_path: Path) -> None:
    """What a full disk left before plan.json was written whole: an empty one."""
    tmp_path.joinpath("plan.json").touch()
    _, notes = fill(tmp_path, plan, results)
    assert notes == [f"{tmp_path / 'plan.json'}: damaged; every run is done again"]
    assert fill(tmp_path, plan, results)[1] == []


def test_the_campaigns_own_way(plan: CampaignPlan, tmp_path: Path) -> None:
    said: list[str] = []
    digest, _ = campaign(plan, tmp_path, note=said.append)
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    assert campaign(plan, tmp_path, note=said.append)[0] == digest
    assert said == [f"{journal}: damaged (line {len(plan)}); what is missing is done again"]
