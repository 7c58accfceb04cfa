"""What is done most is short: functions of Python that an exit costs, which no busy machine changes, and what
a start loads.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

from vpmu import Machine
from vpmu.spec.sbi import ConfigFlag, PmuFid, StartFlag, StopFlag

pytest.importorskip("llvmlite")

BACK = 0xFFDFF06F  # jal x0, -4: to the instruction before
BASE_CALLS = (0x01000893, 0x00000813, 0x00000073, BACK)  # li a7, 16; li a6, 0; ecall
READS = (0xC0202573, BACK)  # csrr a0, instret
ROUNDS = 2000


def _frames(machine: Machine, instructions: int) -> int:
    """Functions of Python that are called while so many instructions retire."""
    called = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(count)
    try:
        machine.run(instructions)
    finally:
        sys.setprofile(None)
    return called


def _machine(tmp_path: Path, words: tuple[int, ...]) -> Machine:
    image = tmp_path / "loop.bin"
    image.write_bytes(struct.pack(f"<{len(words)}I", *words))
    machine = Machine(memory=16 << 20)
    machine.load(str(image))
    return machine


def test_a_call_of_base_takes_five_functions(tmp_path: Path) -> None:
    machine = _machine(tmp_path, BASE_CALLS)
    machine.run(100)  # what is found out once is found out
    calls = machine.vcpu(0).exits["ECALL"]
    frames = _frames(machine, ROUNDS)
    calls = machine.vcpu(0).exits["ECALL"] - calls
    assert calls >= ROUNDS // 2 - 1
    assert frames / calls < 6


def test_a_read_that_kvm_emulates_takes_eighteen_functions(tmp_path: Path) -> None:
    machine = _machine(tmp_path, READS)
    vcpu = machine.vcpu(0)
    assert vcpu.pmu_call(PmuFid.COUNTER_CONFIG_MATCHING, 0, 1 << 2, ConfigFlag.CLEAR_VALUE, 2, 0) == (0, 2)
    assert vcpu.pmu_call(PmuFid.COUNTER_START, 2, 1, StartFlag.SET_INIT_VALUE, 0)[0] == 0
    machine.run(100)
    reads = vcpu.exits["VIRTUAL"]
    frames = _frames(machine, ROUNDS)
    reads = vcpu.exits["VIRTUAL"] - reads
    assert reads > ROUNDS // 4
    assert frames / reads < 19
    assert vcpu.hart.x(10) > ROUNDS // 2  # it counts


def test_config_start_and_stop_take_ninety_functions() -> None:
    vcpu = Machine(memory=1 << 20).vcpu(0)

    def round_of_calls() -> None:
        flags, event = ConfigFlag.CLEAR_VALUE, 0x10019
        _, counter = vcpu.pmu_call(PmuFid.COUNTER_CONFIG_MATCHING, 0, 0x7FFF8, flags, event)
        vcpu.pmu_call(PmuFid.COUNTER_START, counter, 1, StartFlag.SET_INIT_VALUE, 0)
        vcpu.pmu_call(PmuFid.COUNTER_STOP, counter, 1, StopFlag.RESET)

    round_of_calls()
    called = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal called
        called += event == "call" and "enum" not in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        round_of_calls()
    finally:
        sys.setprofile(None)
    assert called < 115  # nine of them are the scripted guest


def test_a_start_loads_neither_openssl_nor_what_only_compiling_needs() -> None:
    script = """
import sys
from vpmu.cli.main import main
assert main(["run", "-q", "hello"]) == 0
heavy = "_hashlib", "shutil", "vpmu.hart.isa.table", "vpmu.hart.object_file"
print(*[name for name in sys.modules if name in heavy], file=sys.stderr)
print(sum(name.startswith("vpmu") for name in sys.modules), file=sys.stderr)
"""
    for _ in range(2):  # the first one fills the cache
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded, number = run.stderr.splitlines()
    assert loaded == ""
    assert int(number) < 135
