"""The stock Debian guest on vpmu, with its own perf. Needs the guest that `vpmu fetch debian` brings."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vpmu.spec.sbi import SbiError
from vpmu.trace.recorder import Record, Recorder
from vpmu.vmm import placement
from vpmu.vmm.linux.boot import DEFAULT_MEMORY, LinuxBoot, Outcome
from vpmu.vmm.linux.fetch import DebianGuest
from vpmu.vmm.linux.program import counted_program
from vpmu.vmm.machine import Machine

TRACE = Path(__file__).parents[1] / "tables" / "linux-guest-on-kvm.txt"
STAT = "perf stat -x, -e cycles,instructions true 2>&1"

pytestmark = pytest.mark.slow


def boot(
    debian: DebianGuest,
    command: str,
    *,
    recorder: Recorder | None = None,
    files: dict[str, bytes] | None = None,
    tiny: bool = False,
    append: str = "",
    **machine: object,
) -> tuple[Outcome, str]:
    """Run a command in the guest; how it went, and the command's output."""
    output = bytearray()
    initrd = debian.initramfs(tiny=tiny)
    guest = LinuxBoot(debian.kernel_image(), initrd, command=command, files=files, output=output.extend)
    common = {"memory": DEFAULT_MEMORY, "bootargs": guest.arguments(append), "console_out": guest.sink}
    built = Machine(**common, plic=True, recorder=recorder, **machine)  # type: ignore[arg-type]
    guest.load(built)
    return guest.run(timeout_ns=20 * 10**9), output.decode()


def counts(output: str) -> dict[str, str]:
    """perf stat -x, lines: event -> count as printed."""
    return {fields[2]: fields[0] for line in output.splitlines() if len(fields := line.split(",")) >= 5}


def test_perf_stat_counts_and_the_same_twice(debian: DebianGuest) -> None:
    first, output = boot(debian, f"dmesg | grep -i pmu; {STAT}")
    assert first.ok, first.failure
    assert "riscv-pmu-sbi: SBI PMU extension is available" in output
    assert "riscv-pmu-sbi: 22 firmware and 18 hardware counters" in output
    assert int(counts(output)["instructions"]) > 200_000
    second, again = boot(debian, f"dmesg | grep -i pmu; {STAT}")
    assert again == output
    assert second.result.instructions == first.result.instructions


@pytest.mark.parametrize(
    ("profile", "host_pmu", "ecall_retires"),
    [("opensbi-1.6", "qemu-virt", True), ("kvm-7.2", "full", False)],
)
def test_a_program_of_known_length_counts_exactly_that(
    debian: DebianGuest, profile: str, host_pmu: str, ecall_retires: bool
) -> None:
    program, length = counted_program(1_234_567, ecall_retires=ecall_retires)
    command = "for i in 1 2; do perf stat -x, -e instructions:u /root/counted 2>&1; done"
    outcome, output = boot(
        debian, command, files={"root/counted": program}, profile=profile, host_pmu=host_pmu
    )
    assert outcome.ok, outcome.failure
    assert [line.split(",")[0] for line in output.splitlines() if line] == [str(length)] * 2


def test_a_boot_loads_nothing_that_only_a_download_or_a_decoder_needs(debian: DebianGuest) -> None:
    script = """
import sys
from vpmu.cli.main import main
assert main(["boot", "--exec", "true"]) == 0
heavy = {"_hashlib", "shutil", "subprocess", "tarfile", "vpmu.hart.isa.table", "vpmu.vmm.linux.apt"}
if "vpmu.hart.regions.find" in sys.modules:  # this run has taught the hot tier
    heavy -= {"vpmu.hart.isa.table"}
print(*sorted(heavy & sys.modules.keys()))
"""
    assert debian.kernel.is_file()
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_without_a_host_pmu_the_guest_falls_back_to_the_legacy_driver(debian: DebianGuest) -> None:
    """KVM answers 0 to the legacy driver's reads of cycle and instret; nothing else can be had."""
    outcome, output = boot(
        debian, "dmesg | grep PMU; perf stat -x, -e cycles,cycles:u,cache-misses true 2>&1", host_pmu="none"
    )
    assert outcome.ok, outcome.failure
    assert "Legacy PMU implementation is available" in output
    assert "riscv-pmu-sbi" not in output
    assert counts(output) == {"cycles": "0", "cycles:u": "<not supported>", "cache-misses": "<not supported>"}


def test_a_refused_event_is_not_supported_and_the_others_count(debian: DebianGuest) -> None:
    events = "cycles,cache-misses,branches,dTLB-load-misses"
    outcome, output = boot(
        debian, f"perf stat -x, -e {events} true 2>&1; echo alive", refuse={"branches": "EBUSY"}
    )
    assert outcome.ok, outcome.failure
    table = counts(output)
    assert table["cache-misses"] == table["branches"] == "<not supported>"
    assert int(table["cycles"]) > 200_000
    assert int(table["dTLB-load-misses"]) > 0
    assert output.endswith("alive\n")


def test_before_the_fix_the_boot_ends_at_event_3(debian: DebianGuest) -> None:
    records: list[Record] = []
    outcome, _ = boot(debian, STAT, profile="kvm-6.9", recorder=Recorder(records.append), tiny=True)
    assert outcome.result.stop == "kvm_run_failed"
    assert outcome.result.kvm_run_errno == 2
    assert outcome.exit_status == 1
    assert (outcome.failure or "").startswith("kvm: KVM_RUN failed with ENOENT before the command began")
    last = [r for r in records if r.layer == "sbi"][-1]
    assert (last.actor, last.args["event_idx"], last.result) == ("counter_config_matching", 3, -2)
    assert b"Linux version" in outcome.console


