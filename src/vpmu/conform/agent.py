"""A target behind a serial line: the agent (guests/agent_calls.S, guests/agent.c) does the batches."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, runtime_checkable

from ..errors import UnknownNameError
from ..profiles.profiles import IMPL_ID_KVM, IMPL_ID_NONE, IMPL_ID_OPENSBI, Profile, get_profile
from ..profiles.releases import LINUX_RANGE, OPENSBI_RANGE, known_linux, linux_release, parse_release
from ..spec.csr import Irq
from ..spec.sbi import SHMEM_DISABLE, U64, Eid, PmuFid, StopFlag
from .calls import OF_THE_HOST, Call, Operand, Ref, Result, ecall, pmu, resolve
from .frames import Frame, FrameReader
from .target import Target, TargetError, TargetLost

NAME = b"vpmu-agent"
VERSION = 1
ATTEMPTS = 8
PADDING = bytes(16)
"""Sent before a repetition: completes a frame for which the agent still waits."""
MAX_CALLS = 600
KVM_RUN_FAILED = -1000
"""a0 of an ecall that ended KVM_RUN: this minus the errno, put there by a user space that goes on behind
it.
"""
LOST = b"X"
"""Kind of an answer, with a text behind it: the machine below the agent is lost (vpmu.peers.monitor)."""
_HELLO = struct.Struct("<10sBQQQQ")
_RESULT = struct.Struct("<QQQ")


class Link(Protocol):
    """A line with bytes in both directions, any of which may be lost or changed on the way."""

    def send(self, data: bytes) -> None: ...

    def receive(self, patience: float) -> bytes:
        """What has arrived, after at most `patience` times the link's usual waiting time; empty where
        nothing did. Raises TargetLost where the other end is gone.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Exchange(Protocol):
    """A line on which a request has its answer, and nothing is lost."""

    def exchange(self, request: bytes) -> bytes:
        """The answer. Raises TargetLost."""
        ...

    def close(self) -> None: ...


class Framed:
    """Requests and answers in frames over a link, repeated until they arrive."""

    def __init__(self, link: Link) -> None:
        self._link, self._reader, self._sequence = link, FrameReader(), 0
        self.close = link.close
        self.repeated = 0

    def forget(self) -> None:
        """The other end has begun anew."""
        self._reader.forget()

    def exchange(self, request: bytes) -> bytes:
        """Send a request until its answer has come. Raises TargetLost after ATTEMPTS."""
        self._sequence = (self._sequence + 1) % 256
        packed = Frame(self._sequence, request).pack()
        for attempt in range(ATTEMPTS):
            if attempt:
                self.repeated += 1
                self._reader.forget()
            self._link.send(PADDING + packed if attempt else packed)
            while data := self._link.receive(min(1 + attempt, 3)):
                for frame in self._reader.feed(data):
                    if frame.sequence != self._sequence:
                        continue
                    if frame.payload[:1] == (b"v" if request == b"H" else b"R"):
                        return frame.payload
                    if frame.payload[:1] == LOST:
                        raise TargetLost(frame.payload[1:].decode(errors="replace"))
        raise TargetLost(f"no answer to a request after {ATTEMPTS} attempts")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the implementation below the agent says about itself (BASE)."""

    spec_version: int
    impl_id: int
    impl_version: int

    @property
    def release(self) -> str:
        """The implementation's version as its project writes it: `6.12.117`, `1.6`."""
        if self.impl_id == IMPL_ID_KVM:
            return linux_release(self.impl_version)
        if self.impl_id == IMPL_ID_OPENSBI:
            return f"{self.impl_version >> 16}.{self.impl_version & 0xFFFF}"
        return str(self.impl_version)

    @property
    def known(self) -> bool:
        """Whether somebody looked at this release: its profile is what it is, not what it may be."""
        if self.impl_id == IMPL_ID_KVM:
            return known_linux(self.release)
        if self.impl_id == IMPL_ID_OPENSBI:  # the hart below shows through: that of Debian 12 is known
            return self.release == "1.1"
        return self.impl_id == IMPL_ID_NONE

    def __str__(self) -> str:
        names = {IMPL_ID_OPENSBI: "OpenSBI", IMPL_ID_KVM: "KVM", IMPL_ID_NONE: "vpmu's specification"}
        name = names.get(self.impl_id, f"implementation {self.impl_id}")
        return f"{name} {self.release}, SBI {self.spec_version >> 24}.{self.spec_version & 0xFFFFFF}"


