"""The ring: states of a machine on its way, many near the last one and few far behind it, within a budget of
memory.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.brief import Brief
from vpmu.errors import MachineError
from vpmu.hart.host_caches import forget_translations
from vpmu.hart.memory import PAGE
from vpmu.perf.host_event import HostPmuEvent
from vpmu.travel.pages import PageHistory, pages_of
from vpmu.vmm.snapshot import _providers, _regions
from vpmu.vmm.snapshot_pages import (
    TOUCHED,
    Slot,
    find_backings,
    find_slots,
    find_written,
    forget_code,
    known_of,
    runs,
    union,
)
from vpmu.vmm.snapshot_state import device_state, put_devices, put_vcpu, vcpu_state
from vpmu.vmm.snapshot_values import State

if TYPE_CHECKING:
    from vpmu.perf.host_pmu import HostPmuPerf
    from vpmu.see.guest_hart import GuestHart
    from vpmu.vmm.machine import Machine

STATE_COST = 200_000
"""Bytes that a state takes beside its pages: registers, modelled TLBs and caches, devices."""


@dataclass(slots=True, eq=False, repr=False)
class Moment(Brief):
    """A machine's state but for its memory, and which pages have changed since the moment before."""

    position: int
    vcpus: list[tuple[State, list[HostPmuEvent]]]
    devices: State
    slots: tuple[Slot, ...]
    flags: bytes
    wanted: dict[int, int]
    pages: set[int]
    note: int
    pinned: bool = False


