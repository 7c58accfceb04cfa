"""What each KVM does in sequences: the known defects, the page, firmware counters, overflow, refusals,
records.
"""

from __future__ import annotations

from typing import Any

import pytest

from vpmu.kvm.errors import HostLostError, KvmRunError
from vpmu.kvm.pmu import VcpuPmu
from vpmu.perf.event import EventState
from vpmu.profiles.behaviours import B
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.perf import PerfType
from vpmu.spec.sbi import SbiError as E

KVM = [name for name in PROFILES if name.startswith("kvm")]
PAGE = 0x8010_0000
ALL = 0x1FF_FFFF_FFFD
TOP = (1 << 64) - 1
CYCLES, INSTRUCTIONS, MISSES, DTLB, TIMER, NO_EVENT = 1, 2, 4, 0x10019, 0xF0005, 0
SKIP, CLEAR, AUTO = 1, 2, 4
SET_TIMER = 5


def errors(*answers: tuple[int, int]) -> list[int]:
    return [answer[0] for answer in answers]


# --- the fix -----------------------------------------


@pytest.mark.parametrize("errno", [2, 22, 95, 12, 16, 13, 3, 4])
def test_any_errno_of_perf(bench: Any, errno: int) -> None:
    for name in PROFILES:
        b = bench(name)
        b.perf.errnos[None] = errno
        if name == "kvm-6.9":
            with pytest.raises(KvmRunError) as caught:
                b.pmu.counter_config_matching(0, ALL, 0, CYCLES, 0)
            assert caught.value.errno == errno
            assert b.pmu.last_refusal.code == -errno
        else:
            assert b.pmu.counter_config_matching(0, ALL, 0, CYCLES, 0) == (E.NOT_SUPPORTED, 0)
            assert b.pmu.last_refusal[:3] == ("perf", "perf_event_create_kernel_counter", -2)
        b.perf.errnos.clear()
        assert b.pmu.counter_config_matching(0, ALL, 0, CYCLES, 0) == (E.SUCCESS, 0)


def test_the_fix_undone_on_a_recorded_kernel(bench: Any) -> None:
    b = bench(get_profile("kvm-6.12", with_=["perf-failure-ends-kvm-run"]))
    b.perf.errnos[0, 2] = 2
    for event, errno in ((3, 2), (0xB, 22), (0x10006, 22), (0x40000, 2)):
        with pytest.raises(KvmRunError) as caught:
            b.pmu.counter_config_matching(0, ALL, 0x100, event, 0)
        assert caught.value.errno == errno
    # What is refused before perf is asked stays an answer.
    assert b.pmu.counter_config_matching(0, 0, 0, 3, 0) == (E.INVALID_PARAM, 0)
    assert b.pmu.counter_config_matching(0, ALL, 0, 0xF00FF, 0) == (E.NOT_SUPPORTED, 0)
    assert b.pmu.counter_config_matching(4, 1, SKIP, 3, 0) == (E.FAILED, 0)


def test_attr_that_perf_gets(bench: Any) -> None:
    b = bench("kvm-7.2")
    b.pmu.counter_config_matching(0, ALL, 0x60 | CLEAR, DTLB, 0)
    attr = b.perf.created[-1]
    assert (attr.type, attr.config, attr.config1) == (PerfType.HW_CACHE, 3 | 1 << 16, 1)
    assert attr.pinned
    assert attr.disabled
    assert attr.exclude_host
    assert attr.exclude_hv
    assert attr.exclude_user
    assert attr.exclude_kernel
    assert attr.sample_period == TOP
    b.pmu.counter_config_matching(0, ALL, 0x98, CYCLES, 0)  # VUINH, VSINH, MINH: hints that KVM does not know
    attr = b.perf.created[-1]
    assert not attr.exclude_user
    assert not attr.exclude_kernel
    b.pmu.counter_config_matching(0, ALL, 0, 0x20000, TOP)
    assert (b.perf.created[-1].type, b.perf.created[-1].config) == (PerfType.RAW, (1 << 48) - 1)