def test_a_starved_counter_is_frozen_at_zero(debian: DebianGuest) -> None:
    outcome, output = boot(debian, "perf stat -x, -e cycles,dTLB-load-misses true 2>&1", starve=16)
    assert outcome.ok, outcome.failure
    assert counts(output)["dTLB-load-misses"] == "0"
    assert int(counts(output)["cycles"]) > 200_000


def test_four_harts_boot_and_all_of_them_count(debian: DebianGuest) -> None:
    outcome, output = boot(debian, "nproc; perf stat -x, -a -A -e instructions true 2>&1", harts=4)
    assert outcome.ok, outcome.failure
    assert output.startswith("4\n")
    per_hart = dict(re.findall(r"^(CPU\d),(\d+),,instructions", output, re.MULTILINE))
    assert sorted(per_hart) == ["CPU0", "CPU1", "CPU2", "CPU3"]
    assert all(int(count) > 1000 for count in per_hart.values())


def test_a_lost_init_is_a_panic_with_its_console_kept(debian: DebianGuest) -> None:
    outcome, _ = boot(debian, "true", tiny=True, append="rdinit=/bin/false")
    assert outcome.exit_status == 1
    assert "kernel panic before the command began: Attempted to kill init!" in (outcome.failure or "")
    assert b"Linux version" in outcome.console


# ---------------------------------------------------------------- against the recorded KVM

_LINE = re.compile(
    r"guest PMU\.(\w+)\(a0=(\w+) a1=(\w+) a2=(\w+) a3=(\w+) a4=(\w+)\) -> err=(-?\d+) val=(\w+)"
)
_NAMES = {
    "num_counters": "num_counters",
    "get_info": "counter_get_info",
    "snapshot_set_shmem": "snapshot_set_shmem",
    "stop": "counter_stop",
    "cfg_match": "counter_config_matching",
    "start": "counter_start",
}

Call = tuple[str, tuple[int, ...], int, int]


def without_addresses_and_counts(name: str, args: list[int], error: int, value: int) -> Call:
    """A call as it can be compared: the page's address and the low half of a start value differ."""
    arguments = [*args, 0, 0, 0, 0, 0][:5]
    if name == "counter_start":
        arguments[3] >>= 32
    if name == "snapshot_set_shmem":
        arguments[0] = 0
    return name, tuple(arguments), error, value


def recorded_calls() -> list[Call]:
    """The guest's calls on real KVM 6.12: the boot, then perf stat of two events, then of three (MARK 4 and
    5).
    """
    text = TRACE.read_text(encoding="utf-8").partition("MARK 6\n")[0]
    calls = []
    for name, *numbers in _LINE.findall(text):
        arguments = [int(number, 16) for number in numbers[:5]]
        error, value = int(numbers[5]), int(numbers[6], 16)
        calls.append(without_addresses_and_counts(_NAMES[name], arguments, error, value))
    return calls


def test_the_calls_of_a_boot_are_those_that_real_kvm_saw(
    debian: DebianGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded guest's device tree named Sscofpmf, which its host without Ssaia could not offer."""
    offered = placement._isa
    monkeypatch.setattr(placement, "_isa", lambda machine: [*offered(machine), "sscofpmf"])
    records: list[Record] = []
    command = "perf stat -e cycles,instructions true; perf stat -e cycles,instructions,dTLB-load-misses true"
    outcome, _ = boot(debian, command, profile="kvm-6.12", recorder=Recorder(records.append))
    assert outcome.ok, outcome.failure
    calls = []
    for record in records:
        if record.layer == "sbi" and record.actor in _NAMES.values():
            error, value = record.result  # type: ignore[misc]
            arguments: list[int] = list(record.args.values())  # type: ignore[arg-type]
            calls.append(without_addresses_and_counts(record.actor, arguments, error, value))
    recorded = recorded_calls()
    assert len(recorded) == 121
    assert calls == recorded


# ---------------------------------------------------------------- sampling

WORK = "sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done'"


def samples(output: str) -> list[float]:
    """Times of the samples in perf script's output, in seconds."""
    return [float(time) for time in re.findall(r"^ *sh +\d+ +([\d.]+): ", output, re.MULTILINE)]


def test_with_the_snapshot_page_the_driver_restarts_no_counter_after_an_overflow(debian: DebianGuest) -> None:
    """O18: after each overflow the driver starts counters 4096.., which do
    not exist, so the next sample comes only when the event is scheduled anew, at a tick or a switch of tasks.
    """
    records: list[Record] = []
    command = f"perf record -e cycles -c 100000 -o /tmp/p {WORK} 2>&1; perf script -i /tmp/p"
    outcome, output = boot(debian, command, host_pmu="full", recorder=Recorder(records.append))
    assert outcome.ok, outcome.failure
    starts = [r for r in records if r.actor == "counter_start" and r.args["counter_idx_base"] == 4096]
    overflows = [r for r in records if r.layer == "kvm" and r.action == "set" and r.args.get("irq") == 13]
    assert len(starts) == len(overflows) >= 3
    assert {r.result for r in starts} == {(SbiError.INVALID_PARAM, 0)}  # type: ignore[comparison-overlap]
    times = samples(output)
    assert 3 <= len(times) == len(overflows)
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.001  # ten periods


def test_without_it_samples_come_at_every_period(debian: DebianGuest) -> None:
    command = f"perf record -e instructions -c 100000 -o /tmp/p {WORK} 2>&1; perf script -i /tmp/p"
    outcome, output = boot(debian, command, host_pmu="sampling", without=["snapshot"])
    assert outcome.ok, outcome.failure
    times = samples(output)
    assert len(times) > 50
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    assert 0.0001 <= gaps[len(gaps) // 2] < 0.00015
