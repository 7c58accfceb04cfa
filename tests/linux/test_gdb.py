"""A debugger on a Debian guest and on a host with real KVM: what it stops at, and the way back.

VPMU_STEPS=1000 takes as many steps at random.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vpmu.conform.agent import packed_batch
from vpmu.conform.calls import pmu
from vpmu.conform.hooked import HookedHost
from vpmu.conform.kvm import VPMU, HostOptions
from vpmu.conform.target import PeerAbsent
from vpmu.debug.names import Names, names_of
from vpmu.gdb.description import CSR, PRIV, VIRT
from vpmu.gdb.listener import Address
from vpmu.hart.events import Mode
from vpmu.peers.vpmu_host import HostOnVpmu, restored
from vpmu.spec.sbi import PmuFid
from vpmu.vmm.linux.boot import LinuxBoot
from vpmu.vmm.linux.cache import Cache, default_root
from vpmu.vmm.linux.fetch import debian_guest
from vpmu.vmm.machine import Machine

from ..gdb.client import Client, Served, serving
from .terminal import Terminal

pytestmark = pytest.mark.slow

STEPS = int(os.environ.get("VPMU_STEPS", "24"))
COMMAND = "perf record -c 200000 -e cycles -o /tmp/data true"
U64 = (1 << 64) - 1


@pytest.fixture(scope="module")
def debian() -> Callable[[], tuple[Machine, Names]]:
    """Builds the machine with the fetched guest, and gives the names of its kernel."""
    if Cache(default_root() / "debian-trixie").current() is None:
        pytest.skip("no Debian guest in the cache: vpmu fetch debian")
    guest = debian_guest()

    def build() -> tuple[Machine, Names]:
        boot = LinuxBoot(guest.kernel_image(), guest.initramfs(), command=COMMAND)
        machine = boot.machine(host_pmu="sampling", without=["snapshot"])
        return machine, names_of(boot.loaded)

    return build


def _symbol(names: Names, name: str) -> int:
    assert names.table is not None
    found = names.table.find(name)
    assert found is not None
    return found.address


def _word(debugger: Client, address: int) -> int:
    return int.from_bytes(bytes.fromhex(debugger.ask(b"m%x,8" % address).decode()), "little")


def walked(debugger: Client, served: Served, low: int, high: int, seed: int) -> dict[int, str]:
    """Steps at random between two positions, forwards and back: the hash of the state at each place."""
    chosen, seen = random.Random(seed), {}
    for _ in range(STEPS):
        match chosen.randrange(4):
            case 0:
                debugger.monitor(f"goto {chosen.randrange(low, high)}")
                debugger.ask(b"c")
            case 1:
                debugger.ask(b"vCont;s")
            case 2:
                debugger.ask(b"bs")
            case _:
                debugger.monitor(f"goto {min(debugger.position + chosen.randrange(100_000), high)}")
                debugger.ask(b"c")
        seen[debugger.position] = served.machine.state_hash()
    return seen


def straight(machine: Machine, positions: list[int]) -> dict[int, str]:
    """The hash of the state at each, on a run without a debugger."""
    found = {}
    for position in sorted(positions):
        machine.run(position - machine.instructions)
        found[position] = machine.state_hash()
    return found


def test_break_watch_and_back_to_the_overflow_in_debian(debian: Callable[[], tuple[Machine, Names]]) -> None:
    machine, names = debian()
    with serving(machine, names=names) as (served, debugger):
        start = _symbol(names, "pmu_sbi_ctr_start")
        assert debugger.ask(b"Z0,%x,4" % start) == b"OK"  # the kernel has not mapped itself yet
        assert debugger.ask(b"c").startswith(b"T05")
        assert debugger.pc == start
        assert "riscv_pmu_start" in debugger.monitor("where")
        debugger.ask(b"z0,%x,4" % start)
        began = debugger.position

        variable = _symbol(names, "kstat") + _word(debugger, _symbol(names, "__per_cpu_offset")) & U64
        assert debugger.ask(b"Z2,%x,8" % variable) == b"OK"
        seen = []
        for _ in range(3):
            assert b"watch:%x;" % variable in debugger.ask(b"c")
            seen.append((debugger.position, _word(debugger, variable)))
        values = [value for _, value in seen]
        assert values == sorted(set(values))
        for position, value in seen[1::-1]:
            assert b"watch:%x;" % variable in debugger.ask(b"bc")
            debugger.ask(b"bs")
            assert (debugger.position, _word(debugger, variable)) == (position, value)
        debugger.ask(b"z2,%x,8" % variable)

        debugger.monitor("catch overflow")
        debugger.ask(b"c")
        first = debugger.position
        debugger.ask(b"c")
        assert "overflown" in debugger.monitor("counters")
        assert debugger.position > first
        debugger.ask(b"bc")
        assert debugger.position == first
        assert "counter_start" in debugger.monitor("sbi 50")
        debugger.monitor("uncatch")

        seen_at = walked(debugger, served, began - 50_000_000, first, 1)
    plain, _ = debian()
    assert straight(plain, list(seen_at)) == seen_at


@pytest.fixture(scope="module")
def kvm() -> HookedHost:
    try:
        return HookedHost(HostOptions(on=VPMU))
    except PeerAbsent as absent:
        pytest.skip(absent.what)


def test_break_in_kvm_and_in_its_guest(kvm: HookedHost, tmp_path: Path) -> None:
    ecall = kvm.kernel.function("kvm_riscv_vcpu_sbi_ecall").address
    kvm.fresh()
    kept = tmp_path / "host.snapshot"
    kvm.machine.snapshot().save(kept)
    request = packed_batch(b"R", [pmu(PmuFid.NUM_COUNTERS), pmu(PmuFid.COUNTER_GET_INFO, 0)])

    def build() -> HostOnVpmu:
        host = restored(kept)
        host.ask(request)
        return host

    machine = build().machine
    with serving(machine) as (served, debugger):
        begin = debugger.position
        assert debugger.ask(b"Z0,%x,4" % ecall) == b"OK"
        debugger.ask(b"c")
        assert debugger.pc == ecall
        assert machine.vcpu(0).hart.mode is Mode.S
        assert "host kernel" in debugger.monitor("mode")
        first = debugger.position
        guest = debugger.register(CSR + 0x141)
        assert debugger.ask(b"Z0,%x,4" % guest) == b"OK"  # while the host runs: an address of the guest
        debugger.ask(b"bc")
        assert debugger.pc == guest
        assert (debugger.register(PRIV), debugger.register(VIRT)) == (1, 1)
        assert "guest kernel" in debugger.monitor("mode")
        assert bytes.fromhex(debugger.ask(b"m%x,4" % guest).decode()) == bytes.fromhex("73000000")  # ecall
        debugger.ask(b"c")
        assert (debugger.pc, debugger.position) == (ecall, first)
        seen = walked(debugger, served, begin, first, 2)
    assert straight(build().machine, list(seen)) == seen


def test_a_terminal_under_a_debugger(debian: Callable[[], tuple[Machine, Names]]) -> None:
    """Keys are part of the run: who goes back and on again finds what they did."""
    tiny = str(debian_guest().tiny_initrd)
    with Terminal("boot", "-m", "128M", "--initrd", tiny, "--gdb", ":0") as terminal:
        terminal.wait_for(b"listening on 127.0.0.1:")
        terminal.wait_for(b"~ # ")
        listening = re.search(rb"127\.0\.0\.1:(\d+)", terminal.screen)
        assert listening is not None
        terminal.type(b"echo $((6*7))-typed\r")
        terminal.wait_for(b"42-typed")
        debugger = Client(Address("127.0.0.1", int(listening[1])))
        assert debugger.ask(b"?").startswith(b"T05")
        position = debugger.position
        assert b"replaylog:begin;" in debugger.ask(b"bc")
        debugger.monitor(f"goto {position}")
        debugger.ask(b"c")
        assert debugger.position == position
        assert debugger.ask(b"D") == b"OK"
        debugger.close()
        assert terminal.screen.count(b"42-typed") == 1
        terminal.type(b"echo $((6*8))-again\r")
        terminal.wait_for(b"48-again")
        terminal.type(b"\x01x")
        assert terminal.process.wait(30) == 0