def test_period_of_zero_before_6_10(bench: Any) -> None:
    b = bench("kvm-6.9")
    b.pmu.counter_config_matching(0, 1, CLEAR, CYCLES, 0)
    assert b.perf.created[-1].sample_period == 0
    assert not b.perf.created[-1].disabled


# --- values ----------------------------------------


def test_reads_over_count_until_7_2(bench: Any) -> None:
    """O1, as recorded: 10, 33, 69, 118 where the totals are 10, 23, 36, 49."""
    totals = [10, 13, 13, 13]
    expected = {"kvm-6.9": [10, 33, 69, 118], "kvm-6.12": [10, 33, 69, 118], "kvm-7.2": [10, 23, 36, 49]}
    for name, values in expected.items():
        b = bench(get_profile(name, without=["event-created-enabled"]))
        b.pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
        b.pmu.counter_start(2, 1, 1, 0)
        read = []
        for step in totals:
            b.perf.advance(step)
            read.append(b.csr(2))
        assert read == values, name


def test_restarts_on_7_2(bench: Any) -> None:
    b = bench("kvm-7.2")
    b.pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    b.pmu.counter_start(0, 1, 1, 0)
    b.perf.advance(2074)
    b.pmu.counter_stop(0, 1, 0)
    assert [b.csr(0), b.csr(0)] == [2074, 2074]
    b.pmu.counter_start(0, 1, 0, 0)
    b.perf.advance(10)
    assert b.csr(0) == 2084
    b.pmu.counter_stop(0, 1, 0)
    b.pmu.counter_start(0, 1, 1, 1 << 62)
    b.perf.advance(5)
    assert b.csr(0) == (1 << 62) + 5


@pytest.mark.parametrize(("name", "kept"), [("kvm-6.12", 2020), ("kvm-7.2", 0)])
def test_second_configuration_freezes_the_first(bench: Any, name: str, kept: int) -> None:
    """O4, O28, F78."""
    b = bench(name)
    b.pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    b.pmu.counter_start(0, 1, 1, 0)
    b.perf.advance(2020)
    assert b.csr(0) == 2020
    assert b.pmu.counter_config_matching(0, ALL, 0, CYCLES, 0) == (E.SUCCESS, 0)
    b.perf.advance(2020)
    assert b.csr(0) == kept
    assert errors(b.pmu.counter_start(0, 1, 0, 0)) == [E.ALREADY_STARTED]
    b.perf.advance(2020)
    assert b.csr(0) == kept


def test_broken_counter_and_its_repair(bench: Any) -> None:
    """F22, as recorded on 6.12."""
    b = bench("kvm-6.12")
    b.perf.errnos[0, 3] = 2
    pmu = b.pmu
    pmu.counter_config_matching(0, 8, 0, DTLB, 0)
    assert pmu.counter_config_matching(3, 1, SKIP, MISSES, 0) == (E.NOT_SUPPORTED, 0)
    with pytest.raises(IllegalCounter):
        b.csr(3)
    assert errors(pmu.counter_fw_read(3), pmu.counter_start(3, 1, 0, 0), pmu.counter_stop(3, 1, 0)) == [
        -3,
        -3,
        -3,
    ]
    assert pmu.counter_config_matching(0, 8, 0, DTLB, 0) == (E.NOT_SUPPORTED, 0)
    assert pmu.counter_config_matching(3, 1, SKIP, DTLB, 0) == (E.SUCCESS, 3)
    assert errors(pmu.counter_start(3, 1, 0, 0), pmu.counter_stop(3, 1, 0)) == [0, 0]
    pmu.counter_config_matching(3, 1, SKIP, MISSES, 0)
    assert errors(pmu.counter_stop(3, 1, 1), pmu.counter_start(3, 1, 0, 0)) == [E.INVALID_PARAM, 0]
    assert pmu.counter_config_matching(0, 8, 0, DTLB, 0) == (E.SUCCESS, 3)


