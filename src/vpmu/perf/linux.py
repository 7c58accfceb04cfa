"""The machine's own perf: perf_event_open(2) on the thread that runs the guest.

Our guest is a part of this process, not a KVM guest, so KVM's attr is not passed as it is:

* type, config, pinned, disabled: as they are. What a raw config means is up to this machine's CPU.
* sample_period: at most 2^63 - 1. Unlike KVM, a process may not ask for more.
* exclude_kernel, exclude_hv: always 1. The host's kernel and hypervisor are not the guest. KVM's values
  filter modes of its guest, and all modes of ours run in user mode of this machine.
* exclude_user: 1 only where both modes of the guest are excluded, so that nothing counts.
* exclude_host, exclude_guest: 0. They tell a KVM guest from its host, and all of this process is host.
* config1: 0. KVM's bit is for the RISC-V driver; elsewhere config1 means other things.

So a count has the whole interpreter in it, not the guest's instructions alone: `host_noise` is always True.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct

from vpmu.perf.event import NEVER_QUIET, EventState, OverflowHandler, PerfError
from vpmu.spec.perf import U64, PerfEventAttr, PerfType, event_name
from vpmu.trace.recorder import NULL, Recorder

SYSCALL_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
"""perf_event_open by machine, as `uname -m` names it."""

_MAX_PERIOD = (1 << 63) - 1
_IOC_ENABLE, _IOC_DISABLE, _IOC_PERIOD = 0x2400, 0x2401, 0x40082404
_FLAG_FD_CLOEXEC = 8


class _Attr(ctypes.Structure):
    """struct perf_event_attr up to config2 (PERF_ATTR_SIZE_VER1, which every kernel accepts)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("disabled", ctypes.c_uint64, 1),
        ("inherit", ctypes.c_uint64, 1),
        ("pinned", ctypes.c_uint64, 1),
        ("exclusive", ctypes.c_uint64, 1),
        ("exclude_user", ctypes.c_uint64, 1),
        ("exclude_kernel", ctypes.c_uint64, 1),
        ("exclude_hv", ctypes.c_uint64, 1),
        ("other_flags", ctypes.c_uint64, 57),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
    )


def _period(period: int) -> int:
    return min(period, _MAX_PERIOD)


class LinuxEvent:
    """A descriptor of perf_event_open. `vpmu.perf.event.PerfEvent` has the contract of the public methods."""

    host_noise = True
    countable = True  # as far as anybody can tell without scheduling it

    def __init__(self, descriptor: int, attr: PerfEventAttr, handler: OverflowHandler | None) -> None:
        self.attr = attr
        self.state = EventState.OFF if attr.disabled else EventState.ACTIVE
        self._descriptor = descriptor
        self._handler = handler
        self._total = 0
        self._sample_period = attr.sample_period
        self._due = _period(attr.sample_period)  # total at which the next overflow is

    @property
    def sample_period(self) -> int:
        return self._sample_period

    def enable(self) -> None:
        if self.state is EventState.RELEASED:
            raise RuntimeError("perf: enable of a released event")
        fcntl.ioctl(self._descriptor, _IOC_ENABLE, 0)
        self.state = EventState.ACTIVE

    def disable(self) -> None:
        if self.state is EventState.ACTIVE:
            fcntl.ioctl(self._descriptor, _IOC_DISABLE, 0)
            self.state = EventState.OFF

    def read(self) -> int:
        if self.state is not EventState.RELEASED:
            data = os.read(self._descriptor, 8)
            if data:
                self._total = int.from_bytes(data, "little")
            else:  # end of file is how the kernel shows a pinned event in ERROR
                self.state = EventState.ERROR
        return self._total

    def follows(self) -> None:
        """The count is the host kernel's."""

    def set_period(self, period: int) -> PerfError | None:
        try:
            fcntl.ioctl(self._descriptor, _IOC_PERIOD, struct.pack("=Q", period))
        except OSError as error:
            why = error.strerror or "no reason given"
            return PerfError(error.errno or errno.EINVAL, f"set period: {why}", step="set period")
        self._set_due(period)
        return None

    def restart_with_period(self, period: int) -> None:
        # The kernel counts on for ever where KVM's period is one that a process may not have.
        fcntl.ioctl(self._descriptor, _IOC_PERIOD, struct.pack("=Q", _period(period & U64) or _MAX_PERIOD))
        self._set_due(period & U64)

    def release(self) -> None:
        if self.state is not EventState.RELEASED:
            self.read()
            os.close(self._descriptor)
            self.state = EventState.RELEASED

    def deliver_overflow(self) -> None:
        """Call the handler if the period has passed. The kernel's samples go nowhere: there is no buffer."""
        if self._handler is None or not self._sample_period or self.state is not EventState.ACTIVE:
            return
        if self.read() >= self._due:
            self._set_due(self._sample_period)
            self._handler(self)

    def _set_due(self, period: int) -> None:
        self._sample_period = period
        self._due = self.read() + (_period(period) or _MAX_PERIOD)


