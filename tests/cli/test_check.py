"""`--check`: a wrong count is said when the guest gets it, in plain runs of every guest that gets one."""

from __future__ import annotations

import json
import re
import struct
from importlib import resources
from pathlib import Path

import pytest

from vpmu.campaign.catalogue import Scenario, load_catalogue, run_scenario
from vpmu.campaign.script import _FLAGS
from vpmu.campaign.script_text import counters, number, read_options
from vpmu.campaign.verdict import Verdict
from vpmu.cli.main import main
from vpmu.profiles.profiles import get_profile
from vpmu.spec.sbi import Eid, HsmFid, PmuFid, StartFlag, StopFlag
from vpmu.spec.sbi_events import event_by_name

RAM = 0x80200000
T0, T1, T2, A0, A1, A6, A7 = 5, 6, 7, 10, 11, 16, 17
SRST = 0x53525354
STATES_ONLY = frozenset({"state", "live", "interrupts", "pending", "held"})
"""Steps that look from outside, and do nothing."""
SLOWER = 20
"""Where a fault has its time, a guest of instructions works so many times as much as a scripted one, whose
calls take no time.
"""
EVERY_COUNTER = (1 << 41) - 1 & ~2


class Assembler:
    """The machine code of a guest that does the steps of a scenario."""

    def __init__(self) -> None:
        self.code = bytearray()

    @property
    def here(self) -> int:
        return RAM + len(self.code)

    def word(self, *words: int) -> None:
        self.code += struct.pack(f"<{len(words)}I", *words)

    def load(self, register: int, value: int) -> int:
        """The offset of the constant, behind a jump over it."""
        self.word(0x00C0006F)  # j 12
        at = len(self.code)
        self.code += struct.pack("<Q", value & (1 << 64) - 1)
        self.word(0x00000297, 0xFF82B003 | register << 7)  # auipc t0, 0; ld register, -8(t0)
        return at

    def ecall(self, eid: int, fid: int, *args: int) -> list[int]:
        places = [self.load(A0 + i, value) for i, value in enumerate((*args, *(0,) * (6 - len(args))))]
        self.load(A6, fid)
        self.load(A7, eid)
        self.word(0x00000073)
        return places

    def work(self, instructions: int) -> None:
        self.load(T1, max(1, instructions // 2))
        self.word(0xFFF30313, 0xFE031EE3)  # addi t1, t1, -1; bnez t1, -4

    def reset(self) -> None:
        """The hart stops itself, and hart 1 starts it again behind this."""
        there = self.ecall(Eid.HSM, HsmFid.HART_START, 1, 0, 0)[1]
        self.ecall(Eid.HSM, HsmFid.HART_STOP)
        self.code[there : there + 8] = struct.pack("<Q", self.here)
        again = self.here
        self.ecall(Eid.HSM, HsmFid.HART_GET_STATUS, 0)
        back = again - (self.here + 4)
        self.word(0xFFF58593)  # addi a1, a1, -1: it is 1, STOPPED
        bits = back & 0x1FFF
        offset = (bits >> 12) << 31 | (bits >> 5 & 63) << 25 | (bits >> 1 & 15) << 8 | (bits >> 11 & 1) << 7
        self.word(0x00059063 | offset)  # bnez a1, again
        there = self.ecall(Eid.HSM, HsmFid.HART_START, 0, 0, 0)[1]
        self.word(0x0000006F)
        self.code[there : there + 8] = struct.pack("<Q", self.here)


def assembled(scenario: Scenario, profile: str) -> bytes:
    guest, implementation = Assembler(), get_profile(profile)
    slower = SLOWER if any("after" in rule.match for rule in scenario.plan.rules) else 1
    for step in scenario.steps:
        name, *words = step.words
        if step.expected(implementation) in ("skip", "illegal") or name in STATES_ONLY:
            continue
        match name:
            case "config":
                options = read_options(words[1:], "counters", "flags", "data", "event")
                base, mask = counters(options["counters"]) if "counters" in options else (0, EVERY_COUNTER)
                event, flags = event_by_name(words[0]), 0
                for flag in options.get("flags", "clear").split("+"):
                    flags |= _FLAGS[flag] if flag in _FLAGS else number(flag)
                what = event.event_idx, event.event_data
                guest.ecall(Eid.PMU, PmuFid.COUNTER_CONFIG_MATCHING, base, mask, flags, *what)
            case "start":
                options = read_options(words[1:], "value", "keep", "snapshot", "flags")
                flags = 0 if "keep" in options else int(StartFlag.SET_INIT_VALUE)
                value = number(options.get("value", "0"))
                guest.ecall(Eid.PMU, PmuFid.COUNTER_START, *counters(words[0]), flags, value)
            case "stop":
                flags = StopFlag.RESET * ("reset" in words)
                guest.ecall(Eid.PMU, PmuFid.COUNTER_STOP, *counters(words[0]), flags)
            case "work":
                guest.work(number(words[0]) * slower)
            case "read":
                guest.word(0xC00023F3 | number(words[0]) << 20)  # csrr t2, cycle + n
            case "ecall":
                guest.ecall(*map(number, words))
            case "reset":
                guest.reset()
            case "destroy":  # what follows is of another machine
                break
            case _:
                raise AssertionError(step.text)
    guest.ecall(SRST, 0, 0, 0)
    return bytes(guest.code)


def later(time: re.Match[str]) -> str:
    return str(int(time[0]) * SLOWER)


def rows(*, silent: bool) -> list[tuple[str, str]]:
    """Scenarios and profiles that the oracle of campaigns calls silently wrong, or those that it does not."""
    found = (row for scenario in load_catalogue().values() for row in run_scenario(scenario))
    return [(row.id, row.profile) for row in found if (row.verdict is Verdict.SILENTLY_WRONG) is silent]


def command(scenario: Scenario, profile: str, folder: Path) -> list[str]:
    """`vpmu run` of a guest of instructions that does the steps. AssertionError: none can do them."""
    own = resources.files("vpmu.faults").joinpath("host_pmus", f"{scenario.host_pmu}.toml")
    host_pmu = str(own) if own.is_file() else scenario.host_pmu
    if scenario.steps[0].words[0] == "run":
        image = "counting"
    else:
        image = str(folder / f"{scenario.id}.bin")
        Path(image).write_bytes(assembled(scenario, profile))
    rules = [re.sub(r"(?<=after=|..for=)\d+", later, rule.source) for rule in scenario.plan.rules]
    faults = [word for rule in rules for word in ("--inject", rule)]
    smp = "2" if any(step.words[0] == "reset" for step in scenario.steps) else "1"
    words = ["run", image, "--profile", profile, "--host-pmu", host_pmu, "--smp", smp, *faults, "--json"]
    return [*words, "--max-instructions", "10M"]


def test_it_finds_every_silently_wrong_case_of_the_catalogue(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = rows(silent=True)
    assert len(cases) > 30
    missed = []
    for name, profile in cases:
        words = command(load_catalogue()[name], profile, tmp_path)
        plain = main(words)
        before = json.loads(capfd.readouterr().out)
        status = main([*words, "--check"])
        told = json.loads(capfd.readouterr().out)
        wrong = told["check"]["wrong"]
        if plain != 0 or status != 3 or not wrong or told["instructions"] != before["instructions"]:
            missed.append((name, profile, plain, status, told["check"], told["stop"]))
            continue
        assert wrong[0]["layer"]
        assert wrong[0]["told"] != wrong[0]["truth"]
        assert wrong[0]["instruction"] <= told["instructions"]
    assert missed == []


def test_it_finds_no_other_case(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Who is told the truth, or refused, is not accused: scenarios that a guest of instructions can do."""
    accused, done = [], 0
    exact: dict[str, bool] = {}
    for name, profile in rows(silent=False):
        scenario = load_catalogue()[name]
        if profile not in exact:  # KVM before 6.12 counts every guest of instructions wrong, without a fault
            exact[profile] = main(["run", "counting", "--check", "--profile", profile, "-q"]) != 3
        if not scenario.steps or scenario.options or not exact[profile]:
            continue
        try:
            words = command(scenario, profile, tmp_path)
        except AssertionError:
            continue
        capfd.readouterr()
        status = main([*words, "--check"])
        told = json.loads(capfd.readouterr().out)
        done += 1
        if status == 3 or told["check"]["wrong"]:
            accused.append((name, profile, told["check"]["wrong"]))
    assert accused == []
    assert done > 40
    assert {"kvm-7.2", "kvm-6.12", "spec-3.0"} <= {profile for profile, right in exact.items() if right}


def test_a_right_count_is_said_to_be(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting", "--check"]) == 0
    assert "vpmu: check: 4 counts reached the guest, each as the hart did" in capfd.readouterr().err
    assert main(["run", "hello", "--check"]) == 0
    assert "no count reached the guest that could be checked" in capfd.readouterr().err


def test_a_wrong_count_is_said_at_once_with_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    """The line comes before the summary, and names layer, hart, pc with its symbol, and instruction."""
    assert main(["run", "counting", "--check", "--profile", "kvm-6.9"]) == 3
    lines = capfd.readouterr().err.splitlines()
    first = next(line for line in lines if "check: kvm: counter 0 (cycles)" in line)
    assert re.search(r"hart 0 at pc 0x[0-9a-f]+ \(counter_reads\), instruction [\d,]+$", first)
    assert lines.index(first) < next(i for i, line in enumerate(lines) if "instructions, " in line)
    assert lines[-1] == "vpmu: check: 4 wrong of 4 counts that reached the guest"


def test_a_fault_is_named_as_the_layer(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting", "--check", "--inject", "kvm.csr:counter=2,add=7"]) == 3
    assert "check: kvm: counter 2 (instructions)" in (told := capfd.readouterr().err)
    assert "the fault kvm.csr:" in told


def test_stat_checks_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stat", "counting", "--check", "-e", "cycles", "--profile", "kvm-6.9", "--json"]) == 3
    assert len(json.loads(capfd.readouterr().out)["check"]["wrong"]) == 4


def test_nobody_knows_what_a_real_counter_should_say(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting", "--check", "--perf", "host"]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