def test_reset_while_counting(bench: Any) -> None:
    """O2, F59: ALREADY_STARTED until a stop; values of counters without event stay."""
    b = bench("kvm-7.2")
    pmu = b.pmu
    pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
    pmu.counter_start(2, 1, 1, 4444)
    pmu.counter_stop(2, 1, 1)
    pmu.counter_start(0, 1, 1, 0)
    pmu.snapshot_set_shmem(PAGE, 0, 0)
    pmu.reset()
    assert not b.perf.events
    assert errors(pmu.counter_stop(4, 1, 2)) == [E.NO_SHMEM]
    pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    assert errors(pmu.counter_start(0, 1, 1, 0)) == [E.ALREADY_STARTED]
    b.perf.advance(100)
    assert b.csr(0) == 0
    assert errors(pmu.counter_stop(0, 1, 0), pmu.counter_start(0, 1, 1, 0)) == [0, 0]
    b.perf.advance(100)
    assert b.csr(0) == 100
    pmu.counter_config_matching(0, ALL, 0, INSTRUCTIONS, 0)
    assert b.csr(2) == 4444


def test_starved_pinned_event(bench: Any) -> None:
    """O12, F10: KVM sees nothing; the strict profile refuses."""
    for name in ("kvm-7.2", "spec-3.0"):
        b = bench(name)
        b.perf.host_counters = 1
        b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
        b.pmu.counter_config_matching(0, 16, CLEAR, DTLB, 0)
        answer = b.pmu.counter_start(3, 3, 1, 0)
        b.perf.advance(50)
        assert (b.csr(3), b.csr(4)) == (50, 0)
        if name == "spec-3.0":
            assert answer == (E.FAILED, 0)
            assert b.pmu.counter_stop(4, 1, 0) == (E.ALREADY_STOPPED, 0)
            assert b.pmu.counter_config_matching(0, 32, AUTO, DTLB, 0) == (E.NOT_SUPPORTED, 0)
            assert len(b.perf.events) == 2
        else:
            assert answer == (E.SUCCESS, 0)
            assert b.perf.events[1].state is EventState.ERROR


def test_counts_of_an_unfiltered_counter_are_undetermined(bench: Any) -> None:
    b = bench("kvm-6.12")
    b.perf.noisy = True
    b.pmu.counter_config_matching(0, 1, CLEAR, CYCLES, 0)
    b.pmu.counter_start(0, 1, 1, 0)
    b.perf.advance(7)
    b.csr(0)
    assert b.pmu.undetermined
    b.pmu.num_counters()
    assert not b.pmu.undetermined


# --- sets ----------------------------------------


def test_wrapped_sets_until_7_1(bench: Any) -> None:
    """F17, as recorded on 6.12."""
    pmu = bench("kvm-6.12").pmu
    assert pmu.counter_config_matching(TOP, 2, 0, CYCLES, 0) == (0, 0)
    assert pmu.counter_config_matching(TOP, 2, 0, DTLB, 0) == (E.NOT_SUPPORTED, 0)
    assert pmu.counter_config_matching(TOP, 16, 0, DTLB, 0) == (0, 3)
    assert pmu.counter_config_matching(TOP - 3, 0x800000, 0, TIMER, 0) == (0, 19)
    assert pmu.counter_config_matching(TOP, 1, 0, CYCLES, 0) == (E.INVALID_PARAM, 0)
    assert pmu.counter_config_matching(1 << 32, 8, 0, DTLB, 0) == (E.INVALID_PARAM, 0)
    assert pmu.counter_config_matching(TOP, 2, SKIP, CYCLES, 0) == (0, 0)
    assert errors(pmu.counter_start(TOP, 2, 0, 0), pmu.counter_start(TOP, 2, 1, 5)) == [0, E.ALREADY_STARTED]
    assert errors(pmu.counter_stop(TOP, 2, 0), pmu.counter_stop(TOP, 2, 1)) == [0, E.ALREADY_STOPPED]
    assert not pmu.undetermined
    pmu.counter_stop(TOP, 3, 0)  # bit 0 is index 2^64-1: outside of every array
    assert pmu.undetermined


