"""One logical counter of a virtual PMU: what is bound to it, and how its value is made of a stored part and
perf's total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..perf.event import PerfEvent
from ..spec.sbi import U64, CounterInfo, CounterType
from ..spec.sbi_events import EVENT_IDX_INVALID

PERIOD_MAX: Final = (1 << 63) - 1
"""The longest period that perf_event_period accepts."""

MAX_COUNTERS: Final = 64
MAX_FW_CODES: Final = 32
"""Sizes of KVM's arrays of counters and of firmware event codes (RISCV_KVM_MAX_COUNTERS, _MAX_FW_CTRS)."""

GARBAGE: Final = 0xBAD0_0BAD_BAD0_0BAD
"""Stands for host memory that KVM reads where it should not. Real hosts return anything."""


@dataclass(slots=True)
class FwState:
    """State of a firmware event code, shared by all counters bound to it (struct kvm_fw_event)."""

    value: int = 0
    started: bool = False
    tainted: bool = False


class Counter:
    """One logical counter (struct kvm_pmc). `info` is None for an index that is no counter.

    The value of a hardware counter is `value + event.read() - mark`; of a firmware counter it is `value`, or
    its code's FwState where firmware state is kept per code.
    """

    __slots__ = (
        "event",
        "event_idx",
        "firmware",
        "idx",
        "in_use",
        "info",
        "mark",
        "mask",
        "overflown",
        "started",
        "tainted",
        "value",
    )

    def __init__(self, idx: int, info: CounterInfo | None) -> None:
        self.idx = idx
        self.info = info
        self.firmware = info is not None and info.type is CounterType.FIRMWARE
        self.mask = (2 << info.width) - 1 if info is not None else U64
        self.event: PerfEvent | None = None
        self.event_idx = EVENT_IDX_INVALID
        self.in_use = False
        self.started = False
        self.overflown = False
        self.value = 0
        self.mark = 0
        self.tainted = False

    @property
    def code(self) -> int:
        """Code part of the bound event; 0xFFFF where none is bound."""
        return self.event_idx & 0xFFFF

    def set_value(self, value: int) -> None:
        """Make `value` the value from now on; what the event has counted so far no longer matters."""
        self.value = value & U64
        self.tainted = False
        self.mark = self.event.read() if self.event is not None else 0

    def total(self) -> int:
        """Stored value and everything counted since, not reduced to the counter's width."""
        if self.event is None:
            return self.value
        return self.value + self.event.read() - self.mark

    def current(self) -> int:
        """The value now, as the specification means it: modulo 2^width."""
        return self.total() & self.mask

    def fold(self) -> None:
        """Move what the event has counted into the stored value."""
        event = self.event
        if event is not None:
            self.value = self.value + event.read() - self.mark & U64
            self.tainted |= event.host_noise
            self.mark = event.read()

    def accumulate(self) -> int:
        """KVM's read until 7.2: the event's total is added to the stored value, each time."""
        if self.event is not None:
            self.tainted |= self.event.host_noise
            self.value = (self.value + self.event.read()) & U64
        return self.value

    def attach(self, event: PerfEvent) -> None:
        """Bind a perf event; it counts from here."""
        self.event = event
        self.mark = event.read()

    def release(self) -> None:
        """Give the perf event back; counts that were not folded are lost."""
        if self.event is not None:
            self.event.disable()
            self.event.release()
            self.event = None
            self.mark = 0

    def unbind(self) -> None:
        """Forget the SBI event. The perf event, if any, is the caller's business."""
        self.event_idx = EVENT_IDX_INVALID
        self.in_use = False
        self.overflown = False

    def kvm_period(self, *, zero_too_large: bool) -> int:
        """The sample period that KVM computes from the stored value, not from the current one."""
        if self.value:
            return -self.value & self.mask
        return self.mask + 1 & U64 if zero_too_large else self.mask

    def exact_period(self) -> int:
        """Events until the counter wraps, as far as perf can be asked: a longer period than PERIOD_MAX never
        ends anyway.
        """
        return min(self.mask + 1 - self.current(), PERIOD_MAX)
