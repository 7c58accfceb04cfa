"""Where the oracle below real KVM stands in a guest."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vpmu.campaign.real_oracle import RealOracle, sites
from vpmu.hart.events import Mode
from vpmu.peers.kvm_host import agent_path
from vpmu.perf.description import load_host_pmu
from vpmu.profiles.profiles import get_profile
from vpmu.spec.csr import Csr

BASE, THERE = 0x80000000, 0x90003000  # of a page of the guest, and where it lies
ECALL, RDCYCLE, NOP = bytes.fromhex("73000000"), bytes.fromhex("732500c0"), bytes.fromhex("13000000")
BEHIND = 4


def test_ecalls_and_reads_of_counters_are_found_in_code() -> None:
    code = bytes.fromhex("73000000 732500c0 732510c0 731500c0 f32f20c1 13000000 0173 0000".replace(" ", ""))
    ecalls, reads = sites(code)
    assert ecalls == [0]
    assert reads == [4, 16]  # rdcycle a0 and csrr t6, hpmcounter18; not rdtime, not a write
    agent = sites(agent_path().read_bytes())
    assert agent[0]
    assert len(agent[1]) >= 31  # one for every counter but time


@pytest.mark.parametrize("seed", range(20))
def test_random_code_against_a_look_at_each_halfword(seed: int) -> None:
    """Of bytes that such instructions are made of, so that many overlap in part."""
    code = bytes(random.Random(seed).choices(b"\x73\xf3\x00\x20\x25\x2f\x10\xc0\xc1\x00\x00", k=20_000))
    words = {at: int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code) - 3, 2)}
    reads = [
        at for at, word in words.items()
        if word & 0xFE0FF07F == 0xC0002073 and word >> 20 != Csr.TIME
    ]  # fmt: skip
    assert sites(code) == ([at for at, word in words.items() if word == 0x73], reads)


class _Machine:
    """A page of a guest's memory, and the handlers of breakpoints in it."""

    def __init__(self, code: bytes) -> None:
        self.bytes = bytearray(code)
        self.handlers: dict[int, Callable[[Any], bool]] = {}
        registers = SimpleNamespace(mode=Mode.VS, pc=0, x=lambda number: 0, count=lambda event, mode: 0)
        self.hart: Any = registers
        self.memory = SimpleNamespace(
            read=lambda at, size: bytes(self.bytes[at - THERE : at - THERE + size]),
            breakpoints=SimpleNamespace(add=self.handlers.__setitem__),
        )

    def vcpu(self, number: int) -> Any:
        return SimpleNamespace(hart=self.hart)


@pytest.mark.parametrize("code", [ECALL, RDCYCLE], ids=("a call", "a read"))
def test_a_place_that_holds_something_else_by_now(code: bytes) -> None:
    """A kernel gives the memory of what it began with to others: what they run there is no call."""
    machine = _Machine(code + NOP)
    oracle = RealOracle(machine, get_profile("kvm-6.12"), load_host_pmu("full"), BASE, [THERE], {})
    oracle.place({BASE: code + NOP})
    assert sorted(machine.handlers) == [THERE, THERE + BEHIND]
    vcpu = SimpleNamespace(hart=machine.hart)
    machine.handlers[THERE](vcpu)
    assert list(oracle._pending) == [BEHIND]
    oracle._pending.clear()
    machine.bytes[: len(NOP)] = NOP
    machine.handlers[THERE](vcpu)
    assert not oracle._pending
