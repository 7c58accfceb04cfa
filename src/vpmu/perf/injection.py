"""A perf provider with faults: stands between KVM and the real one, asks the plan, and passes on what it may.

Exists only in machines that have a fault plan.
"""

from __future__ import annotations

from collections.abc import Callable

from ..faults.injector import Effect, Injector
from ..spec.perf import U64, PerfEventAttr, event_name
from .event import NEVER_QUIET, EventState, OverflowHandler, PerfError, PerfEvent, PerfProvider
from .host_pmu import HostPmuPerf


def changed(value: int, effect: Effect) -> int:
    """A count after `value`, `add` or `xor` of an effect, modulo 2^64."""
    if "value" in effect:
        return int(effect["value"]) & U64  # type: ignore[call-overload, no-any-return]
    if "add" in effect:
        return value + int(effect["add"]) & U64  # type: ignore[call-overload, no-any-return]
    return value ^ int(effect.get("xor", 0)) & U64  # type: ignore[call-overload, no-any-return]


AGAIN_NS = 1000
"""How often it is looked whether an interrupt that shall come twice has been taken once."""


def counted(host: HostPmuPerf, index: int) -> list[str]:
    """perf's names of what a counter of the hart counts: several events may count the same."""
    selector = host.physical.selector(index)
    names = [name for name, _, counts in host.description.countable() if counts == selector]
    return names + [
        f"r{config:x}" for config, _, counts in host.description.countable_raw() if counts == selector
    ]


class FaultyEvent:
    """A perf event whose seams ask the plan. See `perf.event.PerfEvent` for the contract."""

    __slots__ = ("_frozen", "_perf", "_refused", "attr", "inner", "name")

    def __init__(self, perf: FaultyPerf, name: str, attr: PerfEventAttr) -> None:
        self._perf, self.name, self.attr = perf, name, attr
        self.inner: PerfEvent
        self._refused: EventState | None = None  # what an injected failure of `enable` left behind
        self._frozen: int | None = None

    @property
    def state(self) -> EventState:
        return self.inner.state if self._refused is None else self._refused

    @property
    def sample_period(self) -> int:
        return self.inner.sample_period

    @property
    def host_noise(self) -> bool:
        return self.inner.host_noise

    @property
    def countable(self) -> bool:
        return self.inner.countable

    def enable(self) -> None:
        effect = self._perf.ask("perf.enable", self.name)
        if effect is not None and self.inner.state is not EventState.RELEASED:
            self._refused = EventState(str(effect["state"]))
            return
        self._refused = None
        self.inner.enable()

    def disable(self) -> None:
        if self._refused is EventState.INACTIVE:
            self._refused = None
        self.inner.disable()

    def release(self) -> None:
        self._refused = None
        self.inner.release()

    def read(self) -> int:
        effect = self._perf.ask("perf.read", self.name)
        value = self.inner.read()
        if effect is None:
            self._frozen = value
            return value
        if "freeze" in effect:
            return value if self._frozen is None else self._frozen
        return changed(value, effect)

    def follows(self) -> None:
        """Each read asks the plan."""

    def set_period(self, period: int) -> PerfError | None:
        effect = self._perf.ask("perf.period", self.name)
        if effect is not None:
            return PerfError(int(effect["errno"]), "set period (injected)", step="set period")  # type: ignore[call-overload]
        return self.inner.set_period(period)

    def restart_with_period(self, period: int) -> None:
        self.inner.restart_with_period(period)


