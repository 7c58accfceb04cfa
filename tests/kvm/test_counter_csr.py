"""Trapped counter CSRs."""

from __future__ import annotations

from typing import Any

import pytest

from vpmu.kvm.counter_csr import emulate, emulates
from vpmu.profiles.behaviours import B
from vpmu.profiles.profiles import PROFILES, get_profile
from vpmu.see.pmu import IllegalCounter
from vpmu.spec.csr import Csr


def illegal(pmu: Any, csr: int, **how: Any) -> bool:
    try:
        emulate(pmu, csr, **{"writes": False, **how})
    except IllegalCounter:
        return True
    return False


@pytest.mark.parametrize("name", PROFILES)
def test_life_of_a_counter(bench: Any, name: str) -> None:
    """F66: illegal, value, value, illegal."""
    b = bench(get_profile(name, without=["event-created-enabled", "read-accumulates"]))
    assert illegal(b.pmu, Csr.INSTRET)
    b.pmu.counter_config_matching(0, 4, 2, 2, 0)
    assert emulate(b.pmu, Csr.INSTRET, writes=False) == 0
    b.pmu.counter_start(2, 1, 1, 100)
    b.perf.advance(5)
    assert emulate(b.pmu, Csr.INSTRET, writes=False) == 105
    assert illegal(b.pmu, Csr.INSTRET, writes=True)
    b.pmu.counter_stop(2, 1, 0)
    assert emulate(b.pmu, Csr.INSTRET, writes=False) == 105
    b.pmu.counter_stop(2, 1, 1)
    assert illegal(b.pmu, Csr.INSTRET)


def test_which_csrs(bench: Any) -> None:
    new, old = bench("kvm-7.2").pmu, bench("kvm-6.9").pmu
    assert emulates(new, Csr.HPMCOUNTER31)
    assert not emulates(old, Csr.HPMCOUNTER31)
    assert emulates(old, Csr.HPMCOUNTER31 - 1)
    for csr in (0xB00, 0x323, 0xC80, 0xDA0):
        assert not emulates(new, csr)
        assert illegal(new, csr)
    assert illegal(new, Csr.TIME)


def test_firmware_counters_behind_the_hardware_ones(bench: Any) -> None:
    """No hart has a CSR for them: KVM 6.12.107 on QEMU 7.2.22 (18 hardware counters) gives scause 2."""
    for name in PROFILES:
        b = bench(name)
        b.pmu.counter_config_matching(19, 1, 4, 0xF0005, 0)
        b.pmu.incr_fw(5)
        assert illegal(b.pmu, Csr.CYCLE + 18)
        assert illegal(b.pmu, Csr.CYCLE + 19)


@pytest.mark.parametrize("name", PROFILES)
def test_without_a_pmu(bench: Any, name: str) -> None:
    pmu = bench(name, bench.FakePerf(usable=False)).pmu
    for csr in (Csr.CYCLE, Csr.INSTRET):
        assert emulate(pmu, csr, writes=False) == 0
        assert emulate(pmu, csr, writes=True) == 0  # KVM does not look
    assert illegal(pmu, Csr.HPMCOUNTER3)
    without_driver = get_profile(name, with_=["csr-illegal-without-config"])
    assert illegal(bench(without_driver, bench.FakePerf(usable=False)).pmu, Csr.CYCLE)


@pytest.mark.parametrize("name", PROFILES)
def test_extension_switched_off(bench: Any, name: str) -> None:
    """O30, F63: KVM looks at the PMU, not at the switch."""
    pmu = bench(name).pmu
    if pmu.profile.has(B.CSR_ILLEGAL_WHEN_DISABLED):
        assert illegal(pmu, Csr.CYCLE, sbi_enabled=False)
    else:
        assert emulate(pmu, Csr.CYCLE, writes=False, sbi_enabled=False) == 0
    assert illegal(pmu, Csr.HPMCOUNTER3, sbi_enabled=False)


@pytest.mark.parametrize("name", PROFILES)
def test_user_mode(bench: Any, name: str) -> None:
    """F70."""
    b = bench(name)
    b.pmu.counter_config_matching(0, 1, 2, 1, 0)
    assert not illegal(b.pmu, Csr.CYCLE, user_mode=True, scounteren=1)
    closed = illegal(b.pmu, Csr.CYCLE, user_mode=True, scounteren=6)
    assert closed != b.pmu.profile.has(B.CSR_IGNORES_SCOUNTEREN)