class LinuxPerf:
    """PerfProvider on this machine's kernel. Create events on the thread that runs the guest.

    num_hw_counters and width are what the guest is told; a process cannot ask the kernel for them.
    """

    name = "linux"
    usable = True

    def __init__(
        self,
        *,
        num_hw_counters: int = 18,
        width: int = 64,
        recorder: Recorder = NULL,
        hart_id: int = 0,
    ) -> None:
        self._recorder, self._hart = recorder, hart_id
        self.num_hw_counters = num_hw_counters
        self.width = width
        self._events: list[LinuxEvent] = []
        self._number = SYSCALL_NUMBERS.get(platform.machine())
        self._libc = ctypes.CDLL(None, use_errno=True)

    def create(self, attr: PerfEventAttr, overflow: OverflowHandler | None = None) -> LinuxEvent:
        """perf_event_open. PerfError with the kernel's errno and its words."""
        name, result = event_name(attr.type, attr.config), "ok"
        try:
            return self._open(attr, overflow)
        except PerfError as error:
            result = f"{error.errno_name}: {error.reason}"
            raise
        finally:
            if self._recorder.enabled:
                self._recorder.emit("perf", "perf_event", "create", result, hart=self._hart, event=name)

    def _open(self, attr: PerfEventAttr, overflow: OverflowHandler | None) -> LinuxEvent:
        name = event_name(attr.type, attr.config)
        if self._number is None:
            machine = platform.machine()
            why = f"perf_event_open: its number on {machine} is not known"
            raise PerfError(errno.ENOSYS, why, step="perf_event_open")
        if attr.type >= PerfType.MAX:
            # KVM passes 6 for what it does not know; on a machine that is whichever PMU came first.
            why = f"event_init: no PMU takes events of type {attr.type}"
            raise PerfError(errno.ENOENT, why, step="event_init")
        nothing = attr.exclude_user and attr.exclude_kernel
        native = _Attr(
            type=attr.type,
            size=ctypes.sizeof(_Attr),
            config=attr.config,
            sample_period=_period(attr.sample_period),
            disabled=attr.disabled,
            pinned=attr.pinned,
            exclude_user=nothing,
            exclude_kernel=True,
            exclude_hv=True,
        )
        this_thread, any_cpu, no_group = 0, -1, -1
        descriptor = self._libc.syscall(
            self._number, ctypes.byref(native), this_thread, any_cpu, no_group, _FLAG_FD_CLOEXEC
        )
        if descriptor < 0:
            number = ctypes.get_errno()
            why = f"perf_event_open: {name}: {os.strerror(number)}"
            raise PerfError(number, why, step="perf_event_open")
        event = LinuxEvent(descriptor, attr, overflow)
        self._events = [known for known in self._events if known.state is not EventState.RELEASED]
        self._events.append(event)
        return event

    quiet = NEVER_QUIET
    """The kernel's counters count by themselves."""

    def budget(self) -> int | None:
        """None: what the host counts is not the guest's instructions, so nothing can be said ahead."""
        return None

    def poll(self) -> None:
        """Call the handlers of the events whose period has passed: as exact as the polls are frequent."""
        for event in self._events:
            event.deliver_overflow()

    def close(self) -> None:
        """Release every event, also those that a guest has leaked."""
        for event in self._events:
            event.release()
        self._events.clear()