def test_set_start_serves_the_others(bench: Any) -> None:
    """F30."""
    for name in ("spec-3.0", "kvm-6.12", "kvm-7.2"):
        b = bench(name)
        b.pmu.counter_config_matching(0, 1, CLEAR, CYCLES, 0)
        b.pmu.counter_config_matching(0, 4, CLEAR, INSTRUCTIONS, 0)
        b.pmu.counter_start(2, 1, 1, 0)
        b.perf.advance(5)
        assert errors(b.pmu.counter_start(0, 5, 0, 0)) == [E.ALREADY_STARTED]
        b.perf.advance(5)
        assert (b.csr(0), b.csr(2)) == (5, 10)
        assert errors(b.pmu.counter_stop(0, 1, 0), b.pmu.counter_stop(0, 5, 0)) == [0, E.ALREADY_STOPPED]
        assert not any(event.state is EventState.ACTIVE for event in b.perf.events)


# --- firmware counters ----------------------------------------


@pytest.mark.parametrize("name", KVM)
def test_firmware_state_is_shared_by_code(bench: Any, name: str) -> None:
    """O14, F32, as recorded on 6.12."""
    pmu: VcpuPmu = bench(name).pmu
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    assert errors(pmu.counter_start(19, 1, 1, 10), pmu.counter_start(20, 1, 1, 1000)) == [
        0,
        E.ALREADY_STARTED,
    ]
    pmu.incr_fw(SET_TIMER)
    pmu.incr_fw(SET_TIMER)
    assert (pmu.counter_fw_read(19), pmu.counter_fw_read(20)) == ((0, 12), (0, 12))
    assert errors(pmu.counter_stop(19, 1, 0), pmu.counter_stop(20, 1, 0)) == [0, E.ALREADY_STOPPED]
    pmu.incr_fw(SET_TIMER)
    assert pmu.counter_fw_read(20) == (0, 12)
    assert errors(pmu.counter_stop(19, 3, 1)) == [E.ALREADY_STOPPED]
    answer = pmu.counter_fw_read(19)
    if pmu.profile.has(B.FW_READ_UNBOUND):
        assert answer.error == E.SUCCESS
        assert pmu.undetermined
    else:
        assert answer == (E.INVALID_PARAM, 0)
        assert not pmu.undetermined


def test_firmware_counters_are_independent_in_the_specification(bench: Any) -> None:
    pmu = bench("spec-3.0").pmu
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    assert errors(pmu.counter_start(19, 1, 1, 10), pmu.counter_start(20, 1, 1, 1000)) == [0, 0]
    pmu.incr_fw(SET_TIMER)
    pmu.counter_stop(19, 1, 0)
    pmu.incr_fw(SET_TIMER)
    assert (pmu.counter_fw_read(19), pmu.counter_fw_read(20)) == ((0, 11), (0, 1002))
    pmu.incr_fw(22)
    pmu.incr_fw(0xFFFF)


@pytest.mark.parametrize(("name", "again"), [("kvm-6.12", 100), ("kvm-7.2", 101)])
def test_firmware_restart(bench: Any, name: str, again: int) -> None:
    """A start without a value goes on from the last read before 7.1, from the stop since."""
    pmu = bench(name).pmu
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    pmu.counter_start(19, 1, 1, 100)
    pmu.incr_fw(SET_TIMER)
    assert errors(pmu.counter_stop(19, 1, 0), pmu.counter_start(19, 1, 0, 0)) == [0, 0]
    assert pmu.counter_fw_read(19) == (0, again)


