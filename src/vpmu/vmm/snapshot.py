"""Snapshots: a machine's whole state, taken and brought back in the time that its changed pages take.

Memory is tracked by page: the engine and everything else that writes to guest memory marks pages as dirty,
taking
or restoring a snapshot makes them clean, so that a restore copies only what has changed since.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineError
from ..hart.memory import MAX_REGIONS, PAGE, HostMemory, PhysicalMemory, Region
from ..perf.host_event import HostPmuEvent
from ..perf.host_pmu import HostPmuPerf
from ..perf.injection import FaultyPerf
from ..trace.recorder import Recorder
from .snapshot_state import (
    State,
    device_state,
    forget_translations,
    put_devices,
    put_vcpu,
    vcpu_state,
)

if TYPE_CHECKING:
    from .machine import Machine

_DIRTY = 2
_TOUCHED = bytes(int(flags != 0) for flags in range(256))
_WRITTEN = bytes(flags >> 1 & 1 for flags in range(256))
_RUN = re.compile(b"\x01+")


@dataclass(frozen=True, slots=True)
class Slot:
    """A memory slot: where it lies, in which backing (by number), from which byte of it on."""

    number: int
    base: int
    size: int
    backing: int
    offset: int
    readonly: bool
    first_page: int


@dataclass(slots=True)
class Snapshot:
    """The state of a machine at one moment. It belongs to nobody: any machine that is built alike can go
    there.

    `images` hold the stored pages of each backing, `stored` says which those are; all others are zero.
    """

    arguments: dict[str, object]
    fingerprint: dict[str, object]
    vcpus: list[State]
    devices: State
    slots: tuple[Slot, ...]
    images: list[HostMemory]
    stored: list[bytes]
    flags: bytes
    wanted: dict[int, int]
    owner: weakref.ref[Machine] | None = None
    events: list[list[HostPmuEvent]] = field(default_factory=list)

    @property
    def pages(self) -> int:
        """Pages that are stored."""
        return sum(mask.count(1) for mask in self.stored)

    def machine(
        self,
        *,
        console_out: Callable[[bytes], None] | None = None,
        recorder: Recorder | None = None,
    ) -> Machine:
        """A new machine in this state (a fork)."""
        from .machine import Machine

        with _sensible():
            machine = Machine(**self.arguments, console_out=console_out, recorder=recorder)  # type: ignore[arg-type]
        restore(machine, self)
        return machine

    def become(self, *, console_out: Callable[[bytes], None] | None = None) -> Machine:
        """A new machine in this state whose memory is the snapshot's own: quicker than `machine`, but the
        snapshot
        is used up.
        """
        from .machine import Machine

        with _sensible():
            machine = Machine(**self.arguments, console_out=console_out)  # type: ignore[arg-type]
            memory = machine.memory
            own = _backings(memory)
            if [backing.size for backing in own] != [image.size for image in self.images]:
                raise MachineError("snapshot of another machine: memory slots")
            _check_slots(self.slots, self.images, memory._next_page)
            memory.set_regions(_regions(self.slots, self.images))
            _put_states(machine, self)
            memory._flags.view[: len(self.flags)] = self.flags
            for region in memory.regions.values():
                mask = self.stored[self.images.index(region.backing)]
                at = region.offset // PAGE
                for first, last in runs(mask[at : at + region.size // PAGE]):
                    memory._written(region.first_page + first, region.first_page + last - 1)
        return machine

    def save(self, path: str | Path) -> None:
        """Write it to a file. Raises FileError."""
        from .snapshot_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Snapshot:
        """Read it from a file. FileError says what does not fit: damage, another version, another layout."""
        from .snapshot_file import load

        return load(path)


def fingerprint(machine: Machine) -> dict[str, object]:
    """What a machine and a snapshot must have in common."""
    return {
        "profile": machine.profile.name,
        "host PMU": repr(machine.host_pmu),
        "harts": len(machine.vcpus),
        "memory": machine.memory_size,
        "memory base": machine.memory_base,
        "interrupt controller": machine.plic is not None,
    }


def take(machine: Machine) -> Snapshot:
    """The machine's state now; its pages are clean afterwards. MachineError: a fault plan is installed, or
    the
    host's own perf counts.
    """
    if machine.injection is not None:
        raise MachineError(
            "snapshot", expected="a machine without a fault plan (inject(None))", got="one with it"
        )
    memory = machine.memory
    flags = bytes(memory._flags.view[: memory._next_page])
    backings = _backings(memory)
    base: Snapshot | None = machine.base
    stored = _written(memory, backings, flags)
    if base is not None:
        stored = [_union(mask, old) for mask, old in zip(stored, base.stored, strict=True)]
    images = []
    for backing, mask in zip(backings, stored, strict=True):
        image = HostMemory(backing.size)
        for first, last in runs(mask):
            image.view[first * PAGE : last * PAGE] = backing.view[first * PAGE : last * PAGE]
        images.append(image)
    states, events = [], []
    for vcpu, perf in zip(machine.vcpus, _providers(machine), strict=True):
        one, objects = vcpu_state(vcpu, perf)
        states.append(one)
        events.append(objects)
    clean = flags.translate(_TOUCHED)
    snapshot = Snapshot(
        machine.arguments, fingerprint(machine), states, device_state(machine), _slots(memory, backings),
        images, stored, clean, {key: value.value for key, value in memory._wanted.items()},
        weakref.ref(machine), events,
    )  # fmt: skip
    _made_clean(machine, snapshot)
    return snapshot


def restore(machine: Machine, snapshot: Snapshot) -> None:
    """Bring a machine to the state of a snapshot; a fault plan begins anew. MachineError where it does not
    fit.
    """
    with _sensible():
        _restore(machine, snapshot)


@contextmanager
def _sensible() -> Iterator[None]:
    """What comes out of a file may be anything: nonsense is one line, not a traceback."""
    try:
        yield
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        AssertionError,
        OverflowError,
    ) as error:
        raise MachineError(
            "snapshot that makes no sense", got=f"{type(error).__name__}: {error}"[:80]
        ) from error


def _restore(machine: Machine, snapshot: Snapshot) -> None:
    here = fingerprint(machine)
    if here != snapshot.fingerprint:
        key = next(key for key in here if here[key] != snapshot.fingerprint.get(key))
        raise MachineError(
            f"snapshot of another machine: {key}", expected=str(snapshot.fingerprint.get(key))[:60],
            got=str(here[key])[:60],
        )  # fmt: skip
    memory = machine.memory
    backings = _backings(memory)
    if [backing.size for backing in backings] != [image.size for image in snapshot.images]:
        raise MachineError("snapshot of another machine: memory slots")
    changed = _written(memory, backings, bytes(memory._flags.view[: memory._next_page]))
    if machine.base is not snapshot:
        changed = [_union(mask, other) for mask, other in zip(changed, snapshot.stored, strict=True)]
        if machine.base is not None:
            changed = [_union(mask, other) for mask, other in zip(changed, machine.base.stored, strict=True)]
    if _slots(memory, backings) != snapshot.slots:
        _check_slots(snapshot.slots, backings, memory._next_page)
        memory.set_regions(_regions(snapshot.slots, backings))
    for backing, image, mask in zip(backings, snapshot.images, changed, strict=True):
        for first, last in runs(mask):
            backing.view[first * PAGE : last * PAGE] = image.view[first * PAGE : last * PAGE]
    _forget_code(memory, backings, changed)
    _put_states(machine, snapshot)
    _made_clean(machine, snapshot)
    if machine.injection is not None:
        machine.injection.begin()


def _regions(slots: tuple[Slot, ...], backings: list[HostMemory]) -> dict[int, Region]:
    return {
        slot.number: Region(
            slot.base, slot.size, backings[slot.backing], slot.offset, slot.readonly, slot.first_page
        )
        for slot in slots
    }


def _put_states(machine: Machine, snapshot: Snapshot) -> None:
    """Everything but memory."""
    mine = snapshot.owner is not None and snapshot.owner() is machine
    for number, (vcpu, perf) in enumerate(zip(machine.vcpus, _providers(machine), strict=True)):
        put_vcpu(vcpu, perf, snapshot.vcpus[number], snapshot.events[number] if mine else None)
    put_devices(machine, snapshot.devices)
    machine.memory.want_all(snapshot.wanted)


def _providers(machine: Machine) -> Iterator[HostPmuPerf]:
    for perf in machine.providers:
        inner = perf.inner if isinstance(perf, FaultyPerf) else perf
        if not isinstance(inner, HostPmuPerf):
            raise MachineError(
                "snapshot", expected="a modelled host PMU", got=f"{inner.name}, whose counters are real"
            )
        yield inner


def _made_clean(machine: Machine, snapshot: Snapshot) -> None:
    memory = machine.memory
    if len(snapshot.flags) > memory._next_page:
        raise ValueError(f"{len(snapshot.flags)} pages")
    memory._flags.view[: len(snapshot.flags)] = snapshot.flags
    for vcpu in machine.vcpus:
        forget_translations(vcpu.hart, writes_only=True)
    machine.base = snapshot


def _backings(memory: PhysicalMemory) -> list[HostMemory]:
    """The backings of all slots, each once, in the order of the slots."""
    found: list[HostMemory] = []
    for number in sorted(memory.regions):
        backing = memory.regions[number].backing
        if not any(backing is other for other in found):
            found.append(backing)
    return found


def _slots(memory: PhysicalMemory, backings: list[HostMemory]) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            number, region.base, region.size,
            next(i for i, backing in enumerate(backings) if backing is region.backing),
            region.offset, region.readonly, region.first_page,
        )
        for number, region in sorted(memory.regions.items())
    )  # fmt: skip


def _check_slots(slots: tuple[Slot, ...], backings: list[HostMemory], pages: int) -> None:
    """Slots that reach out of their backing would reach into the host. Raises ValueError."""
    end = -1
    for slot in sorted(slots, key=lambda slot: slot.base):
        numbers = (slot.number, slot.base, slot.size, slot.backing, slot.offset, slot.first_page)
        wrong = any(type(number) is not int or number < 0 for number in numbers)
        wrong = wrong or slot.readonly not in (True, False) or not slot.size
        wrong = wrong or (slot.base | slot.size | slot.offset) % PAGE != 0 or slot.base < end
        wrong = wrong or slot.base + slot.size > 1 << 64 or slot.first_page + slot.size // PAGE > pages
        if wrong or slot.offset + slot.size > backings[slot.backing].size:
            raise ValueError(f"memory slot {slot.number}")
        end = slot.base + slot.size
    if len(slots) > MAX_REGIONS or len({slot.number for slot in slots}) != len(slots):
        raise ValueError(f"{len(slots)} memory slots")


def _written(memory: PhysicalMemory, backings: list[HostMemory], flags: bytes) -> list[bytes]:
    """Per backing: which of its pages are dirty (1), by the flags of all slots. What lies outside of every
    slot
    now, but did not always, is found by the flags of its neighbours' page numbers.
    """
    written = flags.translate(_WRITTEN)
    masks = []
    for backing in backings:
        mask = bytearray(backing.size // PAGE)
        for region in memory.regions.values():
            if region.backing is backing:
                # page 0 of the backing has this number: slots cut out of one another keep their pages'
                # numbers
                origin = region.first_page - region.offset // PAGE
                if origin >= 0 and origin + len(mask) <= len(written):
                    mask = bytearray(_union(bytes(mask), written[origin : origin + len(mask)]))
                else:
                    at, pages = region.offset // PAGE, region.size // PAGE
                    part = written[region.first_page : region.first_page + pages]
                    mask[at : at + pages] = _union(bytes(mask[at : at + pages]), part)
        masks.append(bytes(mask))
    return masks


def _union(one: bytes, other: bytes) -> bytes:
    if len(one) != len(other):
        raise MachineError("snapshot of another machine: memory slots")
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


def runs(mask: bytes) -> Iterator[tuple[int, int]]:
    """[first, last) of each run of pages that are marked."""
    for found in _RUN.finditer(mask):
        yield found.span()


def _forget_code(memory: PhysicalMemory, backings: list[HostMemory], changed: list[bytes]) -> None:
    """Decoded instructions of changed pages are void."""
    for region in memory.regions.values():
        number = next(i for i, backing in enumerate(backings) if backing is region.backing)
        at = region.offset // PAGE
        for first, last in runs(changed[number][at : at + region.size // PAGE]):
            memory._written(region.first_page + first, region.first_page + last - 1)
