"""What the suite needs of an implementation, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import VpmuError
from ..profiles.behaviours import B
from ..profiles.opensbi_behaviours import OB
from ..profiles.profiles import IMPL_ID_OPENSBI, Profile
from ..spec.csr import Irq
from ..spec.sbi import U64, CounterInfo, CounterType, PmuFid, SbiError
from ..spec.sbi_events import HwEvent
from .calls import Call, Ref, Result, pmu

TOUCHED = 64
"""Pages that are touched at the end of memory to make TLB misses."""
MODELS = ("in-process", "agent")
"""Targets in which Python answers."""
MAX_INDEX = 64
"""Counters beyond this index no implementation has."""
PAGE = 4096
SCRATCH_PAGES = 4
"""Pages of memory that a target keeps for the tests, from `Target.scratch` on."""


class TargetError(VpmuError):
    """The target cannot be used or does not keep to the protocol: nothing is said about its PMU."""

    layer = "target"


class HostDown(TargetError):
    """A host does not come up; `console` is what it has said so far."""

    console = ""


class PeerAbsent(VpmuError):
    """The peer cannot be had on this machine: nothing is said about it, a command skips."""

    layer = "peers"
    exit_status = 4


class TargetLost(VpmuError):
    """The target does not answer any more: it was brought down."""

    layer = "target"


class NoAnswer(TargetLost):
    """It goes on, and says nothing: it hangs, or waits for what does not come."""


class HostStopped(TargetLost):
    """A real host's kernel panicked, powered off or rebooted."""


class Target(Protocol):
    """An implementation under test. `run` does a batch; `reset` brings the PMU back to a fresh state.

    scratch: address of SCRATCH_PAGES pages that tests may use; memory_end: first address behind the memory;
    hole: an address where there is none; slack: more instructions than the target needs around one call.
    missing: letters of the operations that it does not have. interrupts: the host signals overflows at once.
    switches: its user space can switch the PMU extension off.
    Raises TargetLost and TargetError.
    """

    name: str
    description: str
    profile: Profile
    scratch: int
    memory_end: int
    hole: int
    slack: int

    missing: frozenset[str]
    interrupts: bool
    switches: bool

    @property
    def revives(self) -> bool:
        """Whether `reset` brings it back after it was lost."""
        ...

    def run(self, calls: Sequence[Call]) -> list[Result]:
        """Do the calls in order; one result for each."""
        ...

    def reset(self, *, pmu: bool = True) -> None:
        """A fresh state, before the next batch. `pmu` False where it `switches`: without the extension."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a target says about itself; tests use these names instead of numbers."""

    total: int
    """num_counters."""
    first_fw: int
    """Index of the first firmware counter."""
    width: int
    """Bits of the first programmable counter."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Names that expressions of the suite may use."""


CANDIDATES = (0x10019, 0x1001B, 0x10021, 0x5, 0x10000, 0x10001, 0x7, 0xA)
"""Events for a programmable counter, the first that can be had is `PROG`: TLB misses, branches, loads."""
ABSENT = (0x4, 0x6, 0x9, 0x8, 0x3, 0x10030)
"""Events that a host is likely to lack, the first that it refuses is `ABSENT`."""