def test_firmware_clear_value(bench: Any) -> None:
    for name, value in (("kvm-7.2", 7), ("spec-3.0", 0)):
        pmu = bench(name).pmu
        pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
        pmu.counter_start(19, 1, 1, 7)
        pmu.counter_stop(19, 1, 1)
        pmu.counter_config_matching(0, ALL, CLEAR, TIMER, 0)
        assert pmu.counter_fw_read(19) == (0, value)


def test_hardware_event_on_a_firmware_counter(bench: Any) -> None:
    """F24, as recorded on 6.12: codes below 22 act on that firmware code, others stop the whole set; O27
    leaks.
    """
    b = bench("kvm-6.12")
    pmu = b.pmu
    pmu.counter_config_matching(0, ALL, 0, TIMER, 0)
    assert pmu.counter_config_matching(19, 1, SKIP, DTLB, 0) == (0, 19)
    assert pmu.counter_fw_read(19) == (0, 0)
    assert not pmu.undetermined  # code 25 lies inside the array of 32
    assert errors(pmu.counter_start(19, 1, 1, 100), pmu.counter_stop(19, 1, 1)) == [-3, -3]
    assert pmu.counter_config_matching(0, ALL, 0, TIMER, 0) == (0, 20)
    assert pmu.counter_config_matching(19, 1, SKIP, TIMER, 0) == (0, 19)
    assert errors(pmu.counter_start(19, 1, 0, 0)) == [0]
    assert pmu.counter_fw_read(19) == (0, 100)
    pmu.counter_config_matching(19, 1, SKIP | AUTO, NO_EVENT, 0)
    assert errors(pmu.counter_stop(0, ALL, 1)) == [E.ALREADY_STOPPED]
    assert pmu.live_events() == len(b.perf.events) == 1
    pmu.reset()
    assert len(b.perf.events) == 1
    pmu.counter_config_matching(19, 1, 0, TIMER, 0)
    pmu.counter_config_matching(19, 1, SKIP, NO_EVENT, 0)
    assert len(b.perf.events) == 1  # bound again: the leaked one is released, a new one is there
    assert b.perf.events[0].state is EventState.OFF


def test_info_past_the_array(bench: Any) -> None:
    """What lies at index 64 is whether firmware event 1 counts."""
    pmu = bench("kvm-6.12").pmu
    assert pmu.counter_get_info(64) == (0, 0)
    pmu.counter_config_matching(0, ALL, AUTO, 0xF0001, 0)
    assert pmu.counter_get_info(64) == (0, 1)
    assert pmu.counter_get_info(65) == (E.INVALID_PARAM, 0)


def test_index_check_of_reads(bench: Any) -> None:
    old, new = bench("kvm-6.9").pmu, bench("kvm-7.2").pmu
    assert old.counter_fw_read(64).error == E.SUCCESS
    assert old.undetermined
    assert old.counter_fw_read(41) == (E.INVALID_PARAM, 0)
    for idx in (1, 41, 64, TOP):
        assert new.counter_fw_read(idx) == (E.INVALID_PARAM, 0)
    assert new.host_log_lines == 4  # O15


# --- shared memory ----------------------------------------


def test_page_is_zeroed_and_rewritten(bench: Any) -> None:
    """F45, as recorded: slots are relative to the base; the whole page comes from the kernel's copy."""
    b = bench("kvm-6.12")
    b.memory.write(PAGE, b"\xa5" * 0x1010)
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    assert b.memory.read(PAGE, 0x1000) == bytes(0x1000)
    assert b.memory.word(PAGE + 0x1000) == 0xA5A5A5A5A5A5A5A5
    b.memory.set_word(PAGE + 0x208, 9)
    b.pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
    b.pmu.counter_start(2, 1, 1, 0)
    b.perf.advance(2014)
    assert errors(b.pmu.counter_stop(2, 1, 2)) == [0]
    assert (b.memory.word(PAGE + 8), b.memory.word(PAGE + 0x208)) == (2014, 0)
    b.pmu.counter_start(2, 1, 1, 0)
    b.perf.advance(2014)
    b.pmu.counter_stop(0, 4, 2)
    assert (b.memory.word(PAGE + 8), b.memory.word(PAGE + 0x18)) == (2014, 4028)
    b.memory.set_word(PAGE + 8, 5555)
    assert errors(b.pmu.counter_start(2, 1, 2, 0)) == [0]
    assert b.csr(2) == 5555 + 4028


