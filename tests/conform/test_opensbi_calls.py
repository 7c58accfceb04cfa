"""Every extension and function of a firmware's profile, the unknown ones among them, against the firmware
itself in M mode on our own hart: the same random calls with hostile arguments, above both the same agent.

VPMU_FUZZ=N does N batches for each; VPMU_OPENSBI=FILE is another firmware (1.9 agrees,
too). What differs is in EXCEPTIONS, with the reason.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from vpmu.conform.agent import AgentTarget
from vpmu.conform.calls import Call, Result, ecall
from vpmu.conform.machine_link import MachineLink, opensbi_target
from vpmu.conform.target import TargetLost
from vpmu.profiles.profiles import get_profile
from vpmu.spec.sbi import U64, Eid
from vpmu.vmm.isa import FIRMWARE_ISA
from vpmu.vmm.linux.cache import FetchError
from vpmu.vmm.linux.opensbi import INSIDE, fetched_opensbi

BATCHES = int(os.environ.get("VPMU_FUZZ", "400"))
HARTS = 2
U32 = (1 << 32) - 1
EIDS = [*(int(eid) for eid in Eid if eid > Eid.LEGACY_SHUTDOWN), 0x08000001, 0x09000001, 0x0A000000]
LEGACY = (0, 3, 9, 10, 11, 12, 15)
"""Those of the old calls that neither read memory nor the console nor end the machine."""
SSE_EVENTS = (
    0,
    1,
    2,
    0x8000,
    0x8001,
    0x10000,
    0x100000,
    0x108000,
    0xFFFF0000,
    0xFFFF8000,
    U32,
    1 << 32 | 0x8000,
)

Exception_ = Callable[[tuple[int, ...], Result, Result], bool]
EXCEPTIONS: dict[tuple[int, int], tuple[Exception_, str]] = {
    (Eid.BASE, 3): (
        lambda args, real, model: args[0] == Eid.DBTR and real == Result(0, 0),
        "the profile's recordings are of a hart with debug triggers (QEMU's); ours has none, and the "
        "firmware registers the extension only where there are some (sbi_ecall_dbtr_register_extensions)",
    ),
    (Eid.PMU, 5): (
        lambda args, real, model: real.error == model.error == -3,
        "a1 of a refused counter_fw_read is what lay on the firmware's stack",
    ),
}
"""(EID, FID) -> what may differ, and why."""


@pytest.fixture(scope="module", params=["fetched", "installed", "given"])
def real(request: pytest.FixtureRequest) -> AgentTarget:
    given = os.environ.get("VPMU_OPENSBI")
    if request.param == "given" and given is None:
        pytest.skip("VPMU_OPENSBI names no firmware")
    try:
        path = fetched_opensbi() if request.param == "fetched" else Path("/", INSIDE)
        path = Path(given) if request.param == "given" and given else path
    except FetchError as error:
        pytest.skip(str(error))
    if not path.exists():
        pytest.skip("the package opensbi is not installed")
    return opensbi_target(f"opensbi:{path}", harts=HARTS)


def modelled(real: AgentTarget) -> AgentTarget:
    link = MachineLink(real.profile, "full", isa=FIRMWARE_ISA, harts=HARTS)
    machine = link.machine
    machine.run(max_instructions=20_000)
    base = machine.snapshot()
    end = machine.memory_base + machine.memory_size
    target = AgentTarget(link, "agent", "model", profile=real.profile, memory_end=end, interrupts=True)
    target.rewind = lambda: machine.restore(base)
    return target


class Calls:
    """Random calls. Left out is what ends or hangs a machine: resets that exist, stopping and suspending the
    only hart that runs, a console that waits, and addresses of no memory at which the firmware itself faults.
    """

    def __init__(self, seed: int, page: int, end: int, eids: list[int]) -> None:
        self.random, self.page, self.eids = random.Random(seed), page, eids
        self.values = (
            0, 0, 1, 1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 127, 128, U64, U64 - 1, 1 << 63, 1 << 32, U32, page,
            page + 8, page + 1, page + 4, page + 4096, end, end - 8, 0x80000000, 0x8005FFF8, 0x80060000,
            0x10000000, 0x100000, 0x02000000, 0xFFFF0000, 0x8000,
        )  # fmt: skip

    def value(self) -> int:
        pick = self.random.randrange(10)
        return self.random.getrandbits(64) if not pick else self.random.choice(self.values)

    def call(self) -> Call:
        choose = self.random.choice
        eid = choose((*self.eids, *(Eid.SSE, Eid.HSM, Eid.FWFT, Eid.RFENCE) * 2))
        fid = choose((*range(12), U32, U64, 1 << 32, 1 << 33 | 1))
        args = [self.value() for _ in range(6)]
        if not self.random.randrange(20):
            return ecall(choose(LEGACY), 0, U64 if choose((0, 1)) else 0)
        match eid:
            case Eid.BASE if fid == 3:
                args[0] = choose((*EIDS, *LEGACY, 1 << 32 | 0x10, U64))
            case Eid.SSE:
                args[0] = choose(SSE_EVENTS)
                if fid < 2:
                    args[1:3] = (
                        choose((0, 1, 2, 3, 4, 6, 7, 9, 10, U32)),
                        choose((0, 1, 1, 2, 3, 10, 11, U32)),
                    )
                    args[3] = choose(
                        (self.page, self.page, self.page + 8, self.page + 4, 0x80000000, 0x10000000)
                    )
                    args[4] = choose((0, 0, 0, 1))
                if fid == 7:
                    args[1] = choose((0, 0, 0, 1, 2, U64, 1 << 32))
                if fid == 8:  # a handler would be entered: test_a_handler
                    fid = 9
            case Eid.FWFT:
                args[0] = choose((0, 0, 0, *range(7), 1 << 30, 1 << 31, 1 << 32, 0x3FFFFFFF, U64))
                args[1:3] = choose((0, 1, 2, 7, U64, 1 << 32)), choose((0, 1, 1, 2, U64, 1 << 32))
            case Eid.SRST if args[0] <= 2 and args[1] <= 1:
                args[1] = 2
            case Eid.HSM:
                args[0] = choose((0, 1, 2, 127, 128, U64, 1 << 32))
                args[1] = choose((0x80000000, 0x8005FFFE, 0x02000000))
                if fid == 1:
                    fid = 2
                if fid == 3:
                    args[0] = choose(
                        (1, 0x0FFFFFFF, 0x10000000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0x90000000, U32)
                    )
                if fid == 0:
                    args[0] = choose((args[0], 0))
                    anywhere = (args[1], self.page + 1, 0, U64, 0x10000000, 0x100000)
                    args[1] = choose(anywhere) if args[0] & U32 != 1 else args[1]
            case Eid.DBCN:
                args[0] = choose((0, 1, 2, 8)) if fid == 0 else 0 if fid == 1 else args[0]
                args[1] = choose((self.page, 0x80000000, 0x8005FFFC, 0x10000000, 0x100000, 0x02000000))
                args[2] = choose((0, 0, 1, U64))
            case Eid.PMU if fid == 8:
                args[:3] = self.page, choose((0, 1)), choose((0, 1, 2))
        return ecall(eid, fid, *args)


def excused(call: Call, real: Result, model: Result) -> bool:
    eid, fid, *args = call.resolve(())
    found = EXCEPTIONS.get((eid, fid))
    return found is not None and found[0](tuple(args), real, model)


def test_every_call(real: AgentTarget) -> None:
    model = modelled(real)
    # The PMU of 1.1 writes outside its arrays: only what the conformance suite asks can be asked of it.
    eids = [eid for eid in EIDS if eid != Eid.PMU or real.profile.release != "1.1"]
    calls = Calls(int(os.environ.get("VPMU_FUZZ_SEED", "1")), real.scratch, real.memory_end, eids)
    asked: set[int] = set()
    for number in range(BATCHES):
        batch = [calls.call() for _ in range(calls.random.choice((1, 2, 6, 12)))]
        real.reset()
        model.reset()
        try:
            got = real.run(batch)
        except TargetLost as lost:
            pytest.fail(f"batch {number}: {lost}: {[call.script() for call in batch]}")
        ours = model.run(batch)
        for call, one, other in zip(batch, got, ours, strict=True):
            asked.add(call.resolve(())[0])
            if one != other and excused(call, one, other):
                continue
            said = [f"{call.script()} => {one}" for call, one in zip(batch, got, strict=True)]
            assert one == other, (
                f"batch {number}, {call.script()}: the firmware {one}, the model {other}; {said}"
            )
    assert asked >= set(eids)


HANDLER = bytes.fromhex(
    "971f0000" "23b0af00" "23b4bf00" "23b80f01" "23bc1f01" "23b05f02" "f3221014" "23b45f02" "f3220010"
    "23b85f02" "83b20f02" "130f0600" "938e0600" "130e0700" "3705ffff" "93050000" "1306a000" "93860f04"
    "13070000" "13080000" "b7585300" "9b885834" "73000000" "13060f00" "93860e00" "13070e00" "13086000"
    "b7585300" "9b885834" "73000000" "6f000000" "00000000"
)  # fmt: skip
"""Of a software event: a0, a1, a6, a7, t0, sepc and sstatus into the page behind it, its attributes behind
these; then it completes.
"""


@pytest.mark.parametrize("config", [0, 1], ids=("again", "once"))
@pytest.mark.parametrize("event", [0x10000, 0xFFFF0000, 0xFFFF8000])
def test_a_handler(real: AgentTarget, event: int, config: int) -> None:
    """It is entered with the same registers, sees the same attributes, and the hart goes on alike."""
    page = real.scratch + 4095 & ~4095
    seen = [Call("l", (page + 4096 + 8 * number,)) for number in range(18)]
    put = [
        Call("s", (page + at, int.from_bytes(HANDLER[at : at + 8], "little")))
        for at in range(0, len(HANDLER), 8)
    ]
    calls = [
        *put, Call("s", (page + 4096, config)), ecall(Eid.SSE, 1, event, 2, 1, page + 4096, 0),
        ecall(Eid.SSE, 2, event, page, 0x1234567), ecall(Eid.SSE, 4, event), ecall(Eid.SSE, 7, event, 0),
        *seen, ecall(Eid.SSE, 8), *seen, ecall(Eid.SSE, 7, event, 0), *seen, ecall(Eid.SSE, 6),
        ecall(Eid.SSE, 0, event, 0, 10, page + 4096, 0), *seen, ecall(Eid.SSE, 5, event),
        ecall(Eid.SSE, 3, event),
    ]  # fmt: skip
    model = modelled(real)
    real.reset()
    model.reset()
    try:
        got = real.run(calls)
    except TargetLost as lost:
        pytest.fail(str(lost))
    assert model.run(calls) == got


def test_a_snapshot_keeps_events() -> None:
    from vpmu import Machine

    machine = Machine("opensbi-1.6", memory=1 << 20)
    vcpu = machine.vcpu(0)
    page = machine.memory_base + 0x80000
    for fid, args in ((2, (0xFFFF0000, page, 7)), (8, ()), (4, (0xFFFF0000,))):
        assert vcpu.ecall(Eid.SSE, fid, *args) == (0, 0)
    saved = machine.snapshot()
    assert vcpu.ecall(Eid.SSE, 5, 0xFFFF0000) == (0, 0)
    assert vcpu.ecall(Eid.SSE, 9) == (0, 0)
    before = vcpu.software_events
    machine.restore(saved)
    assert vcpu.ecall(Eid.SSE, 5, 0xFFFF0000) == (0, 0)
    assert vcpu.ecall(Eid.SSE, 9) == (0, 0)
    assert before == vcpu.software_events
    vcpu.reset()
    assert vcpu.ecall(Eid.SSE, 3, 0xFFFF0000).error == -10  # type: ignore[union-attr]


def test_remote_hfences_where_there_is_h() -> None:
    from vpmu import Machine

    for profile in ("spec-3.0", "opensbi-1.1", "opensbi-1.6", "opensbi-1.9"):
        for isa, error in ((("h",), 0), (None, -2)):
            vcpu = Machine(get_profile(profile), memory=1 << 20, isa=isa).vcpu(0)
            assert {vcpu.ecall(Eid.RFENCE, fid, 1, 0).error for fid in (3, 4, 5, 6)} == {error}  # type: ignore[union-attr]