def probe(target: Target) -> Facts:
    """Ask the target what it has. Raises TargetError where it has no PMU."""
    target.reset()
    first = target.run([pmu(PmuFid.NUM_COUNTERS)])[0]
    if first.error != SbiError.SUCCESS or not 0 < first.value <= MAX_INDEX:
        raise TargetError(f"num_counters of {target.name}", expected="SUCCESS and at most 64", got=first)
    total = first.value
    infos = target.run([pmu(PmuFid.COUNTER_GET_INFO, index) for index in range(total)])
    valid = [index for index, info in enumerate(infos) if info.error == SbiError.SUCCESS]
    firmware = [i for i in valid if CounterInfo.unpack(infos[i].value).type is CounterType.FIRMWARE]
    first_fw = min(firmware, default=total)
    programmable = [index for index in valid if 3 <= index < first_fw]
    width = CounterInfo.unpack(infos[programmable[0]].value).width + 1 if programmable else 64
    hw = sum(1 << index for index in valid if index < first_fw)
    numbers = {
        "N": total,
        "HW": first_fw,
        "FW": first_fw,
        "NPROG": len(programmable),
        "NFW": len(firmware),
        "HPM0": programmable[0] if programmable else 3,
        "ALL": sum(1 << index for index in valid),
        "HWSET": hw,
        "PROGSET": sum(1 << index for index in programmable),
        "FWSET": sum(1 << index for index in firmware),
        "WIDTH": width,
        "PAGE": target.scratch,
        "PAGE2": target.scratch + PAGE,
        "PAGE3": target.scratch + 2 * PAGE,
        "HOLE": target.hole,
        "SLACK": target.slack,
        "U64": U64,
        "NONE": 0,
    }
    if target.memory_end:
        numbers["END"] = target.memory_end
    _probe_events(target, numbers)
    _probe_features(target, numbers)
    target.reset()
    return Facts(total, first_fw, width, numbers)


def _probe_features(target: Target, numbers: dict[str, int]) -> None:
    """What an implementation may lack: the later functions, counters of 64 bits, the overflow interrupt."""
    page, firmware = numbers["PAGE"], numbers["FW"]
    if firmware < 32:
        numbers["FWCSR"] = 1
    if target.profile.impl_id != IMPL_ID_OPENSBI or target.name in MODELS:
        numbers["BAD_ADDRESSES"] = 1  # real OpenSBI 1.6 and later faults in M mode at one, and hangs
    if target.profile.has(B.SNAPSHOT) or target.profile.has(OB.OPENSBI_NO_SHMEM):
        numbers["SNAPSHOTS"] = 1
    features = {
        "SHMEM": [pmu(PmuFid.SNAPSHOT_SET_SHMEM, page, 0, 0)],
        "EVINFO": [pmu(PmuFid.EVENT_GET_INFO, page, 0, 1, 0)],
        "FWHI": [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, numbers["FWSET"], 0, 0xF0005, 0),
            pmu(PmuFid.COUNTER_FW_READ_HI, Ref(0)),
        ],
    }
    for name, calls in features.items():
        target.reset()
        if target.run(calls)[-1].error != SbiError.NOT_SUPPORTED:
            numbers[name] = 1
    if target.memory_end and "PROG" in numbers and "t" not in target.missing:
        target.reset()
        counted = [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, numbers["PROGSET"], 2, numbers["PROG"], 0),
            pmu(PmuFid.COUNTER_START, Ref(0), 1, 1, 0),
            Call("t", (target.memory_end - TOUCHED * PAGE, TOUCHED)),
            Call("c", (numbers["HPM0"],)),
        ]
        if target.run(counted)[-1].value:
            numbers["MISSES"] = TOUCHED
    target.reset()
    both = [
        pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, numbers["ALL"], 0, int(HwEvent.INSTRUCTIONS), 0),
        pmu(PmuFid.COUNTER_GET_INFO, Ref(0)),
    ]
    if CounterInfo.unpack(target.run(both)[1].value).width == 63:
        numbers["WIDE"] = 1
    overflows = target.profile.has(B.OVERFLOW_INTERRUPT) or target.profile.has(OB.OPENSBI_CSR_DIRECT)
    if (
        target.interrupts
        and overflows
        and target.run([Call("C", (0, 1 << Irq.LCOFI))])[0].value >> Irq.LCOFI & 1
    ):
        numbers["LCOFI"] = 1


def _probe_events(target: Target, numbers: dict[str, int]) -> None:
    """PROG and ABSENT: an event that a programmable counter can count, and one that none can."""
    programmable = numbers["PROGSET"]
    for name, candidates, wanted in (("PROG", CANDIDATES, True), ("ABSENT", ABSENT, False)):
        for event in candidates:
            target.reset()
            answer = target.run([pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, programmable, 0, event, 0)])[0]
            if (answer.error == SbiError.SUCCESS) == wanted:
                numbers[name] = event
                break