def profile_for(identity: Identity) -> Profile:
    """The profile of the release that this implementation says it is; of a release outside the range that was
    looked at, the nearest one inside. Raises TargetError where nothing is known of its kind.
    """
    if identity.impl_id == IMPL_ID_NONE:
        return get_profile("spec-3.0")
    known = {IMPL_ID_KVM: ("kvm", LINUX_RANGE), IMPL_ID_OPENSBI: ("opensbi", OPENSBI_RANGE)}
    if identity.impl_id not in known:
        raise TargetError(
            "implementation without a profile", expected=f"implementation id {sorted(known)}", got=identity
        )
    project, (first, last) = known[identity.impl_id]
    try:
        series = parse_release(identity.release)[:2]
    except ValueError:
        raise TargetError("implementation version", expected="a release", got=identity) from None
    nearest = first if series < parse_release(first) else last if series > parse_release(last) else ""
    return get_profile(f"{project}-{nearest or identity.release}")


def identity_of(target: Target) -> Identity:
    """What a target says about itself. Raises TargetLost."""
    spec, impl, version = (one.value for one in target.run([ecall(Eid.BASE, fid) for fid in range(3)]))
    return Identity(spec, impl, version)


class AgentTarget:
    """A target whose batches the agent at the other end of `link` does.

    profile None: the one that fits what the implementation reports. memory_end 0: not known. Raises
    TargetError where no agent answers.
    """

    fresh_kind = b"R"
    """Kind of a batch after `reset`: `F` where the other end then takes a fresh machine."""

    def __init__(
        self, link: Link | Exchange, name: str, description: str, *,
        profile: str | Profile | None = None, memory_end: int = 0,
        hole: int = 0x40_0000_0000, interrupts: bool = False, slack: int = 6000,
    ) -> None:  # fmt: skip
        self._line: Exchange = link if isinstance(link, Exchange) else Framed(link)
        hello = self._line.exchange(b"H")
        if len(hello) != _HELLO.size:
            raise TargetError("agent's greeting", expected=f"{_HELLO.size} bytes", got=len(hello))
        magic, version, self.hart, self.base, self.scratch, self.end = _HELLO.unpack(hello)
        if magic != NAME or version != VERSION:
            raise TargetError("agent", expected=f"{NAME.decode()} {VERSION}", got=f"{magic!r} {version}")
        self.name, self.memory_end, self.hole, self.slack = name, memory_end, hole, slack
        self.missing = frozenset("R") | OF_THE_HOST
        self.interrupts = interrupts
        self._fresh: list[Call] = []
        self._pending_reset = self._without_pmu = False
        self.switches = False
        self.rewind: Callable[[], None] | None = None
        """Takes all of the other end back to its start, where that can be had."""
        self.identity = identity_of(self)
        try:
            if isinstance(profile, Profile):
                self.profile = profile
            else:
                self.profile = profile_for(self.identity) if profile is None else get_profile(profile)
        except UnknownNameError:
            link.close()
            raise
        self.description = f"{description}: {self.identity}; expected: {self.profile.name}"
        self._fresh = self._reset_calls()

    def _reset_calls(self) -> list[Call]:
        """What brings the PMU back to a fresh state: no counter has an event, no page is set, nothing is
        pending.
        """
        total = self.run([pmu(PmuFid.NUM_COUNTERS)])[0].value
        counters = ((1 << min(total, 64)) - 1) & ~0b10
        calls = [pmu(PmuFid.COUNTER_STOP, 0, counters, int(StopFlag.RESET))]
        # Firmware may have bound something to index 1, which is no counter.
        calls.append(pmu(PmuFid.COUNTER_STOP, 1, 1, int(StopFlag.RESET)))
        calls.append(pmu(PmuFid.SNAPSHOT_SET_SHMEM, SHMEM_DISABLE, SHMEM_DISABLE, 0))
        calls.append(Call("C", (1, 1 << Irq.LCOFI | 1 << Irq.SOFTWARE)))
        return calls

    @property
    def repeated(self) -> int:
        """Requests that had to be sent again."""
        return self._line.repeated if isinstance(self._line, Framed) else 0

    @property
    def revives(self) -> bool:
        """A reset brings it back, however it was lost."""
        return self.rewind is not None

    def reset(self, *, pmu: bool = True) -> None:
        if self.rewind is not None:
            self.rewind()
            if isinstance(self._line, Framed):
                self._line.forget()
        self._pending_reset, self._without_pmu = True, not pmu

    def close(self) -> None:
        self._line.close()

    def _fresh_kind(self) -> bytes:
        return self.fresh_kind

    def run(self, calls: Sequence[Call]) -> list[Result]:
        if any(call.op in OF_THE_HOST for call in calls):
            return self._run_in_parts(calls)
        before = self._fresh if self._pending_reset else []
        kind = self._fresh_kind() if self._pending_reset else b"R"
        self._pending_reset = False
        everything = [*before, *(_moved(call, len(before)) for call in calls)]
        if len(everything) > MAX_CALLS:
            raise TargetError("batch", expected=f"at most {MAX_CALLS} calls", got=len(everything))
        answer = self._line.exchange(packed_batch(kind, everything, without_pmu=self._without_pmu))
        if len(answer) != 8 + _RESULT.size * len(everything):
            raise TargetError(
                "agent's answer", expected=f"{len(everything)} results", got=f"{len(answer)} bytes"
            )
        results = [
            _result(call.op, *numbers)
            for call, numbers in zip(everything, _RESULT.iter_unpack(answer[8:]), strict=True)
        ]
        return results[len(before) :]

    def _run_in_parts(self, calls: Sequence[Call]) -> list[Result]:
        """A batch in which the host does something between two calls of the guest."""
        if self._pending_reset and calls[0].op in OF_THE_HOST:
            self.run([pmu(PmuFid.NUM_COUNTERS)])  # the host shall work on the fresh machine
        results: list[Result] = []
        for of_host, part in groupby(calls, lambda call: call.op in OF_THE_HOST):
            if of_host:
                results += [self._ask_host(call.op, call.resolve(results)) for call in part]
                continue
            # What went before is numbers by now; a reference within the part keeps its distance.
            start = len(results)
            results += self.run([_settled(call, start, results) for call in part])
        return results

    def _ask_host(self, op: str, operands: Sequence[int]) -> Result:
        value = (*operands, 0)[0]
        answer = self._line.exchange(b"O" + struct.pack("<7sQQ", b"", ord(op), value))
        (numbers,) = _RESULT.iter_unpack(answer[8:])
        return _result(op, *numbers)


