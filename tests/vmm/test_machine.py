"""The machine: how runs end, limits, the same run twice, events counted from outside."""

from __future__ import annotations

import errno
import struct

import pytest

from vpmu import Machine, Recorder, VpmuError
from vpmu.payloads import path
from vpmu.perf.event import EventState, PerfError

ENTRY = 0x80200000
FOR_EVER = 0x0000006F  # j .
JUMP_TO_0 = 0x00000067  # jr zero
WFI = 0x10500073
ECALL = 0x00000073
PAYLOADS = ("hello", "counting", "failing-event", "firmware-counter", "snapshot", "overflow")


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def li(register: int, value: int) -> tuple[int, int]:
    """lui and addiw: any 32-bit value."""
    low = (value & 0xFFF ^ 0x800) - 0x800
    return (
        (value - low) & 0xFFFFF000 | register << 7 | 0x37,
        (low & 0xFFF) << 20 | register << 15 | register << 7 | 0x1B,
    )


def machine_with(*words: int, **options: object) -> Machine:
    machine = Machine(memory=4 << 20, **options)  # type: ignore[arg-type]
    machine.load(code(*words))
    return machine


# --- how a run ends


def test_budget_stops_at_the_exact_instruction() -> None:
    machine = machine_with(0x00150513, FOR_EVER)  # addi a0, a0, 1
    result = machine.run(max_instructions=12_345)
    assert (result.stop, result.instructions, result.ok) == ("budget", 12_345, False)
    assert machine.run(max_instructions=5).instructions == 12_350
    assert machine.time == 12_350


def test_virtual_time_is_a_limit_too() -> None:
    result = machine_with(FOR_EVER).run(timeout_ns=1000)
    assert (result.stop, result.instructions) == ("budget", 1000)


def test_a_guest_that_jumps_into_nothing_fails_kvm_run() -> None:
    machine = machine_with(JUMP_TO_0)
    result = machine.run()
    assert (result.stop, result.kvm_run_errno, result.instructions) == ("kvm_run_failed", errno.EOPNOTSUPP, 1)
    assert "instruction fetch at 0x0" in result.reason
    assert machine.vcpu(0).pc == 0
    assert machine.run().kvm_run_errno == errno.EOPNOTSUPP  # and again: nothing has changed


def test_a_guest_without_a_trap_handler_fails_kvm_run_where_it_lands() -> None:
    result = machine_with(0).run()  # an illegal instruction; stvec is 0
    assert (result.stop, result.kvm_run_errno) == ("kvm_run_failed", errno.EOPNOTSUPP)


def test_a_trap_handler_that_traps_is_hung() -> None:
    auipc, addi, csrw_stvec = 0x00000297, 0x01028293, 0x10529073  # stvec = the illegal instruction below
    machine = machine_with(auipc, addi, csrw_stvec, FOR_EVER, 0, host_pmu="full")
    assert machine.run(max_instructions=10).stop == "budget"
    machine.vcpu(0).pc = ENTRY + 16
    result = machine.run(max_instructions=1_000_000)
    assert (result.stop, result.instructions) == ("hung", 10)
    # QEMU counts an instruction that traps as retired: there it is an endless loop like any other.
    machine = machine_with(auipc, addi, csrw_stvec, 0, 0)
    assert machine.run(max_instructions=1000).stop == "budget"


def test_wfi_without_a_timer_is_idle() -> None:
    result = machine_with(WFI, FOR_EVER).run()
    assert (result.stop, result.ok) == ("idle", False)


def test_wfi_jumps_to_the_timer() -> None:
    words = [
        *li(17, 0x54494D45),  # a7 = TIME
        0x00000813,  # a6 = 0
        *li(10, 5000),  # a0 = 5000 ticks = 500 us
        ECALL,
        0x02000293,  # t0 = 1 << 5
        0x10429073,  # csrw sie, t0
        WFI,
        FOR_EVER,
    ]
    machine = machine_with(*words)
    result = machine.run(max_instructions=20)
    assert result.stop == "budget"
    assert machine.time >= 500_000


def test_a_stopped_hart_is_a_shutdown() -> None:
    words = [*li(17, 0x48534D), 0x00100813, ECALL]  # HSM hart_stop
    assert machine_with(*words).run().stop == "shutdown"


@pytest.mark.parametrize(
    ("kind", "reason", "stop", "ok"),
    [(0, 0, "shutdown", True), (0, 1, "shutdown", False), (1, 0, "reset", True), (2, 0, "reset", True)],
)
def test_system_reset(kind: int, reason: int, stop: str, ok: bool) -> None:
    words = [*li(17, 0x53525354), 0x00000813, *li(10, kind), *li(11, reason), ECALL]
    result = machine_with(*words).run()
    assert (result.stop, result.reset_reason, result.ok) == (stop, reason, ok)


