"""Hooks in a stock Debian kernel and its kvm.ko, on our own hart: what a guest of real KVM gets then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vpmu.cli.main import main
from vpmu.conform.calls import Result, pmu
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.target import PeerAbsent
from vpmu.debug.running_kernel import HookError, RunningKernel
from vpmu.errors import UnknownNameError
from vpmu.hart.events import HartEvent, Mode
from vpmu.peers.hooks import HostCall
from vpmu.peers.host_faults import undo

pytestmark = pytest.mark.slow

CREATE, CONFIG = "perf_event_create_kernel_counter", "kvm_riscv_vcpu_pmu_ctr_cfg_match"
CYCLES = pmu(2, 0, 0x7FFFD, 0, 1, 0)
EBUSY, NOT_SUPPORTED = 16, -2


@pytest.fixture(scope="module")
def kept() -> HookedHost:
    try:
        return HookedHost(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)


@pytest.fixture
def host(kept: HookedHost) -> Iterator[HookedHost]:
    yield kept
    kept.hooks.remove()
    assert not len(kept.machine.memory.breakpoints)


def cycles(host: HookedHost) -> Result:
    host.fresh()
    return host.target.run([CYCLES])[0]


def test_functions_of_kernel_and_module_are_found_where_they_run(host: HookedHost) -> None:
    kernel = host.kernel
    assert kernel.function(CREATE).module == ""
    inside = kernel.function(CONFIG)
    assert inside.module == "kvm"
    assert kernel.at(inside.address + 8) == inside
    assert kernel.function(hex(inside.address)).address == inside.address


def test_a_call_of_kvm_is_answered_instead_of_made_and_costs_nothing(host: HookedHost) -> None:
    assert cycles(host).error == 0
    seen: list[tuple[str, str]] = []

    def answer(call: HostCall) -> None:
        assert call.caller is not None
        seen.append((call.caller.name, call.task))
        call.answer(-EBUSY)

    host.hooks.on(host.kernel.function(CREATE), answer, caller=host.kernel.function(CONFIG))
    assert cycles(host).error == NOT_SUPPORTED
    assert [name for name, _ in seen] == [CONFIG]
    assert seen[0][1], "a task has a name"


def test_who_only_looks_changes_no_count_and_no_instruction(host: HookedHost) -> None:
    def count() -> tuple[int, ...]:
        host.fresh()
        hart = host.machine.vcpu(0).hart
        host.target.run([CYCLES, pmu(0)])
        return (
            host.machine.instructions, hart.time_ns,
            *(hart.count(HartEvent.INSTRUCTIONS, mode) for mode in (Mode.U, Mode.S, Mode.VS, Mode.VU)),
        )  # fmt: skip

    alone = count()
    results: list[int] = []
    met: list[str] = []
    for name in (CREATE, CONFIG, "perf_try_init_event", "pmu_sbi_event_map", "__kmalloc_cache_noprof"):

        def look(call: HostCall) -> None:
            met.append(call.function.name)
            call.at_return(lambda done: results.append(done.result))

        host.hooks.on(host.kernel.function(name), look)
    assert count() == alone
    assert {CREATE, CONFIG} <= set(met)
    assert len(results) >= len(met) - 1


def test_2196c066f138_is_undone_in_the_stock_module(host: HookedHost) -> None:
    undo(host.hooks, "2196c066f138")
    assert cycles(host).error == 0
    host.hooks.on(host.kernel.function("pmu_sbi_event_map"), lambda call: call.answer(-2))
    assert cycles(host).errno == 2
    assert host.target.run([pmu(0)])[0].error == 0, "the guest goes on"


def test_delay_is_virtual_time(host: HookedHost) -> None:
    cycles(host)
    before = host.machine.vcpu(0).hart.time_ns
    host.hooks.on(host.kernel.function(CONFIG), lambda call: call.delay(3_000_000))
    cycles(host)
    assert 0 <= host.machine.vcpu(0).hart.time_ns - before - 3_000_000 < 200_000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kvm_pmu_create_perf_event", f"inlined in {CONFIG}"),
        ("0xzz", "expected a hexadecimal number"),
    ],
)
def test_what_is_no_function_is_said(host: HookedHost, name: str, words: str) -> None:
    with pytest.raises(HookError, match=words):
        host.kernel.function(name)


def test_near_names_are_said(host: HookedHost) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean {CONFIG}"):
        host.kernel.function(CONFIG[:-2])


def test_a_kernel_without_symbols_has_functions_by_address_only(host: HookedHost) -> None:
    hart, memory = host.machine.vcpu(0).hart, host.machine.memory
    bare = RunningKernel(hart, memory, bytes(4096))
    with pytest.raises(HookError, match="no symbols"):
        bare.function(CREATE)
    assert bare.function("0xffffffff80000000").size == 4
    with pytest.raises(HookError, match="nothing at 0x10"):
        host.hooks.on(bare.function("0x10"), lambda call: None)


def test_demo_real_shows_six_rows(kept: HookedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--real"]) == 0
    out = capsys.readouterr().out
    assert "KVM_RUN: ENOENT" in out
    assert "the same in all 6 rows" in out
    assert main(["demo", "--real", "--linux"]) == 2
