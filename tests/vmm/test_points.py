"""`machine.break_at`, `machine.watch`, `machine.until`: a run ends where a script wants it to."""

from __future__ import annotations

import pytest

from vpmu import Machine, VpmuError
from vpmu.vmm.linux.cache import default_root


def _machine(payload: str = "counting") -> Machine:
    machine = Machine(host_pmu="sampling")
    machine.load(payload)
    return machine


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_function_by_name(engine: str) -> None:
    machine = Machine(engine=engine)
    loaded = machine.load("counting")
    point = machine.break_at("main")
    result = machine.run()
    assert result.stop == "breakpoint"
    assert machine.vcpu(0).hart.pc == loaded.symbols()["main"] == point.physical
    point.remove()
    assert machine.run().stop == "shutdown"


def test_an_address_as_the_hart_sees_it() -> None:
    machine = _machine()
    machine.run(1000)
    pc = machine.vcpu(0).hart.pc
    again = _machine()
    with again.break_at(pc):
        assert again.run().stop == "breakpoint"
    assert again.vcpu(0).hart.pc == pc
    assert again.instructions <= 1000


def test_bytes_by_name() -> None:
    machine = _machine()
    bound = machine.load("counting").symbols()["bound"]
    with machine.watch("bound", 8, "w"):
        assert machine.run().stop == "watchpoint"
        before = machine.instructions
        assert machine.run(1).stop == "budget"  # what was stopped is executed, and met once
        assert machine.instructions == before + 1
    with machine.watch(bound, 8, "r"):
        assert machine.run().stop in ("watchpoint", "shutdown")
    assert machine.run().stop == "shutdown"


def test_until_something_happens() -> None:
    machine = _machine("overflow")
    met = machine.until("overflow")
    assert met.stop == "caught"
    assert met.reason == "counter 2 of hart 0 overflows"
    assert machine.vcpu(0).overflows == 1
    assert machine.until("sbi:SRST").reason.startswith("SBI system reset")
    assert _machine("overflow").until("overflow:5").stop == "shutdown"
    assert _machine("overflow").until("overflow", 100).stop == "budget"


def test_nothing_is_left_behind() -> None:
    plain, watched = _machine(), _machine()
    watched.break_at("main").remove()
    watched.watch("bound").remove()
    watched.until("csr:cycle", 100)
    assert plain.run().instructions == watched.run().instructions
    assert plain.state_hash() == watched.state_hash()


def test_what_is_not_there_is_one_line() -> None:
    machine = _machine()
    for ask, said in (
        (lambda: machine.break_at("mian"), "unknown symbol 'mian'; did you mean main"),
        (lambda: machine.break_at(-2), "address: expected one of 64 bits"),
        (lambda: machine.break_at(0x10), "no breakpoint"),
        (lambda: machine.watch("bound", 0), "expected bytes of memory, got 0"),
        (lambda: machine.watch("bound", 8, "x"), "unknown access to watch 'x'"),
        (lambda: machine.until("overflw"), "did you mean overflow"),
        (lambda: Machine().break_at("main"), "expected an image that was loaded"),
    ):
        if said == "no breakpoint":
            point = ask()  # no memory is there: nothing will ever meet it
            assert machine.run(10).stop == "budget"
            point.remove()
            continue
        with pytest.raises(VpmuError, match=said) as raised:
            ask()
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(
    not (default_root() / "debian-trixie" / "manifest.json").exists(),
    reason="the Debian guest is not fetched",
)
def test_a_function_of_a_kernel_before_its_first_instruction() -> None:
    from vpmu.vmm.linux.boot import LinuxBoot
    from vpmu.vmm.linux.fetch import debian_guest

    guest = debian_guest()
    machine = LinuxBoot(guest.kernel_image(), guest.initramfs(tiny=True)).machine()
    with machine.break_at("start_kernel"):
        assert machine.run(100_000_000).stop == "breakpoint"
    assert machine.vcpu(0).hart.pc >> 31 == 0x1FFFFFFFF
    assert machine.until("sbi:BASE", 300_000_000).stop == "caught"
