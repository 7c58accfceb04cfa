"""Random sequences of PMU calls, and how they are made shorter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from ..spec.csr import Irq
from ..spec.sbi import U64, ConfigFlag, Eid, PmuFid
from .calls import Call, Ref, ecall, pmu
from .target import Facts

SIP = 33
"""sip among what `c` reads."""
LENGTH = (4, 14)
FW_CODES = (0xF0005, 0xF0008, 0xF000A)
"""Firmware events that a guest can make happen: SET_TIMER, FENCE_I_SENT, SFENCE_VMA_SENT."""
_TIMER = ecall(Eid.TIME, 0, U64)
_FENCE_I = ecall(Eid.RFENCE, 0, 1, 0)
_ABSENT_EVENTS = (0, 0xB, 0x1234, 0x10006, 0x1003F, 0x40000, 0xE0000)
_SKIP, _CLEAR, _AUTO = int(ConfigFlag.SKIP_MATCH), int(ConfigFlag.CLEAR_VALUE), int(ConfigFlag.AUTO_START)


class Generator:
    """Sequences for targets with these facts. What is known to make firmware write outside its arrays is
    left out.
    """

    def __init__(self, facts: Facts, seed: int) -> None:
        self._facts, self._random = facts, Random(seed)
        self._numbers = facts.numbers
        self._has_shmem = "SHMEM" in facts.numbers
        self._shared = False
        self._overflows = 5 if "LCOFI" in facts.numbers else 0

    def prologue(self) -> list[Call]:
        """Every firmware counter at 0 and free, whatever ran before: some implementations keep values over
        RESET.
        """
        first, total = self._facts.first_fw, self._facts.total
        calls = [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, 1 << index, 0, FW_CODES[index % len(FW_CODES)], 0)
            for index in range(first, total)
        ]
        firmware = self._numbers["FWSET"]
        return [
            *calls,
            pmu(PmuFid.COUNTER_START, 0, firmware, 1, 0),
            pmu(PmuFid.COUNTER_STOP, 0, firmware, 1),
        ]

    def sequence(self) -> list[Call]:
        """The next sequence."""
        self._shared = False
        calls = self._counting() if self._overflows and self._random.random() < 0.5 else []
        return [*calls, *(self._call(number) for number in range(self._random.randint(*LENGTH)))]

    def _counting(self) -> list[Call]:
        """Cycles or instructions are counted, perhaps to an overflow that is seen."""
        random = self._random
        event, index = random.choice(((1, 0), (2, 2)))
        value = random.choice((0, 7, U64 - 20, U64 - 999, U64 - 999, U64 >> 1))
        return [
            pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, self._numbers["ALL"], 0, event, 0),
            pmu(PmuFid.COUNTER_START, index, 1, 1, value),
            Call("w", (random.choice((1, 100, 5000)),)),
            Call("c", (random.choice((index, SIP)),)),
        ]

    def _call(self, number: int) -> Call:
        random = self._random
        kind = random.choices(
            (
                "cfg",
                "start",
                "stop",
                "fwread",
                "fwhi",
                "info",
                "event",
                "csr",
                "work",
                "shmem",
                "cfg-start",
                "sip",
                "page",
            ),
            (
                22,
                16,
                14,
                10,
                3,
                3,
                12,
                4,
                3,
                3 if self._has_shmem else 0,
                10,
                self._overflows,
                self._overflows and self._shared and 6,
            ),
        )[0]
        match kind:
            case "cfg" | "cfg-start":
                return self._config(plain=kind == "cfg-start")
            case "start":
                flags = random.choice((0, 1, 1, 1, 2, 3, 4, 1 << 63))
                return pmu(
                    PmuFid.COUNTER_START,
                    *self._set(),
                    flags,
                    random.choice((0, 1, 7, 1 << 40, U64, U64 - 999)),
                )
            case "stop":
                return pmu(PmuFid.COUNTER_STOP, *self._set(), random.choice((0, 0, 1, 1, 2, 3, 4)))
            case "fwread":
                return pmu(PmuFid.COUNTER_FW_READ, self._index())
            case "fwhi":
                return pmu(PmuFid.COUNTER_FW_READ_HI, self._index())
            case "info":
                return pmu(PmuFid.COUNTER_GET_INFO, self._index())
            case "csr":
                return Call("c", (random.choice((0, 2, *range(3, min(self._facts.first_fw, 8)))),))
            case "sip":
                return random.choice((Call("c", (SIP,)), Call("C", (1, 1 << Irq.LCOFI))))
            case "page":
                return Call("l", (self._numbers["PAGE"] + 8 * random.choice((0, 0, 1, 2, 3)),))
            case "work":
                return Call("w", (random.choice((1, 100, 5000)),))
            case "shmem":
                page = self._numbers["PAGE"]
                choices = [(page, 0), (page, 0), (U64, U64), (page + 8, 0), (self._numbers["HOLE"], 0)]
                if self._shared:  # what KVM does with a page after it has refused another one is no answer
                    choices.pop()
                lo, hi = random.choice(choices)
                self._shared = True
                return pmu(PmuFid.SNAPSHOT_SET_SHMEM, lo, hi, random.choice((0, 0, 0, 1)))
        return random.choice((_TIMER, _TIMER, _FENCE_I))

    def _index(self) -> int:
        total, first = self._facts.total, self._facts.first_fw
        return self._random.choice(
            (0, 1, 2, 3, 4, first - 1, first, first + 1, first + 2, total - 1, total, 63, 65)
        )

    def _set(self) -> tuple[int, int]:
        """(base, mask), mostly valid."""
        random, total, first = self._random, self._facts.total, self._facts.first_fw
        if random.random() < 0.12:
            base = random.choice((0, 1, total - 1, total, 63, U64, 1 << 32))
            mask = random.choice((0, 1, 2, 3, 1 << total, 1 << 63))
            # Never a set of valid counters only behind 2^64: KVM before 7.1 then takes the others, too.
            return base, mask & ~1 if base == U64 and mask > 1 else mask
        low = random.choice((0, 2, 3, 4, 5, first, first + 1))
        mask = random.choice((1, 1, 1, 3, 5, 7))
        return random.choice(((low, mask), (0, mask << low & U64)))

    def _config(self, *, plain: bool) -> Call:
        random, numbers = self._random, self._numbers
        firmware = random.random() < 0.45
        if firmware:
            event = random.choice(FW_CODES)
        else:
            event = random.choice(
                (1, 1, 2, 2, numbers.get("PROG", 2), numbers.get("ABSENT", 1), *_ABSENT_EVENTS[:2])
            )
        if random.random() < 0.06:
            event = random.choice(_ABSENT_EVENTS)
        flags = random.choice((0, 0, _CLEAR, _CLEAR, _AUTO, _CLEAR | _AUTO, 0x20, 0x100))
        if plain:
            base, mask = 0, numbers["ALL"]
        else:
            base, mask = self._set()
        if random.random() < 0.15:
            # SKIP_MATCH only of the right kind of counter, on one that exists, and of an event that exists.
            flags |= _SKIP
            event = random.choice(FW_CODES) if firmware else random.choice((1, 2, numbers.get("PROG", 2)))
            index = random.choice(
                range(self._facts.first_fw, self._facts.first_fw + 3) if firmware else (0, 2, 3, 4, 5)
            )
            base, mask = index, 1
        return pmu(PmuFid.COUNTER_CONFIG_MATCHING, base, mask, flags, event, 0)


def shrink(calls: list[Call], fails: Callable[[list[Call]], bool], *, attempts: int = 300) -> list[Call]:
    """The shortest sequence found, by leaving calls out and making numbers smaller, for which `fails` still
    holds.
    """
    left = attempts
    best = calls
    changed = True
    while changed and left:
        changed = False
        for candidate in _shorter(best):
            left -= 1
            if fails(candidate):
                best, changed = candidate, True
                break
            if not left:
                break
    return best


def _shorter(calls: list[Call]) -> Iterator[list[Call]]:
    size = len(calls) // 2
    while size:
        for start in range(0, len(calls), size):
            yield calls[:start] + calls[start + size :]
        size //= 2
    for place, call in enumerate(calls):
        for position, operand in enumerate(call.operands[2:] if call.op == "e" else call.operands):
            if isinstance(operand, Ref) or operand <= 1:
                continue
            at = position + (2 if call.op == "e" else 0)
            for smaller in {0, 1, operand & -operand, operand & operand - 1} - {operand}:
                operands = (*call.operands[:at], smaller, *call.operands[at + 1 :])
                if _simpler(smaller, operand):
                    yield [*calls[:place], Call(call.op, operands), *calls[place + 1 :]]


def _simpler(one: int, other: int) -> bool:
    return (one.bit_count(), one) < (other.bit_count(), other)
