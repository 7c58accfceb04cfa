"""What went wrong in a run, read out of its trace: a chain of records through the layers for each event that
was refused, never scheduled or frozen, for each interrupt that was lost, and for each fault that was ordered.

Virtual time stands still while a call is served, so the records of one hart at one time are one chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from ..spec.csr import Csr
from ..spec.sbi import ConfigFlag, SbiError, StartFlag, StopFlag, error_name
from ..spec.sbi_events import event_name
from .recorder import LAYERS, Record
from .views import as_object as record_object
from .views import words

LATER, MAX_CHAINS = 3, 200
ALWAYS_COUNT = frozenset({"cycles", "instructions"})
"""Events that cannot stand still while the guest runs in a mode that is counted."""
_INHIBIT = ConfigFlag.SET_VUINH | ConfigFlag.SET_VSINH | ConfigFlag.SET_UINH | ConfigFlag.SET_SINH
_HARMLESS = frozenset({int(SbiError.SUCCESS), int(SbiError.ALREADY_STARTED), int(SbiError.ALREADY_STOPPED)})
_CREATING = frozenset({"create", "enable", "reschedule", "refuse"})
_CSRS = range(Csr.CYCLE, Csr.CYCLE + 32)


@dataclass(slots=True)
class Chain:
    """One thing that went wrong: its kind, one sentence, the records from the moment, and what came of it.

    `later`: the next few records in which the guest meets the same counter. `times`: how often the same
    happened.
    """

    kind: str
    title: str
    records: tuple[Record, ...]
    later: list[Record] = field(default_factory=list)
    times: int = 1

    @property
    def culprit(self) -> Record | None:
        """The record of the lowest layer that refused, or of the fault that was ordered."""
        marked = [record for record in self.records if mark(record) != " "]
        faults = [record for record in marked if record.actor == "fault"]
        return max(faults or marked, key=lambda record: _depth(record.layer), default=None)


def mark(record: Record) -> str:
    """`!` for a fault that was ordered, `x` where a layer refused or failed, a space for anything else."""
    if record.actor == "fault":
        return "!"
    result = record.result
    if record.layer == "perf":
        wrong = record.action in _CREATING and result not in ("ok", "active")
    elif record.layer == "sbi":
        wrong = record.action == "kvm-run-error" or _error(record) not in _HARMLESS
    elif record.actor == "perf_event_period":  # perf refuses 2^63 and more every time: no guest waits so long
        wrong = record.action == "refused" and 0 < _number(record, "period") < 1 << 63
    else:
        wrong = record.action in ("refuse", "refused", "failed") or record.args.get("delivered") is False
    return "x" if wrong else " "


def _error(record: Record) -> int:
    result = record.result
    return result[0] if isinstance(result, tuple) and result and isinstance(result[0], int) else 0


def _number(record: Record, key: str) -> int:
    value = record.args.get(key, 0)
    return value if isinstance(value, int) else 0


@dataclass(slots=True)
class _Counter:
    """What the guest believes of a counter, and the chains that go on with it."""

    event: str
    inhibited: bool = False
    running: bool = False
    value: int | None = None
    since: int = 0
    open: list[Chain] = field(default_factory=list)


class Walker:
    """Takes the groups of a trace in their order; `chains` is what was found."""

    def __init__(self) -> None:
        self.chains: list[Chain] = []
        self.left_out = 0
        self._counters: dict[tuple[int, int], _Counter] = {}
        self._same: dict[tuple[object, ...], Chain] = {}

    def take(self, group: tuple[Record, ...]) -> None:
        """The records of one hart at one time."""
        call = next((r for r in group if r.layer == "sbi" and r.actor != "fault"), None)
        read = next((r for r in group if r.actor == "csr" and r.action == "read"), None)
        found = self._called(call, group) if call is not None else self._read(read, group) if read else None
        found = found or self._interrupted(group) or self._unscheduled(group) or self._ordered(group)
        if found is not None and found.kind == "frozen" and not found.later:
            for name in {str(record.args.get("event", "")) for record in found.records}:
                self._follow(found, [c for (h, _), c in self._counters.items() if c.event == name])

    # --- calls

    def _called(self, call: Record, group: tuple[Record, ...]) -> Chain | None:
        hart, name = call.hart, call.actor
        failed = call.action == "kvm-run-error"
        counters = self._named(call)
        for counter in counters:
            self._meets(counter, call)
        if name == "counter_get_info" and not failed and not _faults(group):
            return None  # a guest that looks which counters there are
        if failed or _error(call) not in _HARMLESS:
            what = _asked(call)
            answer = "KVM_RUN failed" if failed else f"SBI_ERR_{error_name(_error(call))}"
            return self._add("refused", f"{name}{what}: {answer}", group)
        if name == "counter_config_matching" and isinstance(call.result, tuple):
            counter = self._counters[hart, call.result[1]] = _Counter(
                event_name(_number(call, "event_idx"), _number(call, "event_data")),
                bool(_number(call, "config_flags") & _INHIBIT),
            )
            if _number(call, "config_flags") & ConfigFlag.AUTO_START:
                counter.running, counter.value, counter.since = True, None, call.time
            counters = [counter]
        elif name == "counter_start":
            preset = _number(call, "start_flags") & StartFlag.SET_INIT_VALUE
            for counter in counters:
                counter.running, counter.since = True, call.time
                counter.value = _number(call, "initial_value") if preset else None
        chain = self._starts(call, group, counters)
        if name == "counter_stop":
            for counter in counters:
                counter.running = False
            if _number(call, "stop_flags") & StopFlag.RESET:
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
            wanted = [_number(call, "counter_idx")]
        elif call.actor in ("counter_start", "counter_stop"):
            base, mask = _number(call, "counter_idx_base"), _number(call, "counter_idx_mask")
            wanted = [base + bit for bit in range(64) if mask >> bit & 1]
        else:
            return []
        keys = [(call.hart, index) for index in wanted]
        return [self._counters[key] for key in keys if key in self._counters]

    # --- reads

    def _read(self, read: Record, group: tuple[Record, ...]) -> Chain | None:
        csr, value = _number(read, "csr"), read.result
        counter = self._counters.get((read.hart, csr - Csr.CYCLE)) if csr in _CSRS else None
        if counter is None or not isinstance(value, int):
            return None
        known = bool(counter.open)
        self._meets(counter, read)
        before, counter.value = counter.value, value if counter.running else None
        must_count = counter.event in ALWAYS_COUNT and not counter.inhibited and read.time > counter.since
        counter.since = read.time
        if before == value and must_count and not known and not _faults(group):
            title = f"{counter.event}: {value:,} again, although the guest went on"
            return self._follow(self._add("frozen", title, group), [counter])
        return None

    # --- what no call leads to

    def _interrupted(self, group: tuple[Record, ...]) -> Chain | None:
        wrapped = [r for r in group if r.actor == "overflow" and r.action == "counter wrapped"]
        delivered = any(r.actor == "interrupt" and r.args.get("delivered") is not False for r in group)
        ordered = [r for r in _faults(group) if r.action in ("interrupt", "overflow")]
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
        faults = _faults(group)
        if not faults:
            return None
        named = sorted({f"{fault.layer}.{fault.action}" for fault in faults})
        return self._add("fault", f"{', '.join(named)}: as the plan orders", group)

    # --- book-keeping

    def _add(self, kind: str, title: str, group: tuple[Record, ...]) -> Chain:
        key = (kind, title, tuple((r.layer, r.actor, r.action, str(r.args.get("reason"))) for r in group))
        chain = self._same.get(key)
        if chain is not None:
            chain.times += 1
            return chain
        chain = Chain(kind, title, group)
        if len(self.chains) < MAX_CHAINS:
            self._same[key] = chain
            self.chains.append(chain)
        else:
            self.left_out += 1
        return chain

    def _follow(self, chain: Chain, counters: list[_Counter]) -> Chain:
        for counter in counters:
            counter.open.append(chain)
        return chain

    def _meets(self, counter: _Counter, record: Record) -> None:
        for chain in counter.open:
            if len(chain.later) < LATER and record not in chain.later and record not in chain.records:
                chain.later.append(record)


def _faults(group: tuple[Record, ...]) -> list[Record]:
    return [record for record in group if record.actor == "fault"]


def _asked(call: Record) -> str:
    """What a refused call was about, in a few words."""
    if "event_idx" in call.args:
        return f" of {event_name(_number(call, 'event_idx'), _number(call, 'event_data'))}"
    if "counter_idx" in call.args:
        return f" of counter {_number(call, 'counter_idx')}"
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
    return walker.chains


def as_text(chain: Chain) -> str:
    """A chain for a person: the sentence, then the layers from the guest down (`!` a fault that was ordered,
    `x` where a layer refused), then what came of it.
    """
    first = chain.records[0]
    again = f", {chain.times} times" if chain.times > 1 else ""
    lines = [f"{first.time:,} ns, hart {first.hart}: {chain.kind}{again}: {chain.title}"]
    ordered = sorted(chain.records, key=lambda record: _depth(record.layer))
    lines += [f"  {mark(record)} {record.layer:<5}  {words(record)}" for record in ordered]
    lines += [f"  > {record.time:,} ns  {words(record)}" for record in chain.later]
    return "\n".join(lines)


def _depth(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def as_object(chain: Chain) -> dict[str, object]:
    """A chain for `--json`."""
    culprit = chain.culprit
    return {
        "kind": chain.kind, "title": chain.title, "time": chain.records[0].time,
        "hart": chain.records[0].hart, "times": chain.times,
        "layer": None if culprit is None else culprit.layer,
        "records": [record_object(record) for record in chain.records],
        "later": [record_object(record) for record in chain.later],
    }  # fmt: skip