def packed_batch(kind: bytes, calls: Sequence[Call], *, without_pmu: bool = False) -> bytes:
    """The request to do these calls."""
    return kind + struct.pack("<HB4x", len(calls), without_pmu) + b"".join(map(_packed, calls))


def _moved(call: Call, by: int) -> Call:
    if not by:
        return call
    operands = tuple(Ref(one.index + by, one.bit) if isinstance(one, Ref) else one for one in call.operands)
    return Call(call.op, operands)


def _settled(call: Call, start: int, results: Sequence[Result]) -> Call:
    """The call in a batch that begins with what was its call number `start`."""
    operands: list[Operand] = []
    for operand in call.operands:
        if isinstance(operand, Ref) and operand.index >= start:
            operand = Ref(operand.index - start, operand.bit)
        elif isinstance(operand, Ref):
            operand = resolve(operand, results)
        operands.append(operand)
    return Call(call.op, tuple(operands))


def _packed(call: Call) -> bytes:
    references = shifted = 0
    words = []
    for place, operand in enumerate(call.operands):
        if isinstance(operand, Ref):
            references |= 1 << place
            shifted |= operand.bit << place
            words.append(operand.index)
        else:
            words.append(operand & U64)
    head = ord(call.op) | len(words) << 8 | references << 16 | shifted << 24
    return struct.pack(f"<{1 + len(words)}Q", head, *words)


def _result(op: str, a0: int, a1: int, trap: int) -> Result:
    cause = trap - 1 if trap else None
    if op == "e" and cause is None:
        error = a0 - (1 << 64) if a0 >> 63 else a0
        if KVM_RUN_FAILED - 4096 < error < KVM_RUN_FAILED:
            return Result(errno=KVM_RUN_FAILED - error)
        return Result(a1, error)
    return Result(a0, None, cause)
