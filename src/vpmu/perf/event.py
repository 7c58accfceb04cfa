"""What the layers above use of perf: an event, a provider that creates events, and the error of a refusal."""

from __future__ import annotations

import errno as errno_codes
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from vpmu.hart.events import Mode, Quiet
from vpmu.spec.perf import PerfEventAttr

if TYPE_CHECKING:
    from vpmu.hart.pmu import Selector


def errno_name(number: int) -> str:
    """`ENOENT` and the like, as the kernel's sources have it."""
    if number == errno_codes.EOPNOTSUPP:  # `errorcode` knows it by the C library's second name, ENOTSUP
        return "EOPNOTSUPP"
    return errno_codes.errorcode.get(number, str(number))


class PerfError(Exception):
    """The kernel refused: `errno` is positive, `reason` says which step refused and why."""

    def __init__(self, errno: int, reason: str, *, step: str = "") -> None:
        super().__init__(errno, reason)
        self.errno = errno
        self.reason = reason
        self.step = step

    @property
    def errno_name(self) -> str:
        """`ENOENT` and the like."""
        return errno_name(self.errno)

    def __str__(self) -> str:
        return f"perf: {self.errno_name}: {self.reason}"


class EventState(StrEnum):
    """Where an event is in its life (enum perf_event_state)."""

    OFF = "off"
    """Disabled: created so, or by `disable`."""
    INACTIVE = "inactive"
    """Enabled, and waits for a counter. A pinned event does not wait: it goes to ERROR."""
    ACTIVE = "active"
    """On a counter, counting."""
    ERROR = "error"
    """Pinned, and got no counter when it was enabled. Nobody is told; the count stands still."""
    RELEASED = "released"
    """Gone; only `read` still answers, with the last total."""


class PerfEvent(Protocol):
    """One kernel counter (struct perf_event) on the thread of a vCPU."""

    @property
    def attr(self) -> PerfEventAttr:
        """As it was at creation; the period that counts now is `sample_period`."""
        ...

    @property
    def state(self) -> EventState: ...

    @property
    def sample_period(self) -> int:
        """Events from one overflow to the next, unsigned 64 bits; 0 where the event does not sample."""
        ...

    @property
    def host_noise(self) -> bool:
        """True when the count includes instructions of the host: an unfiltered counter was used."""
        ...

    @property
    def countable(self) -> bool:
        """False where no counter of the host can count the event, whoever else lets go of one: a raw event,
        which the driver does not check (pmu_sbi_event_map), and the firmware has no row for it.
        """
        ...

    def enable(self) -> None:
        """perf_event_enable: tries to get a counter; never reports whether it did. From ERROR it tries
        again.
        """
        ...

    def disable(self) -> None:
        """perf_event_disable: gives the counter back. An event in ERROR stays there."""
        ...

    def read(self) -> int:
        """perf_event_read_value: events since creation, in all rounds of enable and disable; never reset."""
        ...

    def follows(self) -> tuple[int, Selector, Mode] | None:
        """What `read` will answer as long as nobody touches the event or its counter: a number, and what a
        selector has reached in some modes of the hart. None where that cannot be said.
        """
        ...

    def set_period(self, period: int) -> PerfError | None:
        """perf_event_period. It answers with an error and keeps the old period where the event does not
        sample, or the new one is 0 or has bit 63 set (EINVAL); it is not raised: KVM looks at no answer.
        """
        ...

    def restart_with_period(self, period: int) -> None:
        """What an overflow handler of KVM does: pmu->stop(PERF_EF_UPDATE), period_left := 0, any unsigned
        64-bit period, pmu->start(PERF_EF_RELOAD). Unlike `set_period` nothing is checked.
        """
        ...

    def release(self) -> None:
        """perf_event_release_kernel. An event that nobody releases keeps its counter."""
        ...


NEVER_QUIET = Quiet()
"""Of a provider that is to be asked before every entry; it stays as it is."""

OverflowHandler = Callable[[PerfEvent], None]
"""Called in host interrupt context when `sample_period` events have passed."""


class PerfProvider(Protocol):
    """Where events come from: a described host PMU, or the machine's own kernel."""

    @property
    def name(self) -> str: ...

    @property
    def usable(self) -> bool:
        """False: counts cannot be restricted to a guest (no Sscofpmf), so KVM offers no PMU."""
        ...

    @property
    def num_hw_counters(self) -> int:
        """Hardware counters of the host, `time` not among them (18 on QEMU virt)."""
        ...

    @property
    def width(self) -> int:
        """Bits of a programmable counter; counter_info of the SBI says one less."""
        ...

    def create(self, attr: PerfEventAttr, overflow: OverflowHandler | None = None) -> PerfEvent:
        """perf_event_create_kernel_counter on the vCPU's thread. PerfError where the kernel returns an errno.

        As in the kernel, an event whose attr is not `disabled` counts at once.
        """
        ...

    @property
    def quiet(self) -> Quiet:
        """How long `budget` and `poll` need not be asked."""
        ...

    def budget(self) -> int | None:
        """How many more guest instructions may retire before an overflow can happen; None: none will."""
        ...

    def poll(self) -> None:
        """Call the handlers of the events that have overflowed; due when `budget` instructions have
        retired.
        """
        ...