@pytest.mark.parametrize(
    ("name", "at_stop"), [("kvm-6.10", 0), ("kvm-6.12", 0), ("kvm-7.2", E.FAILED), ("spec-3.0", E.FAILED)]
)
def test_page_removed(bench: Any, name: str, at_stop: int) -> None:
    """F43, F44."""
    b = bench(name)
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    b.pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
    b.pmu.counter_start(2, 1, 1, 0)
    b.memory.slots.clear()
    assert errors(b.pmu.counter_stop(2, 1, 2)) == [at_stop]
    running = b.perf.events[0].state is EventState.ACTIVE
    assert running == (name == "spec-3.0")
    b.pmu.counter_stop(2, 1, 0)
    assert errors(b.pmu.counter_start(2, 1, 2, 0)) == [E.FAILED]
    assert b.perf.events[0].state is EventState.OFF


@pytest.mark.parametrize(
    ("name", "error", "kept"), [("kvm-6.12", E.FAILED, True), ("kvm-7.2", E.INVALID_ADDRESS, None)]
)
def test_page_across_the_end_of_memory(bench: Any, name: str, error: int, kept: bool | None) -> None:
    """F40: the part inside is zeroed all the same. Whether a page that was set stays differs."""
    b = bench(name)
    end = 0x8020_0000
    b.memory.write(end - 0x1000, b"\xa5" * 0x1000)
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    assert errors(b.pmu.snapshot_set_shmem(end - 0x800, 0, 0)) == [error]
    assert b.memory.read(end - 0x1000, 0x1000) == b"\xa5" * 0x800 + bytes(0x800)
    if kept is None:
        with pytest.raises(HostLostError, match="b7749531a9b1"):
            b.pmu.counter_start(4, 1, 2, 0)
        return
    assert errors(b.pmu.counter_start(4, 1, 2, 0)) == [0 if kept else E.NO_SHMEM]


HOLE = 0x5000_0000


@pytest.mark.parametrize("use", ["stop", "start"])
@pytest.mark.parametrize("failure", ["address", "memory"])
def test_a_failing_page_after_a_good_one_loses_the_host(bench: Any, use: str, failure: str) -> None:
    """Seen on KVM 7.2.13. Whichever step fails, the copy is gone and the address stays."""
    b = bench("kvm-7.2")
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    b.pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
    if use == "stop":
        b.pmu.counter_start(2, 1, 1, 0)
    if failure == "memory":
        b.pmu.host_allocate = lambda size: False
    b.pmu.snapshot_set_shmem(HOLE if failure == "address" else PAGE, 0, 0)
    assert errors(b.pmu.snapshot_set_shmem(PAGE, 0, 1)) == [
        E.INVALID_PARAM
    ]  # refused before: changes nothing
    with pytest.raises(HostLostError) as lost:
        b.pmu.counter_stop(2, 1, 2) if use == "stop" else b.pmu.counter_start(2, 1, 2, 0)
    assert lost.value.commit == "b7749531a9b1"
    assert "stale snapshot_addr" in str(lost.value)


def test_what_keeps_the_host_alive(bench: Any) -> None:
    """Another good page, none at all, a vCPU reset, or a set whose members have no event to store."""
    for way in ("good", "none", "reset", "no event"):
        b = bench("kvm-7.2")
        b.pmu.snapshot_set_shmem(PAGE, 0, 0)
        b.pmu.snapshot_set_shmem(HOLE, 0, 0)
        if way == "good":
            b.pmu.snapshot_set_shmem(PAGE, 0, 0)
        elif way == "none":
            b.pmu.snapshot_set_shmem(TOP, TOP, 0)
        elif way == "reset":
            b.pmu.reset()
        wanted = E.NO_SHMEM if way in ("none", "reset") else E.SUCCESS
        assert errors(b.pmu.counter_stop(2, 1, 2)) == [wanted], way