@pytest.mark.parametrize(
    ("value", "stop", "ok"),
    [(0x5555, "shutdown", True), (0x3333 | 7 << 16, "shutdown", False), (0x7777, "reset", True)],
)
def test_the_test_device_ends_the_run(value: int, stop: str, ok: bool) -> None:
    words = [*li(5, 0x100000), *li(6, value), 0x0062A023]  # sw t1, 0(t0)
    result = machine_with(*words, FOR_EVER).run(max_instructions=100)
    assert (result.stop, result.ok) == (stop, ok)


def test_the_serial_port_echoes() -> None:
    words = [
        *li(5, 0x10000000),
        0x0052C303,  # lbu t1, 5(t0): line status
        0x00137313,  # andi t1, t1, 1: data ready
        0xFE030CE3,  # beqz t1, -8
        0x0002C303,  # lbu t1, 0(t0)
        0x00628023,  # sb t1, 0(t0)
        0xFEDFF06F,  # j -20
    ]
    machine = machine_with(*words)
    machine.console_input(b"hello\n")
    assert machine.run(max_instructions=2000).console == b"hello\n"


# --- the same run twice


def records(payload: str, **options: object) -> tuple[list[object], object]:
    recorder = Recorder()
    machine = Machine(memory=4 << 20, recorder=recorder, **options)  # type: ignore[arg-type]
    machine.load(str(path(payload)))
    result = machine.run()
    return list(recorder.records), (result.stop, result.instructions, result.exits, result.console)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_two_runs_of_one_input_are_the_same_run(payload: str) -> None:
    first, second = records(payload, host_pmu="full"), records(payload, host_pmu="full")
    assert first == second
    assert first[0]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_recording_changes_nothing(payload: str) -> None:
    machine = Machine(memory=4 << 20, host_pmu="full")
    machine.load(str(path(payload)))
    result = machine.run()
    assert records(payload, host_pmu="full")[1] == (
        result.stop,
        result.instructions,
        result.exits,
        result.console,
    )


@pytest.mark.parametrize("payload", ["hello", "failing-event", "firmware-counter", "snapshot"])
@pytest.mark.parametrize("host_pmu", ["qemu-virt", "full", "none"])
def test_the_reference_engine_runs_the_same_run(payload: str, host_pmu: str) -> None:
    native = records(payload, host_pmu=host_pmu)
    assert records(payload, host_pmu=host_pmu, engine="reference") == native


def test_stops_in_between_change_nothing() -> None:
    whole = Machine(memory=4 << 20, host_pmu="full")
    whole.load(str(path("overflow")))
    expected = whole.run()
    parts = Machine(memory=4 << 20, host_pmu="full")
    parts.load(str(path("overflow")))
    result = parts.run(max_instructions=777)
    for _ in range(5000):
        if result.stop != "budget":
            break
        result = parts.run(max_instructions=777)
    assert (result.stop, result.instructions, result.console) == (
        expected.stop,
        expected.instructions,
        expected.console,
    )


# --- counting from outside


def test_outside_counters_count_the_guest_exactly() -> None:
    machine = Machine(memory=4 << 20, host_pmu="full")
    machine.load(str(path("counting")))
    instructions, user = machine.open_counter("instructions"), machine.open_counter("instructions", "u")
    branches, loads = machine.open_counter("branches"), machine.open_counter("L1-dcache-loads")
    result = machine.run()
    assert instructions.read() == result.instructions
    assert user.read() == 0  # the payload stays in S-mode
    assert 1_000_001 <= branches.read() <= 1_002_000  # one in two instructions of its loop
    assert 0 < loads.read() < 2000


def test_outside_counters_are_refused_and_starved() -> None:
    machine = Machine(memory=4 << 20)
    with pytest.raises(PerfError) as refused:
        machine.open_counter("branches")
    assert refused.value.errno == errno.ENOENT
    starved = Machine(memory=4 << 20, host_pmu="full", starve=16)
    assert starved.open_counter("branches").state is EventState.INACTIVE


