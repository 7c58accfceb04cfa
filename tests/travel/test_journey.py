"""`vpmu travel` as it is typed, and what stands below it."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vpmu.cli.main import main
from vpmu.debug.journey import Journey
from vpmu.debug.names import names_of
from vpmu.faults.read import plan_of
from vpmu.travel.travel import Traveller, travel
from vpmu.vmm.machine import Machine

FAULTS = ("kvm.csr:counter=2,add=7", "perf.create:event=cycles,errno=EBUSY,times=1",
          "perf.read:freeze=true,probability=50", "guest.memory:address=0x80400000,xor=1,after=1100,times=1",
          "perf.starve:counters=1,for=300")  # fmt: skip


def told(capfd: pytest.CaptureFixture[str], *words: str, status: int = 0) -> list[dict[str, object]]:
    assert main(["travel", *words, "--json"]) == status
    steps = json.loads(capfd.readouterr().out)["steps"]
    assert isinstance(steps, list)
    return steps


def _journey(payload: str, *rules: str, limit: int | None = None) -> Journey:
    machine = Machine(host_pmu="sampling")
    loaded = machine.load(payload)
    for rule in rules:
        machine.inject(plan_of(rule))
    return Journey(travel(machine, anew=True), names_of(loaded), limit)


def test_to_a_count_and_before_it(capfd: pytest.CaptureFixture[str]) -> None:
    read, before, call = told(capfd, "counting", "--to", "csr:cycle", "--back", "100", "--back", "sbi:PMU")
    assert read["met"] == "hart 0 reads counter 0: 0x14"
    assert read["where"][0]["symbol"].startswith("counter_reads")  # type: ignore[index]
    assert [one["event"] for one in read["counters"]] == ["cycles", "instructions"]  # type: ignore[attr-defined]
    assert before["instruction"] == read["instruction"] - 100  # type: ignore[operator]
    assert call["met"].startswith("hart 0 calls ")  # type: ignore[attr-defined]
    assert call["instruction"] < before["instruction"]  # type: ignore[operator]


def test_a_counter_has_the_value_that_a_read_would_give(capfd: pytest.CaptureFixture[str]) -> None:
    """What is shown is held against what the guest reads."""
    (read,) = told(capfd, "counting", "--to", "csr:cycle")
    shown = {one["counter"]: one["value"] for one in read["counters"]}  # type: ignore[attr-defined]
    assert int(str(read["met"]).rpartition(" ")[2], 0) == shown[0]


def test_overflow_backwards_from_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    steps = told(capfd, "overflow", "--host-pmu", "sampling", "--to", "end", "--back", "overflow",
                 "--back", "1", "--to", "overflow:2")  # fmt: skip
    assert steps[1]["met"] == steps[3]["met"] == "counter 2 of hart 0 overflows"
    assert steps[1]["instruction"] == steps[3]["instruction"]
    values = [next(one for one in step["counters"] if one["counter"] == 2) for step in steps[1:]]  # type: ignore[attr-defined]
    assert [one["value"] for one in values] == [0, (1 << 64) - 1, 0]
    assert "overflown" in values[0]["state"]
    assert "overflown" not in values[1]["state"]


def test_names_bytes_and_text(capfd: pytest.CaptureFixture[str]) -> None:
    steps = told(capfd, "counting", "--to", "main+0x4", "--back", "watch:bound,8,w", "--to", "console:cycles",
                 "--to", "end", "--back", "console:cycles", "--back", "main", "--back", "start")  # fmt: skip
    assert steps[0]["where"][0]["symbol"] == "main+0x4"  # type: ignore[index]
    assert "writes" in str(steps[1]["met"])
    assert steps[2]["met"] == steps[4]["met"] == "the console has 'cycles'"
    assert steps[4]["instruction"] >= steps[2]["instruction"]  # type: ignore[operator]
    assert steps[5]["where"][0]["symbol"] == "main"  # type: ignore[index]
    assert steps[6]["instruction"] == 0


def test_what_is_not_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    (step,) = told(capfd, "counting", "--to", "overflow", status=1)
    assert str(step["met"]).endswith("; no overflow on the way")
    (step,) = told(capfd, "counting", "--to", "console:nobody says this", status=1)
    assert step["why"] == "end"
    (step,) = told(capfd, "counting", "--to", "sbi:SRST", "--max-instructions", "500", status=1)
    assert step["met"] == "the limit; no sbi:SRST on the way"
    (_, step) = told(capfd, "counting", "--to", "10", "--back", "refusal", status=1)
    assert step["met"] == "the beginning; no refusal on the way"


@pytest.mark.parametrize("rule", FAULTS)
def test_a_run_with_faults_is_walked_as_well(rule: str) -> None:
    """Back is done anew there: positions, states and what was met are those of a straight run."""
    chosen = random.Random(rule)
    journey = _journey("counting", rule)
    machine = Machine(host_pmu="sampling")
    machine.load("counting")
    machine.inject(plan_of(rule))
    wanted = {}
    for place in sorted(chosen.randrange(1, 4000) for _ in range(12)):
        machine.run(place - machine.instructions)
        wanted[place] = machine.state_hash()
    forwards = []
    while (arrival := journey.to("fault")).hit is not None and len(forwards) < 40:
        forwards.append((arrival.hit.position, arrival.hit.order, arrival.hit.words))
    for _ in range(40):
        place = chosen.choice(list(wanted))
        journey.to(str(place))
        assert journey.traveller.machine.state_hash() == wanted[place]
    journey.to("start")
    again = []
    for _ in forwards:
        hit = journey.to("fault").hit
        assert hit is not None
        again.append((hit.position, hit.order, hit.words))
    assert again == forwards
    assert forwards
    backwards = [hit for _ in forwards[1:] if (hit := journey.back("fault").hit) is not None]
    assert [(hit.position, hit.order, hit.words) for hit in backwards] == forwards[-2::-1]


def test_looking_changes_nothing() -> None:
    journey, plain = _journey("overflow"), Machine(host_pmu="sampling")
    plain.load("overflow")
    for place in range(200_000, 420_000, 20_011):
        journey.to(str(place))
        assert journey.here().lines()
        plain.run(place - plain.instructions)
        assert journey.traveller.machine.state_hash() == plain.state_hash()


def test_steps_are_typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("to sbi:PMU\n\nback nowhere\nback 3\nquit\nto end\n"))
    assert main(["travel", "counting"]) == 0
    out, err = capfd.readouterr()
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["to sbi:PMU", "back 3"]
    assert err.startswith("vpmu: error: usage: unknown place 'nowhere'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["counting", "--to", "mian"], "unknown place 'mian'; did you mean main"),
        (["counting", "--to", "sbi:PNU"], "unknown sbi to catch 'PNU'"),
        (["counting", "--to", "watch:"], "watch:NAME,BYTES,ACCESS"),
        (["counting", "--to", "watch:bound,9999"], "expected 1 to 4096, got 9999"),
        (["counting", "--to", "console:"], "expected console:TEXT"),
        (["counting", "--to", "0xzz"], "unknown place '0xzz'"),
        (["counting", "--back", "end"], "expected something that lies behind us"),
        (["counting", "--memory-budget", "1K", "--to", "1"], "budget of memory for time travel is too small"),
        (["counting", "--perf", "host", "--to", "1"], "expected a modelled host PMU"),
        (["counting", "--host-kernel", "/dev/null", "--to", "1"], "expected kvm as GUEST"),
        (["nobody", "--to", "1"], "unknown image 'nobody'"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["travel", *words]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_script_of_the_page_runs(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = (project / "docs" / "time-travel.md").read_text()
    (script,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(script, scope)
    assert capfd.readouterr().out.splitlines() == re.findall(r"\) # (.*)$", script, re.MULTILINE)
    walk, machine = scope["walk"], scope["machine"]
    assert isinstance(walk, Traveller)
    assert isinstance(machine, Machine)
    assert walk.position == machine.instructions == walk.first + 990


BARE = """
.globl _start, tohost, main
_start: li t0, 20
1: addi t0, t0, -1
 bnez t0, 1b
main: csrr t1, mcycle
 li t0, 1
 la t1, tohost
 sd t0, 0(t1)
2: j 2b
.data
.align 6
tohost: .dword 0
"""


def test_a_program_in_machine_mode(
    tool: Callable[[str], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gcc = tool("riscv64-linux-gnu-gcc")
    (tmp_path / "m.S").write_text(BARE)
    flags = ["-nostdlib", "-static", "-march=rv64gc", "-Wl,--build-id=none,-N,-Ttext=0x80000000"]
    subprocess.run([gcc, *flags, "-o", "m.elf", "m.S"], cwd=tmp_path, check=True, capture_output=True)
    image = str(tmp_path / "m.elf")
    at, before, end = told(capfd, image, "--to", "main", "--back", "5", "--to", "end")
    assert [step["instruction"] for step in (at, before, end)] == [41, 36, 45]
    assert at["where"][0]["mode"] == "M"  # type: ignore[index]
    assert {one["counter"]: one["value"] for one in before["counters"]}[0] == 36  # type: ignore[attr-defined]