class FaultyPerf:
    """A PerfProvider around another one, for one hart."""

    def __init__(self, inner: PerfProvider, injector: Injector, hart_id: int) -> None:
        self.inner, self.injector, self.hart_id = inner, injector, hart_id
        self._late: list[tuple[int, Callable[[], None]]] = []
        self._unclaimed: list[tuple[int, int, Callable[[int], None], bool]] = []  # due, index, told, again
        self.taken: Callable[[], bool] = lambda: True
        """Whether the guest has taken the last overflow interrupt: the next can be told from it."""
        if isinstance(inner, HostPmuPerf) and injector.wants("hart.overflow"):
            inner.between = self._between
        self._taken: list[tuple[int, tuple[int, ...]]] = []

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def usable(self) -> bool:
        return self.inner.usable

    @property
    def num_hw_counters(self) -> int:
        return self.inner.num_hw_counters

    @property
    def width(self) -> int:
        return self.inner.width

    quiet = NEVER_QUIET
    """A plan may ask for anything at any time."""

    def ask(self, site: str, event: str) -> Effect | None:
        """What the plan says of an event here."""
        return self.injector.ask(site, self.hart_id, event=event)

    def create(self, attr: PerfEventAttr, overflow: OverflowHandler | None = None) -> PerfEvent:
        """As the provider below. A plan can make it answer None, the NULL pointer that IS_ERR() lets pass."""
        name = event_name(attr.type, attr.config)
        effect = self.ask("perf.create", name)
        if effect is not None:
            if "null" in effect:
                return None  # type: ignore[return-value]
            raise PerfError(int(effect["errno"]), "create (injected)", step="injected")  # type: ignore[call-overload]
        event = FaultyEvent(self, name, attr)
        handler = None if overflow is None else lambda _inner: self._overflow(event, overflow)
        # Enabling is a step of its own, which may fail where creation does not.
        event.inner = self.inner.create(attr._replace(disabled=True), handler)
        if not attr.disabled:
            event.enable()
        return event

    def _overflow(self, event: FaultyEvent, handler: OverflowHandler) -> None:
        def deliver() -> None:
            # the driver's handler looks at counters in use alone (pmu_sbi_ovf_handler)
            if event.inner.state is EventState.ACTIVE:
                handler(event)

        counter = getattr(event.inner, "counter", None)
        effect = self.injector.ask("hart.overflow", self.hart_id, event=event.name, counter=counter)
        if effect is None:
            handler(event)
        elif "duplicate" in effect:
            handler(event)
            handler(event)
        elif "delay" in effect:
            due = self.injector.clock() + int(effect["delay"])  # type: ignore[call-overload]
            self._late.append((due, deliver))
            self.injector.until.append(due)

    def _between(self, index: int, told: Callable[[int], None]) -> None:
        """An overflow of a counter that is no event's: the hart's own, of firmware or of M mode."""
        host = self.inner
        assert isinstance(host, HostPmuPerf)
        wanted = {
            rule.match.get("event") for rule in self.injector.plan.rules if rule.site == "hart.overflow"
        }
        names = counted(host, index)
        event = next((name for name in names if name in wanted), names[0] if names else None)
        effect = self.injector.ask("hart.overflow", self.hart_id, event=event, counter=index)
        if effect is None or "duplicate" in effect:
            told(index)
        if effect is not None and "drop" not in effect:
            delay = int(effect.get("delay", AGAIN_NS))  # type: ignore[call-overload]
            self._later(delay, index, told, again="duplicate" in effect)

    def _later(self, delay: int, index: int, told: Callable[[int], None], *, again: bool) -> None:
        due = self.injector.clock() + delay
        self._unclaimed.append((due, index, told, again))
        self.injector.until.append(due)

    def budget(self) -> int | None:
        """As the provider below, or until the plan wants to be asked."""
        budget = self.inner.budget()
        if not self.injector.has_times:
            return budget
        now = self.injector.clock()
        due = self.injector.next_time(now)
        if due is None:
            return budget
        return due - now if budget is None else min(budget, due - now)

    def poll(self) -> None:
        """As the provider below; then the overflows whose delay is over."""
        self.inner.poll()
        if not self._late and not self._unclaimed:
            return
        now = self.injector.clock()
        for entry in [entry for entry in self._unclaimed if entry[0] <= now]:
            self._unclaimed.remove(entry)
            due, index, told, again = entry
            self.injector.until.remove(due)
            if again and not self.taken():
                self._later(AGAIN_NS, index, told, again=True)
            else:
                told(index)
        for late in [late for late in self._late if late[0] <= now]:
            self._late.remove(late)
            self.injector.until.remove(late[0])
            late[1]()

    def elapse(self) -> None:
        """What happens to the host by itself: other users of its counters come and go, a counter changes."""
        host = self.inner
        if not isinstance(host, HostPmuPerf):
            return
        now = self.injector.clock()
        for taken in [taken for taken in self._taken if taken[0] <= now]:
            self._taken.remove(taken)
            self.injector.until.remove(taken[0])
            host.give_back(taken[1])
        effect = self.injector.ask("perf.starve", self.hart_id)
        if effect is not None:
            taken_now = host.take_away(int(effect.get("counters", 29)))  # type: ignore[call-overload]
            if "for" in effect:
                due = now + int(effect["for"])  # type: ignore[call-overload]
                self._taken.append((due, taken_now))
                self.injector.until.append(due)
        if not self.injector.wants("hart.counter"):
            return
        for index in host.physical.layout.indices:
            effect = self.injector.ask("hart.counter", self.hart_id, counter=index)
            if effect is not None:
                host.physical.write(index, changed(host.physical.read(index), effect))