# --- what cannot be built


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 4096}, "memory size"),
        ({"memory": (1 << 20) + 1}, "in whole pages"),
        ({"memory": 1 << 50}, "GiB"),
        ({"harts": 0}, "number of harts"),
        ({"harts": 1000}, "number of harts"),
        ({"profile": "kvm-9"}, "unknown profile"),
        ({"host_pmu": "fll"}, "did you mean full"),
        ({"with_": ["snapshut"]}, "did you mean snapshot"),
        ({"refuse": {"cycels": "ENOENT"}}, "did you mean cycles"),
        ({"refuse": {"cycles": "ENOTTY"}}, "refusal of cycles"),
        ({"starve": 17}, "counters to starve"),
    ],
)
def test_what_cannot_be_built_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(VpmuError, match=message) as caught:
        Machine(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_what_cannot_be_loaded() -> None:
    machine = Machine(memory=1 << 20)
    with pytest.raises(VpmuError, match="outside RAM"):
        machine.load(str(path("hello")))
    with pytest.raises(VpmuError, match="memory too small for the guest and its device tree"):
        Machine(memory=(2 << 20) + 8192).load(code(FOR_EVER) * 1500)
    with pytest.raises(VpmuError, match="hart: expected 0 to 0, got 1"):
        machine.vcpu(1)


# --- what a profile makes of a hart


@pytest.mark.parametrize(("profile", "sets"), [("kvm-6.12", 0), ("kvm-7.2", 1), ("spec-3.0", 1)])
def test_accessed_and_dirty_bits_by_profile(profile: str, sets: int) -> None:
    """KVM passes Svadu on since 6.13 (97eccf7db4f2); a vCPU reset does not take it away (henvcfg)."""
    machine = machine_with(FOR_EVER, profile=profile)
    vcpu = machine.vcpu(0)
    assert vcpu.hart.get("adue") == sets
    vcpu.reset()
    assert vcpu.hart.get("adue") == sets
    assert (b"svadu" in (machine.device_tree or b"")) == bool(sets)


def test_scountovf_is_no_register_of_user_mode() -> None:
    """A supervisor CSR: virtual instruction in VU mode (Sscofpmf, 19.8.3), which KVM makes illegal."""
    read = 0xDA0022F3  # csrr t0, scountovf
    for mode, cause in ((1, 0), (0, 2)):
        machine = machine_with(read, FOR_EVER, host_pmu="full")
        hart = machine.vcpu(0).hart
        hart.set("mode", mode)
        hart.set("stvec", hart.pc + 4)
        hart.set_x(5, 77)
        machine.run(max_instructions=1)
        assert hart.get("scause") == cause
        assert (hart.x(5) == 77) == bool(cause)


def test_a_reset_forgets_firmware_features() -> None:
    vcpu = machine_with(FOR_EVER, profile="spec-3.0").vcpu(0)
    assert vcpu.ecall(0x46574654, 0, 0, 1, 1) == (0, 0)  # fwft_set, locked
    vcpu.reset()
    assert vcpu.ecall(0x46574654, 1, 0) == (0, 0)
    assert vcpu.ecall(0x46574654, 0, 0, 1, 0) == (0, 0)


@pytest.mark.parametrize("padding", range(8))
def test_a_timer_is_never_early_for_a_guest_that_reads_the_time(padding: int) -> None:
    """Without Sstc KVM sets an hrtimer: the last `time` that a loop read before its timer interrupt is not
    before the interrupt's time.
    """
    nop, rdtime = 0x00000013, 0xC01022F3
    loop = [rdtime, *[nop] * padding]
    back = -4 * len(loop) & 0x1FFFFF
    jump = (back & 0x7FE) << 20 | (back >> 11 & 1) << 20 | back & 0xFF000 | (back >> 20) << 31 | 0x6F
    machine = machine_with(*loop, jump, FOR_EVER, isa=())
    vcpu = machine.vcpu(0)
    vcpu.hart.set("stvec", vcpu.pc + 4 * len(loop) + 4)
    vcpu.hart.set("sstatus", 2)
    vcpu.hart.set("sie", 1 << 5)
    vcpu.set_timer(50)
    machine.run(max_instructions=5_500)
    assert vcpu.hart.get("scause") == 1 << 63 | 5
    assert 50 <= vcpu.regs[5] <= 51


@pytest.mark.parametrize(
    ("profile", "woken"), [("spec-3.0", True), ("opensbi-1.6", True), ("kvm-7.2", False)]
)
def test_a_suspended_hart_and_interrupts_that_it_does_not_enable(profile: str, woken: bool) -> None:
    """hart_suspend ends with an interrupt (SBI 3.0, "Hart suspend"); KVM waits for one that sie enables."""
    ecall = 0x00000073
    machine = machine_with(*li(17, 0x48534D), *li(16, 3), *li(10, 0), ecall, FOR_EVER, profile=profile)
    vcpu = machine.vcpu(0)
    assert machine.run(max_instructions=100).stop == "idle"
    vcpu.set_interrupt(1)
    result = machine.run(max_instructions=100)
    assert (result.stop == "budget") == woken
    assert vcpu.blocking is not woken
