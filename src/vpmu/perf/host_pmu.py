"""The perf layer of a described host: Linux's perf core, RISC-V driver and firmware over the physical PMU
of a hart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vpmu.errors import MachineError, UsageError
from vpmu.hart.events import Mode
from vpmu.hart.pmu import FIRST_PROGRAMMABLE, PhysicalPmu
from vpmu.perf.creation import HostKernel, create, parse_orders
from vpmu.perf.description import HostPmuDescription, host_pmu_names, load_host_pmu
from vpmu.perf.driver import Driver, Refusal
from vpmu.perf.event import OverflowHandler, PerfError
from vpmu.perf.firmware import Firmware
from vpmu.perf.host_cpu import Cpu, ctx_resched
from vpmu.perf.host_event import HostPmuEvent, KnownAttr, known_attr
from vpmu.spec.perf import PerfEventAttr, event_name
from vpmu.trace.recorder import NULL, Recorder

__all__ = ["HostPmuDescription", "HostPmuPerf", "host_pmu_names", "load_host_pmu"]

_MOST_KNOWN = 256


class HostPmuPerf:
    """PerfProvider on the PMU of one hart. `pmu` is to be built with `description.counters`.

    refuse: event (perf's name, `rHEX` for raw, `*` for all) -> errno, by number or name, that creation
    shall meet.
    starve: how many hpmcounters another user of the host holds, beside those that the description calls
    claimed.
    raw_event_bits: width of raw configs that the host driver takes, where it is not the description's.
    """

    def __init__(
        self,
        pmu: PhysicalPmu,
        description: HostPmuDescription,
        *,
        refuse: Mapping[str, int | str] | None = None,
        starve: int = 0,
        raw_event_bits: int | None = None,
        recorder: Recorder = NULL,
        hart_id: int = 0,
    ) -> None:
        layout = description.counters
        if pmu.layout != layout:
            raise ValueError(f"the PMU of hart {hart_id} is not the one that {description.name!r} describes")
        if not 0 <= starve <= layout.programmable:
            expected = f"0 to {layout.programmable}, the hpmcounters of {description.name}"
            raise UsageError("counters to starve", expected=expected, got=starve, layer="perf")
        free = [i for i in layout.indices if i >= FIRST_PROGRAMMABLE and i not in description.claimed]
        taken = free[len(free) - min(starve, len(free)) :]
        firmware = Firmware(pmu, {*description.claimed, *taken}, fixed_fallback=description.fixed_fallback)
        self.description = description
        self._pmu = pmu
        self._orders = parse_orders(refuse or {})
        self._kernel = HostKernel(Driver(description, raw_event_bits), no_exclude=not layout.sscofpmf)
        self._cpu = Cpu(pmu, firmware, recorder, hart_id)
        self._known: dict[int, KnownAttr] = {}  # by id of attrs that no step refuses
        self.quiet = pmu.quiet
        self.unclaimed: Callable[[int], None] | None = None
        """Told of the overflow of a counter that no event of this provider holds."""
        self.between: Callable[[int, Callable[[int], None]], None] | None = None
        """A fault plan: it hands such an overflow on, or does not."""

    @property
    def physical(self) -> PhysicalPmu:
        """The counters themselves."""
        return self._pmu

    @property
    def name(self) -> str:
        """Name of the description."""
        return self.description.name

    @property
    def usable(self) -> bool:
        """The host has Sscofpmf, without which KVM offers no PMU."""
        return self.description.counters.sscofpmf

    @property
    def num_hw_counters(self) -> int:
        """cycle, instret and the hpmcounters."""
        return self.description.num_hw_counters

    @property
    def width(self) -> int:
        """Bits of an hpmcounter; counter_info says one less."""
        return self.description.counters.width

    @property
    def held_counters(self) -> frozenset[int]:
        """Indices of the physical counters that are taken, by events or by other users of the host."""
        return frozenset(self._cpu.firmware.held)

    def create(self, attr: PerfEventAttr, overflow: OverflowHandler | None = None) -> HostPmuEvent:
        """perf_event_create_kernel_counter. PerfError names the step that refused; `creation.STEPS` lists
        them.
        """
        recorder = self._cpu.recorder
        known = self._known.get(id(attr))
        if known is not None and known.attr is attr and not recorder.enabled:
            event = HostPmuEvent(self._cpu, known, overflow)
            if not attr.disabled:
                event.enable()
            return event
        try:
            mapped = create(self._kernel, attr, self._orders)
        except PerfError as error:
            if recorder.enabled:
                name = event_name(attr.type, attr.config)
                result = f"{error.errno_name}: {error.reason}"
                recorder.emit("perf", "perf_event", "create", result, hart=self._cpu.hart, event=name)
            raise
        known = known_attr(self._cpu, attr, mapped)
        if not self._orders and len(self._known) < _MOST_KNOWN:
            self._known[id(attr)] = known
        event = HostPmuEvent(self._cpu, known, overflow)
        if recorder.enabled:
            recorder.emit("perf", "perf_event", "create", "ok", hart=self._cpu.hart, event=mapped.name)
        if not attr.disabled:
            event.enable()
        return event

    def revive(self, attr: PerfEventAttr, overflow: OverflowHandler | None, modes: Mode) -> HostPmuEvent:
        """An event as it was created once, for a snapshot that is brought back: nobody is asked again."""
        mapped = self._kernel.driver.event_map(attr.type, attr.config)
        if isinstance(mapped, Refusal):
            raise MachineError("an event of the snapshot does not exist on this host PMU", got=mapped.why)
        event = HostPmuEvent(self._cpu, known_attr(self._cpu, attr, mapped), overflow)
        event._modes = modes
        return event

    def take_away(self, counters: int) -> tuple[int, ...]:
        """Another user of the host pins so many hpmcounters, the last ones first; answers which it got.

        Pinned events of a CPU go before those of a thread. Where a counter that is in use goes, all events
        leave theirs and look for new ones, the oldest first (ctx_resched): the youngest find none.
        """
        cpu, held = self._cpu, self._cpu.firmware.held
        indices = [i for i in self.physical.layout.indices if i >= FIRST_PROGRAMMABLE]
        free = [i for i in reversed(indices) if i not in held]
        used = [i for i in reversed(indices) if i in cpu.active]
        taken = tuple((free + used)[:counters])
        if any(index in cpu.active for index in taken):
            ctx_resched(list(cpu.active.values()), lambda: held.update(taken))
        held.update(taken)
        return taken

    def give_back(self, taken: tuple[int, ...]) -> None:
        """The other user lets go of counters that `take_away` gave it; events that wait get them."""
        self._cpu.firmware.held.difference_update(taken)
        for event in list(self._cpu.waiting):
            event.reschedule()

    def budget(self) -> int | None:
        """How many more guest instructions may retire before a counter can overflow; None: no counter
        will.
        """
        return self._pmu.budget()

    def poll(self) -> None:
        """Take the host's overflow interrupts. Due before an exit is handled: the host takes them as the
        guest stops.
        """
        for index in self._pmu.poll():
            event = self._cpu.active.get(index)
            if event is not None:
                event.overflowed()
            elif self.unclaimed is not None:
                if self.between is None:
                    self.unclaimed(index)
                else:
                    self.between(index, self.unclaimed)