def test_first_page_check_keeps_the_old_page(bench: Any) -> None:
    b = bench("kvm-6.12")
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    b.memory.set_word(PAGE, 1)
    assert errors(b.pmu.snapshot_set_shmem(0x5000_0000, 0, 0)) == [E.INVALID_ADDRESS]
    assert b.pmu.snapshot.address == PAGE
    assert b.memory.word(PAGE) == 1
    b.pmu.snapshot_set_shmem(PAGE + 0x2000, 0, 0)
    assert b.pmu.snapshot.leaked == 1


def test_teardown_of_6_10_writes_zeros(bench: Any) -> None:
    for name, left in (("kvm-6.10", 0), ("kvm-6.12", 7)):
        b = bench(name)
        b.pmu.snapshot_set_shmem(PAGE, 0, 0)
        b.memory.set_word(PAGE + 8, 7)
        b.pmu.deinit()
        assert b.memory.word(PAGE + 8) == left
    b = bench("kvm-6.10", record=True)
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    b.memory.slots.clear()
    b.pmu.snapshot_set_shmem(TOP, TOP, 0)
    assert any(record.action == "teardown write failed" for record in b.recorder.records)


def test_without_snapshot_support_the_flags_mean_nothing(bench: Any) -> None:
    pmu = bench("kvm-6.9").pmu
    pmu.counter_config_matching(0, 1, CLEAR, CYCLES, 0)
    assert errors(pmu.counter_start(0, 1, 2, 0), pmu.counter_stop(0, 1, 2)) == [0, 0]


def test_event_table(bench: Any) -> None:
    """FID 8: several entries; KVM overlooks reserved bits and calls raw and firmware events supported."""
    entries = [
        (1, 0),
        (3, 0),
        (0x100001, 0),
        (0xF0005, 0),
        (0x20000, 1),
        (0xF00FF, 0),
        (0x40000, 0),
        (0, 0),
        (0xB, 0),
    ]
    for name in ("kvm-7.2", "spec-3.0"):
        b = bench(name)
        b.perf.errnos[0, 2] = 2
        for i, (idx, data) in enumerate(entries):
            b.memory.set_word(PAGE + 16 * i, 0xFFFFFFFF_00000000 | idx)
            b.memory.set_word(PAGE + 16 * i + 8, data)
        before = b.memory.read(PAGE, 256)
        answer = b.pmu.event_get_info(PAGE, 0, len(entries), 0)
        if name == "spec-3.0":
            assert answer == (E.INVALID_PARAM, 0)
            assert b.memory.read(PAGE, 256) == before
            b.memory.set_word(PAGE + 32, 0xFFFFFFFF_00000001)
            answer = b.pmu.event_get_info(PAGE, 0, len(entries), 0)
            expected = [1, 0, 1, 1, 1, 0, 0, 0, 0]
        else:
            expected = [1, 0, 1, 1, 1, 1, 0, 1, 0]
        assert answer == (0, 0)
        assert [b.memory.word(PAGE + 16 * i) >> 32 for i in range(len(entries))] == expected
        assert not b.perf.events


# --- overflow ----------------------------------------


