"""Snapshots: a machine's whole state, taken and brought back in the time that its changed pages take.

Memory is tracked by page: the engine and everything else that writes to guest memory marks pages as dirty,
taking or restoring a snapshot makes them clean. Neither copies anything: pages are marked as unsaved or as
stale, and whoever looks at such a page first has it copied (hart/stale.py).
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..brief import Brief
from ..errors import FileError, MachineError
from ..hart.host_caches import forget_translations
from ..hart.memory import PAGE, HostMemory, PhysicalMemory, Region
from ..perf.host_event import HostPmuEvent
from ..perf.host_pmu import HostPmuPerf
from ..perf.injection import FaultyPerf
from ..trace.recorder import Recorder
from .snapshot_pages import (
    STALE,
    STALE_TOO,
    TOUCHED,
    UNSAVED,
    Slot,
    check_slots,
    find_backings,
    find_lendable,
    find_origin,
    find_slots,
    find_written,
    forget_code,
    known_of,
    mark,
    runs,
    union,
    with_base,
)
from .snapshot_state import device_state, put_devices, put_vcpu, vcpu_state
from .snapshot_values import State

if TYPE_CHECKING:
    from .machine import Machine


class Known(Protocol):
    """What pages may have had contents at, beside those that are marked as dirty since."""

    @property
    def stored(self) -> list[bytes]:
        """Per backing: these pages."""


@dataclass(slots=True, repr=False)
class Snapshot(Brief):
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
    file: str | None = None
    """Where it was read from, until its content has been checked against a machine."""
    page_hashes: list[dict[int, int]] | None = None
    """Of its pages, once somebody has asked for the hash of a state (state_hash)."""

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

        with _sensible(self):
            machine = Machine(**self.arguments, console_out=console_out, recorder=recorder)  # type: ignore[arg-type]
        restore(machine, self)
        return machine

    def become(self, *, console_out: Callable[[bytes], None] | None = None) -> Machine:
        """A new machine in this state whose memory is the snapshot's own: quicker than `machine`, but the
        snapshot
        is used up.
        """
        from .machine import Machine

        with _sensible(self):
            machine = Machine(**self.arguments, console_out=console_out)  # type: ignore[arg-type]
            memory = machine.memory
            own = find_backings(memory)
            if [backing.size for backing in own] != [image.size for image in self.images]:
                raise MachineError("snapshot of another machine: memory slots")
            check_slots(self.slots, self.images, memory._next_page)
            _check(machine, self)
            for image in self.images:
                image.recall()
            memory.set_regions(_regions(self.slots, self.images))
            _put_states(machine, self)
            memory._flags.view[: len(self.flags)] = known_of(self.flags)
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
    if machine.host_pmu_digest is None:  # it never changes, and is written out to be summed
        machine.host_pmu_digest = f"{zlib.crc32(repr(machine.host_pmu).encode()):08x}"
    return {
        "profile": machine.profile.name,
        "host PMU": f"{machine.host_pmu.name} ({machine.host_pmu_digest})",
        "harts": len(machine.vcpus),
        "memory": machine.memory_size,
        "memory base": machine.memory_base,
        "interrupt controller": machine.plic is not None,
        "levels": f"image in {machine.levels.image.name}, {', '.join(sorted(machine.isa)) or 'no ISA given'}",
        "serial ports": 1 + (machine.board.second_serial is not None),
        "line": machine.board.line is not None,
        **_plugged(machine),
    }


def _plugged(machine: Machine) -> dict[str, object]:
    """Of virtio devices, where there are any."""
    if not machine.board.virtio:
        return {}
    from .virtio.plug import identity

    return {"virtio devices": identity(machine.board)}


def take(machine: Machine) -> Snapshot:
    """The machine's state now; its pages are clean afterwards. MachineError: a fault plan is installed, or
    the
    host's own perf counts.
    """
    if machine.injection is not None:
        raise MachineError(
            "snapshot", expected="a machine without a fault plan (inject(None))", got="one with it"
        )
    if machine.board.virtio:
        from .virtio.plug import check_snapshot

        check_snapshot(machine.board)
    memory = machine.memory
    memory.stale.bring()
    flags = bytes(memory._flags.view[: memory._next_page])
    backings = find_backings(memory)
    base = machine.base
    stored = find_written(memory, backings, flags)
    if base is not None:
        stored = with_base(stored, base.stored)
    lent = find_lendable(memory, backings)
    if lent is None or not memory.stale.of(backings[lent]):
        memory.stale.settle()
    images = [HostMemory(backing.size) for backing in backings]
    for number, (backing, image, mask) in enumerate(zip(backings, images, stored, strict=True)):
        for first, last in runs(mask) if number != lent else ():
            image.view[first * PAGE : last * PAGE] = backing.view[first * PAGE : last * PAGE]
    states, events = [], []
    for vcpu, perf in zip(machine.vcpus, _providers(machine), strict=True):
        one, objects = vcpu_state(vcpu, perf)
        states.append(one)
        events.append(objects)
    clean = flags.translate(TOUCHED)
    snapshot = Snapshot(
        machine.arguments, fingerprint(machine), states, device_state(machine), find_slots(memory, backings),
        images, stored, clean, {key: value.value for key, value in memory._wanted.items()},
        weakref.ref(machine), events,
    )  # fmt: skip
    known = bytearray(known_of(clean))
    if lent is not None:
        origin = find_origin(memory, backings[lent])
        assert origin is not None
        memory.stale.owe(backings[lent], images[lent], origin)
        mark(known, origin, runs(stored[lent]), UNSAVED)
    memory._flags.view[: len(known)] = known
    for vcpu in machine.vcpus:
        forget_translations(vcpu.hart, writes_only=True)
    machine.base, machine.hashed = snapshot, None
    return snapshot


def restore(machine: Machine, snapshot: Snapshot) -> None:
    """Bring a machine to the state of a snapshot; a fault plan begins anew. MachineError where it does not
    fit.
    """
    with _sensible(snapshot):
        _restore(machine, snapshot)


@contextmanager
def _sensible(snapshot: Snapshot) -> Iterator[None]:
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
        what, got = "snapshot that makes no sense", f"{type(error).__name__}: {error}"[:80]
        if snapshot.file is not None:
            raise FileError(snapshot.file, what, got=got, layer="snapshot") from error
        raise MachineError(what, got=got) from error


def _restore(machine: Machine, snapshot: Snapshot) -> None:
    memory, images = machine.memory, snapshot.images
    if machine.base is snapshot and len(images) == 1 and memory.stale.holds(images[0]):
        memory.stale.go_back()  # from a run from the same snapshot: all else fits
        _put_states(machine, snapshot)
        machine.hashed = None
        if machine.injection is not None:
            machine.injection.begin()
        return
    here = fingerprint(machine)
    if here != snapshot.fingerprint:
        key = next((key for key in here if here[key] != snapshot.fingerprint.get(key)), "more words")
        raise MachineError(
            f"snapshot of another machine: {key}", expected=str(snapshot.fingerprint.get(key))[:60],
            got=str(here.get(key))[:60],
        )  # fmt: skip
    backings = find_backings(memory)
    if [backing.size for backing in backings] != [image.size for image in snapshot.images]:
        raise MachineError("snapshot of another machine: memory slots")
    _check(machine, snapshot)
    _restore_memory(memory, backings, snapshot, machine.base)
    _put_states(machine, snapshot)
    machine.base, machine.hashed = snapshot, None
    if machine.injection is not None:
        machine.injection.begin()


def _restore_memory(
    memory: PhysicalMemory, backings: list[HostMemory], snapshot: Snapshot, base: Known | None
) -> None:
    """Bring the memory to the state of a snapshot, where all pages are clean. The largest backing that allows
    it becomes stale; others are copied.
    """
    if len(snapshot.flags) > memory._next_page:
        raise ValueError(f"{len(snapshot.flags)} pages")
    moved = find_slots(memory, backings) != snapshot.slots
    if base is snapshot and not moved and len(backings) == 1:  # a run from the same snapshot again
        origin = find_origin(memory, backings[0])
        if origin is not None:
            memory.stale.lend(backings[0], snapshot.images[0], origin)
            memory.stale.go_back()
            return
    memory.stale.save()
    flags = bytes(memory._flags.view[: memory._next_page])
    changed = find_written(memory, backings, flags, STALE_TOO)
    if base is not snapshot:
        changed = [union(mask, other) for mask, other in zip(changed, snapshot.stored, strict=True)]
        if base is not None:
            changed = with_base(changed, base.stored)
    if moved:
        check_slots(snapshot.slots, backings, memory._next_page)
        memory.set_regions(_regions(snapshot.slots, backings))
    lent = find_lendable(memory, backings)
    if lent is None or not memory.stale.of(backings[lent]):
        memory.stale.settle()
    known = bytearray(known_of(snapshot.flags))
    pages = [list(runs(mask)) for mask in changed]
    for number, (backing, image) in enumerate(zip(backings, snapshot.images, strict=True)):
        if number == lent:
            origin = find_origin(memory, backing)
            assert origin is not None
            memory.stale.lend(backing, image, origin)
            mark(known, origin, pages[number], STALE)
            pages[number] = []
        here_view, image_view = backing.settled, image.view
        for first, last in pages[number]:
            here_view[first * PAGE : last * PAGE] = image_view[first * PAGE : last * PAGE]
    forget_code(memory, backings, pages)
    memory._flags.view[: len(known)] = known


def _check(machine: Machine, snapshot: Snapshot) -> None:
    """FileError for the content of a file that no machine can have saved; it is checked once."""
    if snapshot.file is None:
        return
    from .snapshot_check import check
    from .snapshot_kinds import Senseless

    try:
        check(machine, snapshot, list(_providers(machine)))
    except Senseless as error:
        raise FileError(
            snapshot.file, f"snapshot that makes no sense: {error.where}", expected=error.expected,
            got=repr(error.got)[:60], layer="snapshot",
        ) from None  # fmt: skip
    snapshot.file = None


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