class Base:
    """Says to machine.snapshot() and restore() which pages may differ from what they know."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    @property
    def stored(self) -> list[bytes]:
        """Per backing: pages that the ring has contents of."""
        return self._ring.masks()


class Ring:
    """Moments of one machine, in order. `budget`: bytes that they may take together; `note`: what each
    remembers beside the machine's state. MachineError where not even the first one fits.

    What a fault plan has come to is no part of a moment. With `anew` a machine may have one that has not
    begun: then there is the first moment only, and the plan begins anew with it.
    """

    def __init__(self, machine: Machine, budget: int, note: Callable[[], int], *, anew: bool = False) -> None:
        self._plan = machine.injection
        if self._plan is not None and not anew:
            raise MachineError("time travel", expected="a machine without a fault plan", got="one with it")
        if machine.board.virtio:
            from vpmu.vmm.virtio.plug import check_snapshot

            check_snapshot(machine.board, "time travel")
        if self._plan is not None and self._plan.injector.begun:
            raise MachineError("time travel", expected="a fault plan at its beginning",
                               got="one that was asked already")  # fmt: skip
        machine.memory.stale.settle()  # what the ring knows of pages it knows of all
        self.machine, self.budget, self._note = machine, budget, note
        self._history = PageHistory()
        self._moments: list[Moment] = []
        self._backings = find_backings(machine.memory)
        self._base = Base(self)
        self._last: Moment | None = None  # since which the machine's dirty pages are marked
        self.take()
        if self.size > budget:
            raise MachineError("budget of memory for time travel is too small",
                               expected=f"at least {-(-self.size >> 10):,} KiB for this guest",
                               got=f"{budget >> 10:,} KiB")  # fmt: skip

    @property
    def size(self) -> int:
        """What all moments take."""
        return self._history.bytes + len(self._moments) * STATE_COST

    @property
    def positions(self) -> list[int]:
        """The moments, in instructions since power-on."""
        return [moment.position for moment in self._moments]

    @property
    def first(self) -> int:
        """The beginning: nothing before it can be reached."""
        return self._moments[0].position

    def masks(self) -> list[bytes]:
        """Per backing: pages that have a content at any moment."""
        masks = [bytearray(backing.size // PAGE) for backing in self._backings]
        for page in self._history.known():
            masks[page >> 24][page & (1 << 24) - 1] = 1
        return [bytes(mask) for mask in masks]

    def before(self, position: int) -> int:
        """The last moment at or before a position."""
        return self._moments[self._index(position)].position

    def after(self, position: int) -> int | None:
        """The first moment behind a position."""
        index = bisect_right(self._moments, position, key=lambda moment: moment.position)
        return self._moments[index].position if index < len(self._moments) else None

    def take(self) -> None:
        """Keep the state of now, unless it is kept."""
        machine, memory = self.machine, self.machine.memory
        position = machine.instructions
        known = self._at(position)
        if self._plan is not None and self._moments and known is None:
            return
        flags = bytes(memory._flags.view[: memory._next_page])
        if known is None:
            pages = self._changed(flags)
            self._history.add(position, pages, self._backings)
            known = self._moment(position, flags, pages)
            insort(self._moments, known, key=lambda moment: moment.position)
        self._clean(known)
        while self.size > self.budget and self._thin():
            pass

    def pin(self) -> None:
        """Keep the state of now for as long as the run is walked, in place of what was kept for this
        position: running on to here would not give it. What was behind it is forgotten. MachineError with a
        fault plan.
        """
        if self._plan is not None:
            raise MachineError("a change of the state", expected="a machine without a fault plan",
                               got="one with it, whose run is done anew to go back")  # fmt: skip
        self.forget_after(self.machine.instructions)
        known = self._at(self.machine.instructions)
        if known is None:
            self.take()
            known = self._moments[-1]
        else:
            memory = self.machine.memory
            flags = bytes(memory._flags.view[: memory._next_page])
            pages = known.pages | self._changed(flags)
            self._history.forget_from(known.position)
            self._history.add(known.position, pages, self._backings)
            self._moments[-1] = known = self._moment(known.position, flags, pages)
            self._clean(known)
        known.pinned = True

    def pass_by(self) -> bool:
        """Called where the machine has come to a position by running: if a moment is kept of it, changes
        count from there on. Answers whether it was brought into another state than it came in.
        """
        known = self._at(self.machine.instructions)
        if known is None:
            return False
        if known.pinned:
            self.restore(known.position)
        else:
            self._clean(known)
        return known.pinned

    def note(self) -> int:
        """The note of the moment that was last taken, restored or passed."""
        assert self._last is not None
        return self._last.note

    def _moment(self, position: int, flags: bytes, pages: set[int]) -> Moment:
        memory = self.machine.memory
        return Moment(
            position,
            [vcpu_state(vcpu, perf) for vcpu, perf in self._harts()],
            device_state(self.machine), find_slots(memory, self._backings), flags.translate(TOUCHED),
            {key: value.value for key, value in memory._wanted.items()}, pages, self._note(),
        )  # fmt: skip

    def restore(self, position: int) -> None:
        """Bring the machine to a moment that is kept."""
        machine, memory = self.machine, self.machine.memory
        target = self._moments[self._index(position)]
        assert target.position == position
        changed = self._changed(bytes(memory._flags.view[: memory._next_page]))
        if self._last is None:
            changed |= set(self._history.known())
        else:
            low, high = sorted((self._last.position, position))
            for moment in self._moments[self._index(low) + 1 : self._index(high) + 1]:
                changed |= moment.pages
        if machine.hashed is not None:
            machine.hashed.stale.update((page >> 24, page & (1 << 24) - 1) for page in changed)
        if find_slots(memory, self._backings) != target.slots:
            memory.set_regions(_regions(target.slots, self._backings))
        self._history.put(position, changed, self._backings)
        masks = [bytearray(backing.size // PAGE) for backing in self._backings]
        for page in changed:
            masks[page >> 24][page & (1 << 24) - 1] = 1
        forget_code(memory, self._backings, [list(runs(bytes(mask))) for mask in masks])
        for (vcpu, perf), (state, events) in zip(self._harts(), target.vcpus, strict=True):
            put_vcpu(vcpu, perf, state, events)
        put_devices(machine, target.devices)
        memory.want_all(target.wanted)
        self._clean(target)
        if self._plan is not None:
            self._plan.begin()

    def forget_after(self, position: int) -> None:
        """What lies behind a position will be different: somebody has changed the state there."""
        keep = bisect_right(self._moments, position, key=lambda moment: moment.position)
        if self._last in self._moments[keep:]:
            raise AssertionError("the machine stands behind what shall be forgotten")
        self._history.forget_from(position + 1)
        del self._moments[keep:]

    # --- inside

    def _harts(self) -> list[tuple[GuestHart, HostPmuPerf]]:
        return list(zip(self.machine.vcpus, _providers(self.machine), strict=True))

    def _index(self, position: int) -> int:
        index = bisect_right(self._moments, position, key=lambda moment: moment.position) - 1
        if index < 0:
            raise MachineError("instruction", expected=f"{self.first} or later, where this began",
                               got=position)  # fmt: skip
        return index

    def _at(self, position: int) -> Moment | None:
        index = bisect_right(self._moments, position, key=lambda moment: moment.position) - 1
        if index < 0 or self._moments[index].position != position:
            return None
        return self._moments[index]

    def _changed(self, flags: bytes) -> set[int]:
        """Pages that were written since the last moment at which they were all known."""
        memory = self.machine.memory
        if [id(backing) for backing in find_backings(memory)] != [id(backing) for backing in self._backings]:
            raise MachineError("time travel", expected="the memory slots that the machine began with",
                               got="others")  # fmt: skip
        masks = find_written(memory, self._backings, flags)
        base = self.machine.base
        hashed = self.machine.hashed
        if base is not self._base and base is not None:
            if self._moments:
                raise MachineError("time travel", expected="a machine that nobody else restores",
                                   got="another snapshot in it")  # fmt: skip
            masks = [union(mask, old) for mask, old in zip(masks, base.stored, strict=True)]
        pages = pages_of(masks)
        if hashed is not None:
            hashed.stale.update((page >> 24, page & (1 << 24) - 1) for page in pages)
        return pages

    def _clean(self, moment: Moment) -> None:
        """The machine is in the state of a moment: changes count from there on."""
        memory = self.machine.memory
        memory.stale.settle()
        if self.machine.hashed is not None:
            self._changed(bytes(memory._flags.view[: memory._next_page]))
        memory._flags.view[: len(moment.flags)] = known_of(moment.flags)
        for vcpu in self.machine.vcpus:
            forget_translations(vcpu.hart, writes_only=True)
        self.machine.base = self._base
        self._last = moment

    def _thin(self) -> bool:
        """Let go of the moment that is missed least: whose neighbours are nearest to one another, for how far
        it is from where the machine stands.
        """
        here = self.machine.instructions
        best, least = None, 0.0
        for index in range(1, len(self._moments) - 1):
            moment = self._moments[index]
            if moment is self._last or moment.pinned:
                continue
            gap = self._moments[index + 1].position - self._moments[index - 1].position
            weight = gap / (abs(here - moment.position) + 1)
            if best is None or weight < least:
                best, least = index, weight
        if best is None:
            return self._forget_furthest()
        gone, later = self._moments[best], self._moments[best + 1]
        self._history.drop(gone.position, gone.pages, later.position, later.pages)
        later.pages |= gone.pages
        del self._moments[best]
        return True

    def _forget_furthest(self) -> bool:
        """Where nothing between is left: what lies ahead of the machine can be run to again."""
        furthest = self._moments[-1]
        if len(self._moments) < 2 or furthest is self._last or furthest.pinned:
            return False
        self._history.forget_from(furthest.position)
        del self._moments[-1]
        return True
