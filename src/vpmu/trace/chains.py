"""What went wrong in a run, read out of its trace: a chain of records through the layers for each event that
was refused, never scheduled or frozen, for each interrupt that was lost, for each count that was not what the
hart did, for each fault that was ordered, and for the end of a run that did not end well.

Virtual time stands still while a call is served, so the records of one hart at one time are one chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from ..spec.csr import Csr
from ..spec.sbi import ConfigFlag, StartFlag, StopFlag, error_name
from ..spec.sbi_events import event_name
from .chain import EARLIER, HARMLESS, LATER, Chain, error_of, faults_of, mark, number
from .recorder import Record

MAX_CHAINS = 200
ALWAYS_COUNT = frozenset({"cycles", "instructions"})
"""Events that cannot stand still while the guest runs in a mode that is counted."""
_INHIBIT = ConfigFlag.SET_VUINH | ConfigFlag.SET_VSINH | ConfigFlag.SET_UINH | ConfigFlag.SET_SINH
_CSRS = range(Csr.CYCLE, Csr.CYCLE + 32)


@dataclass(slots=True)
class _Counter:
    """What the guest believes of a counter, and the chains that go on with it."""

    event: str
    inhibited: bool = False
    running: bool = False
    started: bool = False
    value: int | None = None
    since: int = 0
    open: list[Chain] = field(default_factory=list)
    history: deque[Record] = field(default_factory=lambda: deque(maxlen=EARLIER))


class Walker:
    """Takes the groups of a trace in their order, then `finish`; `chains` is what was found.

    `probed` is how many refusals were left out because the guest only looked which events there are.
    `judged`: the trace says whether the guest's counts were right.
    """

    def __init__(self) -> None:
        self.chains: list[Chain] = []
        self.left_out = self.probed = 0
        self.judged = False
        self._probes: list[Chain] = []
        self._probing = False
        self._last: deque[tuple[Record, ...]] = deque(maxlen=EARLIER)
        self._counters: dict[tuple[int, int], _Counter] = {}
        self._same: dict[tuple[object, ...], Chain] = {}

    def take(self, group: tuple[Record, ...]) -> None:
        """The records of one hart at one time."""
        call = next((r for r in group if r.layer == "sbi" and r.actor != "fault"), None)
        read = next((r for r in group if r.actor == "csr" and r.action == "read"), None)
        found = self._called(call, group) if call is not None else self._read(read, group) if read else None
        found = found or self._interrupted(group) or self._unscheduled(group) or self._ordered(group)
        for record in group:
            if record.actor == "oracle":
                self._wrong(record, group)
            elif (record.layer, record.actor, record.action) == ("vmm", "run", "end"):
                self._ended(record)
        self._last.append(group)
        if found is not None and found.kind == "frozen" and not found.later:
            for name in {str(record.args.get("event", "")) for record in found.records}:
                self._follow(found, [c for (h, _), c in self._counters.items() if c.event == name])

    def finish(self) -> None:
        """The trace is over: now it is known whether the guest was looking which events there are."""
        if self._probing:
            self.probed = sum(chain.times for chain in self._probes)
        else:
            self.chains = sorted([*self._probes, *self.chains], key=lambda chain: chain.records[0].time)
            self.left_out += len(self.chains[MAX_CHAINS:])
            del self.chains[MAX_CHAINS:]
        self._probes = []

    # --- calls

    def _called(self, call: Record, group: tuple[Record, ...]) -> Chain | None:
        hart, name = call.hart, call.actor
        if call.action == "host-lost":
            return self._add("host lost", f"{name}: the host goes down; {call.result} mends it", group)
        failed = call.action == "kvm-run-error"
        counters = self._named(call)
        for counter in counters:
            self._meets(counter, call)
        if name == "counter_get_info" and not failed and not faults_of(group):
            return None  # a guest that looks which counters there are
        if failed or error_of(call) not in HARMLESS:
            what = _asked(call)
            answer = "KVM_RUN failed" if failed else f"SBI_ERR_{error_name(error_of(call))}"
            probe = not failed and _asks_only(call) and not faults_of(group)
            return self._add("refused", f"{name}{what}: {answer}", group, self._probes if probe else None)
        if name == "counter_config_matching" and isinstance(call.result, tuple):
            counter = self._counters[hart, call.result[1]] = _Counter(
                event_name(number(call, "event_idx"), number(call, "event_data")),
                bool(number(call, "config_flags") & _INHIBIT),
            )
            counter.history.append(call)
            if number(call, "config_flags") & ConfigFlag.AUTO_START:
                counter.running, counter.value, counter.since = True, None, call.time
            counter.started = counter.running or not _asks_only(call)
            counters = [counter]
        elif name == "counter_start":
            preset = number(call, "start_flags") & StartFlag.SET_INIT_VALUE
            for counter in counters:
                counter.running, counter.started, counter.since = True, True, call.time
                counter.value = number(call, "initial_value") if preset else None
        chain = self._starts(call, group, counters)
        if name == "counter_stop":
            for counter in counters:
                counter.running = False
            if number(call, "stop_flags") & StopFlag.RESET:
                # Linux's driver asks for every event so, to see which there are (pmu_sbi_check_event).
                self._probing |= any(not counter.started for counter in counters)
                for key in [key for key, one in self._counters.items() if one in counters]:
                    del self._counters[key]
        return chain

    def _starts(self, call: Record, group: tuple[Record, ...], counters: list[_Counter]) -> Chain | None:
        if call.actor not in ("counter_start", "counter_config_matching"):
            return None
        lost = [r for r in group if r.layer == "perf" and r.action == "enable" and mark(r) != " "]
        kept = [r for r in group if r.actor == "perf_event_period" and mark(r) != " "]
        if lost:
            names = sorted({str(record.args.get("event")) for record in lost})
            title = f"{', '.join(names)}: no counter of the host, and {call.actor} answers SUCCESS"
            return self._follow(self._add("never scheduled", title, group), counters)
        if kept:
            title = f"{call.actor}: the new period is refused, and the old one says when an overflow comes"
            return self._follow(self._add("lost interrupt", title, group), counters)
        return None

    def _named(self, call: Record) -> list[_Counter]:
        """The counters that are believed to exist of those that a call is about."""
        if call.actor == "counter_fw_read":
            wanted = [number(call, "counter_idx")]
        elif call.actor in ("counter_start", "counter_stop"):
            base, mask = number(call, "counter_idx_base"), number(call, "counter_idx_mask")
            wanted = [base + bit for bit in range(64) if mask >> bit & 1]
        else:
            return []
        keys = [(call.hart, index) for index in wanted]
        return [self._counters[key] for key in keys if key in self._counters]

    # --- reads

    def _read(self, read: Record, group: tuple[Record, ...]) -> Chain | None:
        csr, value = number(read, "csr"), read.result
        counter = self._counters.get((read.hart, csr - Csr.CYCLE)) if csr in _CSRS else None
        if counter is None or not isinstance(value, int):
            return None
        known = bool(counter.open)
        self._meets(counter, read)
        before, counter.value = counter.value, value if counter.running else None
        must_count = counter.event in ALWAYS_COUNT and not counter.inhibited and read.time > counter.since
        counter.since = read.time
        if before == value and must_count and not known and not faults_of(group):
            title = f"{counter.event}: {value:,} again, although the guest went on"
            return self._follow(self._add("frozen", title, group), [counter])
        return None

    def _wrong(self, told: Record, group: tuple[Record, ...]) -> None:
        """A value that is not what the hart did, and what had happened to its counter."""
        index, event = number(told, "counter"), str(told.args.get("event"))
        if told.args.get("way") == "overflow":
            title = f"{event}: counter {index} wrapped and no interrupt was raised"
        else:
            value, truth = number(told, "told"), told.result if isinstance(told.result, int) else 0
            title = f"{event}: the guest read {value:,} from counter {index}, the hart did {truth:,}"
        counter = self._counters.get((told.hart, index))
        earlier = [] if counter is None else [r for r in counter.history if r not in group]
        because = [] if counter is None else [f"{chain.kind}: {chain.title}" for chain in counter.open]
        chain = self._add("silently wrong", title, group, same=("silently wrong", told.hart, index, event,
                                                               told.args.get("way")))  # fmt: skip
        if chain.times == 1:
            chain.earlier, chain.because = tuple(earlier), tuple(dict.fromkeys(because))

    # --- what no call leads to

    def _ended(self, end: Record) -> None:
        """The last record: how the run ended, and whether its counts were looked at."""
        self.judged = "wrong" in end.args
        if end.args.get("ok") is False:
            chain = self._add("ended badly", f"{end.result}: {end.args.get('reason') or 'no reason given'}",
                              (end,))  # fmt: skip
            chain.earlier = tuple(record for group in self._last for record in group)[-2 * EARLIER :]

    def _interrupted(self, group: tuple[Record, ...]) -> Chain | None:
        wrapped = [r for r in group if r.actor == "overflow" and r.action == "counter wrapped"]
        delivered = any(r.actor == "interrupt" and r.args.get("delivered") is not False for r in group)
        ordered = [r for r in faults_of(group) if r.action in ("interrupt", "overflow")]
        if not ordered and (not wrapped or delivered):
            return None
        events = sorted({str(r.args["event"]) for r in group if r.action == "overflow" and "event" in r.args})
        name = ", ".join(events) or "an interrupt"
        effect = ordered[0].result if ordered else None
        if isinstance(effect, dict) and "drop" not in effect:
            how = "comes late" if "delay" in effect else "comes twice"
            return self._add("late interrupt", f"{name}: the interrupt {how}", group)
        return self._add("lost interrupt", f"{name}: it overflowed, and the guest is not interrupted", group)

    def _unscheduled(self, group: tuple[Record, ...]) -> Chain | None:
        lost = [r for r in group if r.layer == "perf" and r.action == "reschedule" and mark(r) != " "]
        if not lost:
            return None
        names = ", ".join(sorted({str(record.args.get("event")) for record in lost}))
        return self._add("frozen", f"{names}: loses its counter while it runs; the count stands still", group)

    def _ordered(self, group: tuple[Record, ...]) -> Chain | None:
        """Faults that no other chain tells of."""
        faults = faults_of(group)
        if not faults:
            return None
        named = sorted({f"{fault.layer}.{fault.action}" for fault in faults})
        return self._add("fault", f"{', '.join(named)}: as the plan orders", group)

    # --- book-keeping

    def _add(
        self, kind: str, title: str, group: tuple[Record, ...], to: list[Chain] | None = None,
        same: tuple[object, ...] | None = None,
    ) -> Chain:  # fmt: skip
        key = same or (
            kind, title, tuple((r.layer, r.actor, r.action, str(r.args.get("reason"))) for r in group)
        )  # fmt: skip
        to = self.chains if to is None else to
        chain = self._same.get(key)
        if chain is not None:
            chain.times += 1
            return chain
        chain = Chain(kind, title, group)
        if len(to) < MAX_CHAINS:
            self._same[key] = chain
            to.append(chain)
        else:
            self.left_out += 1
        return chain

    def _follow(self, chain: Chain, counters: list[_Counter]) -> Chain:
        for counter in counters:
            counter.open.append(chain)
        return chain

    def _meets(self, counter: _Counter, record: Record) -> None:
        counter.history.append(record)
        for chain in counter.open:
            if len(chain.later) < LATER and record not in chain.later and record not in chain.records:
                chain.later.append(record)


def _asks_only(call: Record) -> bool:
    """Whether a configuration asks for nothing but a counter: no value, no modes, no start."""
    return call.actor == "counter_config_matching" and not number(call, "config_flags")


def _asked(call: Record) -> str:
    """What a refused call was about, in a few words."""
    if "event_idx" in call.args:
        return f" of {event_name(number(call, 'event_idx'), number(call, 'event_data'))}"
    if "counter_idx" in call.args:
        return f" of counter {number(call, 'counter_idx')}"
    return ""


def groups(records: Iterable[Record]) -> Iterator[tuple[Record, ...]]:
    """Records of one hart at one time, in the order of the trace."""
    for _, group in groupby(records, key=lambda record: (record.time, record.hart)):
        yield tuple(group)


def chains_of(records: Iterable[Record]) -> list[Chain]:
    """Everything that went wrong in a run, in the order in which it happened."""
    walker = Walker()
    for group in groups(records):
        walker.take(group)
    walker.finish()
    return walker.chains
