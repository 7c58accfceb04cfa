"""`vpmu diverge`, `record` and `verify` as they are typed."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from vpmu.campaign import record as records
from vpmu.campaign.recipe import Recipe, Running
from vpmu.campaign.record import Recorded, load, record, verify
from vpmu.cli.main import main

EVENT = "failing-event"


def told(capfd: pytest.CaptureFixture[str], *words: str, status: int) -> dict[str, object]:
    assert main([*words, "--json"]) == status
    found = json.loads(capfd.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_commit_that_parts_two_releases_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["diverge", "kvm-6.9", "kvm-7.2", EVENT]) == 1
    text = capfd.readouterr().out
    assert "first call that differs: counter_config_matching" in text
    assert "states: the same up to instruction 800, and not behind the next one" in text
    assert "hart 0 registers: x10 0x0 and 0xfffffffffffffffe" in text
    assert "next: 0x802008c4 (main+0x88): ecall" in text
    assert "explained by perf-failure-ends-kvm-run of kvm-6.9: 2196c066f138" in text


def test_two_engines_do_not_part(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["diverge", "native", "reference", "overflow"]) == 0
    assert "the same: 4 calls, 5,484 instructions" in capfd.readouterr().out


def test_a_fault_parts_a_run_from_the_same_without_it(capfd: pytest.CaptureFixture[str]) -> None:
    rule = "kvm.csr:counter=2,add=7"
    found = told(capfd, "diverge", "kvm-7.2", f"kvm-7.2+{rule}", "counting", status=1)
    assert found["call"] is None
    assert found["count"]["sides"][1]["result"] == found["count"]["sides"][0]["result"] + 7  # type: ignore[index]
    assert found["instruction"] == found["count"]["sides"][0]["instruction"]  # type: ignore[index]
    assert [one["part"] for one in found["changed"]] == ["hart 0 registers"]  # type: ignore[attr-defined]


def test_a_flipped_bit_of_memory_is_found_at_its_instruction(capfd: pytest.CaptureFixture[str]) -> None:
    rule = "guest.memory:address=0x80400000,xor=0x10000,times=1,after=1100"
    found = told(capfd, "diverge", "kvm-7.2", f"kvm-7.2+{rule}", "counting", status=1)
    (changed,) = found["changed"]  # type: ignore[misc]
    assert (changed["part"], changed["name"], changed["second"]) == ("memory", "0x80400000", 0x10000)
    assert isinstance(found["instruction"], int)
    recipe = Recipe("counting", faults=(rule,))
    for more, flipped in ((0, 0), (1, 0x10000)):
        running = Running(recipe)
        running.to(found["instruction"] + more)
        assert int.from_bytes(running.machine.memory.read(0x80400000, 8), "little") == flipped


@pytest.mark.parametrize("words", [
    ("diverge", "kvm-7.2", "kvm-9.9", "counting"), ("diverge", "kvm-7.2", "kvm-6.9", "no-such-guest"),
    ("diverge", "kvm-7.2", "/no/such/kernel", "counting"), ("diverge", "kvm-7.2", "kvm.csr:", "counting"),
    ("diverge", "a.vpmu", "b.vpmu"), ("record", "no-such-guest", "-o", "x.vpmu"),
    ("record", "counting", "-o", "x.vpmu", "--window", "5:5"), ("verify", "no-such.vpmu"),
])  # fmt: skip
def test_bad_input_is_one_line(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status: object = main(list(words))
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert len(capfd.readouterr().err.strip().splitlines()[-1:]) == 1


# ------------------------------------------------------------ record and verify


def test_a_record_is_the_same_on_both_engines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "run.vpmu")
    assert main(["record", "overflow", "-o", file, "--interval", "100"]) == 0
    assert Path(file).stat().st_size < 20_000
    for engine in ("native", "reference"):
        assert main(["verify", file, "--engine", engine]) == 0
    assert "the same: 5,484 instructions, 55 hashes" in capfd.readouterr().out


FAULTS = ((), ("perf.create:event=cycles,errno=EBUSY",), ("kvm.csr:add=3",), ("perf.starve:counters=1",))
RELEASES = ("spec-3.0", "kvm-6.9", "kvm-6.12.107", "kvm-7.2", "opensbi-1.6")


def test_a_hundred_records_verify(tmp_path: Path) -> None:
    """Guests by profiles by hosts by faults; every third one is done again on the other engine too."""
    done = 0
    for guest, profile, host, faults in product(
        ("overflow", "firmware-counter", EVENT), RELEASES, ("full", "qemu-virt"), FAULTS
    ):
        recipe = Recipe(guest, profile, host_pmu=host, faults=faults, seed=done, limit=1500)
        file = tmp_path / f"{done}.vpmu"
        record(recipe).save(file)
        made = load(file)
        assert verify(made).same, recipe
        if done % 3 == 0:
            assert verify(made, engine="reference").same, recipe
        done += 1
    assert done >= 100


class Flipping(Running):
    """A run in which a bit of a register changes at an instruction."""

    at_instruction, register = 1234, 9

    def to(self, target: int | None = None) -> object:  # type: ignore[override]
        flip = self.at_instruction
        if self.at < flip and (target is None or target >= flip):
            super().to(flip)
            hart = self.machine.vcpus[0].hart
            hart.set_x(self.register, hart.x(self.register) ^ 1 << 40)
        return super().to(target)


@pytest.mark.parametrize("at", [1, 999, 1000, 1001, 1717, 2900])
def test_a_flipped_bit_is_found_at_its_instruction(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record(Recipe("firmware-counter"), interval=300)
    monkeypatch.setattr(Flipping, "at_instruction", at)
    found = verify(made, engine="reference", runs=Flipping)
    assert not found.same
    assert found.first is not None
    assert found.last is not None
    assert found.first <= at <= found.last
    assert found.instruction == at - 1
    assert any(one.name == "x9" for one in found.changed)


def test_input_comes_at_its_instruction(tmp_path: Path) -> None:
    early = record(Recipe("counting", limit=2000, input=((100, "6c730a"),)), interval=50)
    late = record(Recipe("counting", limit=2000, input=((1000, "6c730a"),)), interval=50)
    assert verify(early).same
    assert verify(late).same
    parted = next(a.instruction for a, b in zip(early.points, late.points, strict=True) if a.hash != b.hash)
    assert parted == 100
    assert early.end.hash == late.end.hash


def test_damaged_records_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.vpmu"
    record(Recipe("overflow", limit=500), interval=100).save(file)
    whole = file.read_bytes()
    damaged = [
        b"", b"vpmu", whole[:100], whole[:-20], b"\x7fELF" + whole, whole.replace(b"overflow", b"overfloW"),
        whole.replace(b"vpmu-record 1 ", b"vpmu-record 2 ", 1), whole.replace(b" 0.", b" 9.", 1),
    ]  # fmt: skip
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 97)]
    for data in damaged:
        file.write_bytes(data)
        assert main(["verify", str(file)]) == 2, data[:60]
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("vpmu: error: record: ")


def test_a_record_of_another_version_is_refused_unless_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "run.vpmu")
    made = record(Recipe("overflow", limit=500), interval=100)
    Recorded(made.recipe, made.parts, made.points, made.stop, made.reason, made.calls, "0.0.9").save(file)
    assert main(["verify", file]) == 2
    assert "a record of another vpmu: expected 0.1.0, format 1, got 0.0.9" in capfd.readouterr().err
    assert main(["verify", file, "--any-version"]) == 0
    other = str(tmp_path / "other.vpmu")
    record(Recipe("overflow", "kvm-6.9", limit=500), interval=100).save(other)
    assert load(other).end.hash != made.end.hash
    capfd.readouterr()
    assert main(["diverge", file, other]) == 1
    assert "(vpmu 0.0.9)" in (text := capfd.readouterr().out)
    assert "part between instruction" in text
    assert main(["diverge", file, file]) == 0


def test_sensible_looking_nonsense_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Content whose digest is right, and that nobody can have written."""
    file = tmp_path / "run.vpmu"
    for content in (
        "{}", "[]", "null", '{"recipe":{},"parts":[],"points":[]}',
        '{"recipe":{"guest":"overflow","harts":"x"},"parts":[],"points":[[1,"a",""]],"stop":"","reason":"","calls":0}',
        '{"recipe":{"guest":"overflow","bad":1},"parts":[],"points":[[1,"a",""]],"stop":"","reason":"","calls":0}',
        '{"recipe":{"guest":"overflow","image":"!"},"parts":[],"points":[[1,"a",""]],"stop":"","reason":"","calls":0}',
        '{"recipe":{"guest":"overflow","input":[["a","zz"]]},"parts":[],"points":[[1,"a",""]],"stop":"","reason":"","calls":0}',
        '{"recipe":{"guest":"overflow","memory":12},"parts":[],"points":[[1,"a",""]],"stop":"","reason":"","calls":0}',
    ):  # fmt: skip
        file.write_text(f"vpmu-record 1 {records.__version__} {records._check(content)}\n{content}\n")
        assert main(["verify", str(file)]) == 2, content
        assert len(capfd.readouterr().err.splitlines()) == 1
