"""What each call of a guest costs a real host: instructions by layer and by function, exact, so that two
builds can be held against each other.

A call is done ROUNDS times in one batch and the cheapest of them, which is warm and has no timer's tick in
it, is walked through by single steps. Both ways give the same number, or CostError says that they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..debug.call_tree import LAYERS
from ..errors import UsageError, VpmuError
from ..peers.world_switch import VIRTUAL, GuestExit, WorldSwitch
from ..spec.sbi import Eid, PmuFid, StartFlag, StopFlag
from .calls import Call, ecall, pmu

if TYPE_CHECKING:
    from .hooked import HookedHost

ROUNDS = 4
EVERY = 0x1FF_FFFF_FFFD
CYCLES, FIRMWARE_EVENT, UNKNOWN_EXTENSION = 1, 0xF0005, 0x0B00_0000
REFUSABLE = (0x10000, 0x10030, 0x6, 0x9, 0x4, 0x8, 0x3)
"""Events of which a host's perf refuses one, at least."""

_CFG = pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, EVERY, 0, CYCLES, 0)
_START = pmu(PmuFid.COUNTER_START, 0, 1, StartFlag.SET_INIT_VALUE, 0)
_STOP = pmu(PmuFid.COUNTER_STOP, 0, 1, 0)
_RESET = pmu(PmuFid.COUNTER_STOP, 0, 1, StopFlag.RESET)
_READ = Call("c", (0,))
_FW_CFG = pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, EVERY, 0, FIRMWARE_EVENT, 0)


class CostError(VpmuError):
    """A cost cannot be told."""

    layer = "host"


@dataclass(frozen=True, slots=True)
class Row:
    """A call, and what a guest does before and after it."""

    name: str
    call: Call
    before: tuple[Call, ...] = ()
    after: tuple[Call, ...] = ()


def rows(refused: int | None, firmware: int) -> tuple[Row, ...]:
    """The calls of the table. `refused`: an event that this host refuses; `firmware`: the number that it
    gives a firmware counter.
    """
    free = pmu(PmuFid.COUNTER_STOP, firmware, 1, StopFlag.RESET)
    found = [
        Row("BASE get_spec_version", ecall(Eid.BASE, 0)),
        Row("unknown extension", ecall(UNKNOWN_EXTENSION, 0)),
        Row("TIME set_timer", ecall(Eid.TIME, 0, (1 << 64) - 1)),
        Row("num_counters", pmu(PmuFid.NUM_COUNTERS)),
        Row("counter_get_info", pmu(PmuFid.COUNTER_GET_INFO, 0)),
        Row("config, a firmware event", _FW_CFG, (), (free,)),
        Row("counter_fw_read", pmu(PmuFid.COUNTER_FW_READ, firmware), (_FW_CFG,), (free,)),
        Row("config, granted", _CFG, (), (_RESET,)),
        Row("start", _START, (_CFG,), (_RESET,)),
        Row("read of cycle", _READ, (_CFG, _START), (_RESET,)),
        Row("stop", _STOP, (_CFG, _START), (_RESET,)),
        Row("stop with RESET, stopped", _RESET, (_CFG,)),
        Row("stop with RESET, running", _RESET, (_CFG, _START)),
    ]
    if refused is not None:
        call = pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, EVERY, 0, refused, 0)
        found.insert(5, Row(f"config, refused ({refused:#x})", call))
    return tuple(found)


def named(names: Sequence[str]) -> None:
    """UsageError for a text that no call's name holds."""
    known = [row.name for row in rows(REFUSABLE[0], 0)]
    for name in names:
        if not any(_holds(row, [name]) for row in known):
            raise UsageError("--only", expected=f"a part of: {', '.join(known)}", got=name)


def _holds(name: str, texts: Sequence[str]) -> bool:
    return any(text.casefold() in name.casefold() for text in texts)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one call: instructions in all, by layer, and (layer, function) -> (calls, own instructions)."""

    name: str
    total: int
    layers: Mapping[str, int]
    functions: Mapping[tuple[str, str], tuple[int, int]]

    def as_object(self) -> dict[str, object]:
        """For JSON, and for a baseline."""
        return {
            "call": self.name, "instructions": self.total, "layers": dict(self.layers),
            "functions": [
                {"layer": layer, "function": function, "calls": calls, "instructions": own}
                for (layer, function), (calls, own) in sorted(self.functions.items())
            ],
        }  # fmt: skip


def costs(host: HookedHost, names: Sequence[str] = ()) -> Iterator[Cost]:
    """The table of a host, or the rows whose name holds one of `names`. Raises CostError, TargetLost."""
    switch = WorldSwitch(host.machine, host.kernel)
    try:
        refused, firmware = _choices(host)
        for row in rows(refused, firmware):
            if not names or _holds(row.name, names):
                yield _cost(host, switch, row)
    finally:
        switch.remove()


def _choices(host: HookedHost) -> tuple[int | None, int]:
    host.fresh()
    asked = [pmu(PmuFid.COUNTER_CONFIG_MATCHING, 0, EVERY, 0, event, 0) for event in REFUSABLE]
    answers = host.target.run([*asked, _FW_CFG])
    refused = [event for event, one in zip(REFUSABLE, answers, strict=False) if one.error]
    return (refused[0] if refused else None), answers[-1].value


def _cost(host: HookedHost, switch: WorldSwitch, row: Row) -> Cost:
    batch = [*row.before, row.call, *row.after] * ROUNDS
    step = len(batch) // ROUNDS
    marked = [round_ * step + len(row.before) for round_ in range(ROUNDS)]
    seen = _run(host, switch, batch)
    if len(seen) != len(batch):
        raise CostError(f"cost of {row.name}", expected=f"{len(batch)} exits", got=len(seen))
    best = min(marked[1:], key=lambda index: _all(seen[index]))

    def stop_at(exit_: GuestExit) -> bool:
        return exit_ in _asked(switch.exits[-1:]) and len(_asked(switch.exits)) == best + 1

    switch.stop_at = stop_at
    try:
        with host.walked() as trees:
            _run(host, switch, batch)
    finally:
        switch.stop_at = None
    if not trees or trees[0].instructions != _all(seen[best]):
        got = trees[0].instructions if trees else "no steps"
        raise CostError(f"cost of {row.name}", expected=f"{_all(seen[best]):,} instructions", got=got)
    tree, layers = trees[0], trees[0].layers()
    return Cost(
        row.name, tree.instructions, {layer: layers[layer] for layer in LAYERS if layers[layer]},
        tree.functions(),
    )  # fmt: skip


def _run(host: HookedHost, switch: WorldSwitch, batch: Sequence[Call]) -> list[GuestExit]:
    host.fresh()
    switch.clear()
    host.target.run(batch)
    return _asked(switch.exits)


def _all(exit_: GuestExit) -> int:
    """Instructions of host and firmware."""
    return exit_.host + exit_.user + exit_.firmware


def _asked(exits: Iterable[GuestExit]) -> list[GuestExit]:
    """The exits in which the guest asked for something: SBI calls, and CSRs that are emulated."""
    return [one for one in exits if one.is_call or one.cause == VIRTUAL]