def test_overflow_of_two_counters(bench: Any) -> None:
    """As recorded on 7.2: both bits, one request each; bits stay in the page until RESET; no second one by
    itself.
    """
    b = bench("kvm-7.2")
    b.pmu.snapshot_set_shmem(PAGE, 0, 0)
    b.pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    b.pmu.counter_config_matching(0, ALL, CLEAR, INSTRUCTIONS, 0)
    b.pmu.counter_start(0, 5, 1, TOP - 1999)
    b.perf.advance(1999)
    assert not b.interrupts
    b.perf.advance(1)
    assert len(b.interrupts) == 2
    b.perf.advance(1_000_000)
    assert len(b.interrupts) == 2
    b.pmu.counter_stop(0, 5, 2)
    assert [b.memory.word(PAGE + i) for i in (0, 8, 24)] == [5, 1_000_000, 1_000_000]
    b.pmu.counter_start(0, 5, 1, 0)
    b.pmu.counter_stop(0, 5, 2)
    assert b.memory.word(PAGE) == 5
    assert errors(b.pmu.counter_stop(0, 5, 3)) == [E.ALREADY_STOPPED]
    assert b.memory.word(PAGE) == 0


def test_no_overflow_interrupt_before_6_10(bench: Any) -> None:
    b = bench("kvm-6.9")
    b.pmu.counter_config_matching(0, ALL, CLEAR, CYCLES, 0)
    b.pmu.counter_start(0, 1, 1, TOP - 9)
    b.perf.advance(100)
    assert not b.interrupts


def test_width_of_values(bench: Any) -> None:
    """F58: a 48-bit counter wraps at 48 bits, but not in KVM's values."""
    for name, value in (("spec-3.0", 4), ("kvm-7.2", (1 << 48) + 4)):
        b = bench(name, bench.FakePerf(width=48))
        assert b.pmu.counter_get_info(3) == (0, 0x2FC03)
        b.pmu.counter_config_matching(0, 8, CLEAR, DTLB, 0)
        b.pmu.counter_start(3, 1, 1, (1 << 48) - 6)
        b.perf.advance(10)
        assert b.csr(3) == value
        assert len(b.interrupts) == 1


# --- the host, refusals, records ----------------------------------------


def test_number_of_counters(bench: Any) -> None:
    for count, expected in ((18, 41), (2, 25), (31, 54), (40, 54)):
        assert bench("kvm-7.2", bench.FakePerf(count)).pmu.num_counters() == (0, expected)


def test_no_pmu(bench: Any) -> None:
    for perf in (bench.FakePerf(usable=False), bench.FakePerf(0), bench.FakePerf(width=0)):
        assert not bench("kvm-7.2", perf).pmu.available
    pmu = VcpuPmu(get_profile(), None, bench.FakeMemory(), lambda: None, bench("kvm-7.2").recorder)
    assert not pmu.available
    pmu.reset()


def test_a_call_says_which_layer_refused_it(bench: Any) -> None:
    b = bench("kvm-7.2", record=True)
    b.perf.errnos[0, 3] = 2
    b.pmu.counter_config_matching(0, ALL, 0, MISSES, 0)
    refusal = b.pmu.last_refusal
    assert (refusal.layer, refusal.step, refusal.code) == ("perf", "perf_event_create_kernel_counter", -2)
    assert "ENOENT" in refusal.reason
    b.pmu.counter_config_matching(0, ALL, 0, 0xF00FF, 0)
    assert b.pmu.last_refusal.layer == "kvm"
    assert "fw" in b.pmu.last_refusal.reason or "firmware" in b.pmu.last_refusal.reason
    b.pmu.counter_config_matching(0, ALL, 0, CYCLES, 0)
    assert b.pmu.last_refusal is None
    actors = [(record.layer, record.actor, record.action, record.result) for record in b.recorder.records]
    assert ("kvm", "perf_event_create_kernel_counter", "refused", "ENOENT") in actors
    assert ("kvm", "perf_event_create_kernel_counter", "created", 0) in actors
    assert ("perf", "perf_event_create_kernel_counter", "refuse", -2) in actors


def test_rejected_period_is_recorded(bench: Any) -> None:
    b = bench("kvm-7.2", record=True)
    b.pmu.counter_config_matching(0, 1, CLEAR, CYCLES, 0)
    b.pmu.counter_start(0, 1, 1, 100)
    assert [r.result for r in b.recorder.records if r.actor == "perf_event_period"] == ["EINVAL"]
