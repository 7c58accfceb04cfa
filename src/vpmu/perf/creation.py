"""perf_event_create_kernel_counter, step by step: where each errno of a refusal comes from.

Source: kernel/events/core.c. A caller inside the kernel skips the checks of the system call (paranoid
level, descriptors, copy of the attr, bit 63 of the period), so those errnos are not here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from vpmu.errors import UnknownNameError, UsageError
from vpmu.perf.driver import Driver, MappedEvent, Refusal
from vpmu.perf.event import PerfError, errno_name
from vpmu.spec.perf import EVENTS, PerfEventAttr, event_name

Mapped = MappedEvent | Refusal
"""What the driver makes of an attr."""


class HostKernel(NamedTuple):
    """What the steps look at."""

    driver: Driver
    no_exclude: bool
    """The PMU has PERF_PMU_CAP_NO_EXCLUDE: a host without Sscofpmf."""


class Step(NamedTuple):
    """One step: the refusals that it decides itself, and those that the surroundings can cause and a user
    may order.
    """

    name: str
    check: Callable[[HostKernel, PerfEventAttr, Mapped], Refusal | None] | None
    orders: Mapping[int, str]
    """errno -> what would cause it."""


def _event_init(_kernel: HostKernel, _attr: PerfEventAttr, mapped: Mapped) -> Refusal | None:
    return mapped if isinstance(mapped, Refusal) else None


def _exclude(kernel: HostKernel, attr: PerfEventAttr, _mapped: Mapped) -> Refusal | None:
    if kernel.no_exclude and attr.excludes:
        return Refusal(errno.EINVAL, "the host PMU cannot exclude modes (no Sscofpmf)")
    return None


STEPS = (
    Step("allocation", None, {errno.ENOMEM: "no memory for the event"}),
    Step(
        "security hook",
        None,
        {errno.EACCES: "a security module refused", errno.EPERM: "a security module refused"},
    ),
    Step(
        "event_init",
        _event_init,
        {
            errno.ENOENT: "the host PMU does not count it",
            errno.EINVAL: "the driver finds it malformed",
            errno.EOPNOTSUPP: "the driver cannot do what it asks for",
            errno.ENODEV: "the module of the PMU is going away",
        },
    ),
    Step("exclude check", _exclude, {}),
    Step("context", None, {errno.ESRCH: "the task is exiting"}),
    Step("exclusive PMU", None, {errno.EBUSY: "another event has the PMU for itself"}),
)
"""In the order in which the kernel takes them; the first refusal wins."""

_CHECKS = tuple(step for step in STEPS if step.check)
_ORDERABLE = {number: why for step in STEPS for number, why in step.orders.items()}


def create(kernel: HostKernel, attr: PerfEventAttr, orders: Mapping[str, int]) -> MappedEvent:
    """Take all steps: the event that the attr stands for, or PerfError. `orders`: as `parse_orders`
    returns them.
    """
    mapped = kernel.driver.event_map(attr.type, attr.config)
    if not orders and isinstance(mapped, MappedEvent) and not (kernel.no_exclude and attr.excludes):
        return mapped  # no step has anything to say
    ordered = orders.get(event_name(attr.type, attr.config), orders.get("*"))
    for step in _CHECKS if ordered is None else STEPS:
        if ordered is not None and ordered in step.orders:
            raise _error(step, Refusal(ordered, f"{step.orders[ordered]} (ordered)"))
        refusal = step.check(kernel, attr, mapped) if step.check else None
        if refusal is not None:
            raise _error(step, refusal)
    assert isinstance(mapped, MappedEvent)  # event_init has refused anything else
    return mapped


def _error(step: Step, refusal: Refusal) -> PerfError:
    return PerfError(refusal.errno, f"{step.name}: {refusal.why}", step=step.name)


def parse_orders(refuse: Mapping[str, int | str]) -> dict[str, int]:
    """Check refusals that a user orders: event (perf's name, `rHEX`, or `*` for all) -> errno, as a
    number or a name.
    """
    orders: dict[str, int] = {}
    for event, code in refuse.items():
        if event != "*" and event not in EVENTS and not re.fullmatch("r[0-9a-f]+", event):
            raise UnknownNameError("event", event, [*EVENTS, "*"], layer="perf")
        number = code if isinstance(code, int) else getattr(errno, code, None)
        if number not in _ORDERABLE:
            known = ", ".join(map(errno_name, _ORDERABLE))
            raise UsageError(f"refusal of {event}", expected=f"one of {known}", got=code, layer="perf")
        orders[event] = number
    return orders
