"""Guest physical memory: regions of host memory, their page flags, and the block that all harts of a
machine share.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpmu.hart import state
from vpmu.hart.breakpoints import Breakpoints
from vpmu.hart.codegen_flags import Counting
from vpmu.hart.stale import Owed, StalePages
from vpmu.hart.watchpoints import Watchpoints

if TYPE_CHECKING:
    from vpmu.hart.hot_tier import HotTier
    from vpmu.hart.stencils.tier import Stitcher

PAGE = 4096
_NOTHING = Counting.NOTHING  # asked for at every change of what is counted; Enum is slow
MAX_REGIONS = 8
_PAGE_CAPACITY = (
    1 << 21
)  # pages of all regions together: 8 GiB; the arrays are reserved, the host commits what is used
_MADE_DIRTY = bytes(flags | state.PAGE_DIRTY for flags in range(256))
_CODE_GUARD = 8 * 4096  # around them: as far as a branch in a page can lead
_PAGE_END = state.RECORD_PAGE_END.to_bytes(8, "little")
_MAP_FIXED, _POPULATE_READ = 0x10, 22  # Linux; the second 5.14
_MAPS = sys.platform == "linux" and sys.maxsize > 1 << 32
_LARGE = 16 << 20  # bytes that are written at once, from which on a guest is large
_CODE_OF_LARGE = 48 << 20  # decoded pages of a large guest, at least: Debian's boot fills 56 MiB
_CODE_POOL = 256 << 20  # decoded pages; when it is full the engine starts again


class MemoryFault(Exception):
    """A byte of a guest physical range is not in memory (or not writable); `gpa` is the first such page or
    byte.
    """

    def __init__(self, gpa: int) -> None:
        super().__init__(f"memory: no usable memory at guest physical address {gpa:#x}")
        self.gpa = gpa


class HostMemory:
    """Anonymous, zeroed, lazily committed host memory of `size` bytes (rounded up to pages)."""

    settle: Callable[[], None] | None = None
    """Called before somebody looks, where pages of it are stale or unsaved, or have not been saved to it
    (stale.py)."""
    lendable = True
    """Nobody sees it but through `view` and the engines. Then it has a `mapping`."""
    mapping: mmap.mmap

    def __init__(self, size: int) -> None:
        size = -(-size // PAGE) * PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | state.NORESERVE
        self.mapping = mmap.mmap(-1, size, flags=flags)
        self._use(memoryview(self.mapping))

    def _use(self, view: memoryview) -> None:
        self.size, self.settled = len(view), view
        self.borrowers: weakref.WeakSet[StalePages | Owed] = weakref.WeakSet()
        self._anchor = ctypes.c_char.from_buffer(view)
        self.address = ctypes.addressof(self._anchor)

    @classmethod
    def over(cls, view: memoryview) -> HostMemory:
        """Memory that somebody else owns and sees: a writable buffer."""
        memory = cls.__new__(cls)
        memory._use(view)
        memory.lendable = False
        return memory

    @property
    def view(self) -> memoryview:
        """The bytes; `settled` where the pages in question are known to be neither stale nor unsaved."""
        if self.settle is not None:
            self.settle()
        return self.settled

    def map_file(self, descriptor: int, at: int, size: int, offset: int) -> bool:
        """Have `size` bytes of a file, from `offset` on, from byte `at` on: read when they are looked at, and
        copied when they are written. False where that cannot be; then nothing is as it was there.
        """
        if not _MAPS or at % PAGE or offset % PAGE or not 0 <= at <= at + size <= self.size:
            return False
        mmap_ = ctypes.CDLL(None).mmap
        mmap_.restype = ctypes.c_void_p
        mmap_.argtypes = ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64
        place, how = self.address + at, mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | _MAP_FIXED | state.NORESERVE
        given: int | None = mmap_(place, size, how, flags, descriptor, offset)
        with suppress(OSError):  # all will be looked at; an older kernel brings each page when it is
            self.mapping.madvise(_POPULATE_READ, at, size)
        return given == place

    def recall(self) -> None:
        """Have everybody take what they are still to get of this memory's contents: it will change."""
        _ = self.view
        for stale in list(self.borrowers):
            stale.settle()


@dataclass(slots=True)
class Region:
    """Guest physical [base, base + size) is `backing` from `offset` on."""

    base: int
    size: int
    backing: HostMemory
    offset: int
    readonly: bool
    first_page: int

    def __contains__(self, gpa: int) -> bool:
        return self.base <= gpa < self.base + self.size


def _pages(region: Region, at: int, length: int) -> tuple[int, int]:
    """Numbers of the first and the last page of `length` bytes from byte `at` of a region on."""
    return region.first_page + at // PAGE, region.first_page + (at + length - 1) // PAGE


class PhysicalMemory:
    """The memory slots of a machine. Guest engines and KVM see the same bytes; a change of slots flushes
    every hart.
    """

    def __init__(self) -> None:
        self.shared = state.Block(8 * len(state.SHARED) + 64)
        self.regions: dict[int, Region] = {}
        self._flags = HostMemory(_PAGE_CAPACITY)
        self._code_map = HostMemory(8 * _PAGE_CAPACITY)
        self._code_pool = HostMemory(_CODE_POOL + 2 * _CODE_GUARD)
        sentinels = _PAGE_END * (_CODE_GUARD // len(_PAGE_END))
        for start in (0, _CODE_GUARD + _CODE_POOL):
            self._code_pool.view[start : start + _CODE_GUARD] = sentinels
        self._next_page = 0
        self.stale = StalePages(self)
        self.breakpoints = Breakpoints(self)
        self.watchpoints = Watchpoints(self)
        self.flush_harts: list[Callable[[], None]] = []
        self.forget_accesses: list[Callable[[], None]] = []
        self.counting = Counting.NOTHING
        """The engine variant of all harts: they share decoded pages, so what one needs counted is counted
        for all.
        """
        self.levels = Counting.NOTHING
        """What every engine of this memory's harts is beside its counting: Counting.WHOLE or nothing."""
        self._wanted: dict[int, Counting] = {}
        self.hot_tier: HotTier | None = None
        self.stitcher: Stitcher | None = None
        words = self.shared.words
        pool = self._code_pool.address + _CODE_GUARD  # of whole pages: aligned
        words[state.SHARED["code_pool"]] = words[state.SHARED["code_next"]] = pool
        words[state.SHARED["code_new"]] = pool
        words[state.SHARED["code_end"]] = pool + _CODE_POOL
        words[state.SHARED["code_map"]] = self._code_map.address
        words[state.SHARED["page_flags"]] = self._flags.address

    # -- slots (KVM_SET_USER_MEMORY_REGION)

    def set_slot(
        self,
        slot: int,
        base: int,
        size: int,
        *,
        backing: HostMemory | None = None,
        offset: int = 0,
        readonly: bool = False,
    ) -> HostMemory | None:
        """Create, replace or (size 0) delete a memory slot; answers its backing. Raises ValueError for what
        KVM refuses with EINVAL/EEXIST.
        """
        if base % PAGE or size % PAGE or offset % PAGE:
            raise ValueError(
                f"memory: slot {slot}: expected page-aligned base and size, got {base:#x} and {size:#x}"
            )
        others = [region for number, region in self.regions.items() if number != slot]
        if any(base < other.base + other.size and other.base < base + size for other in others):
            raise ValueError(f"memory: slot {slot}: [{base:#x}, {base + size:#x}) overlaps another slot")
        if size == 0:
            self.regions.pop(slot, None)
            self._publish()
            return None
        if len(others) >= MAX_REGIONS:
            raise ValueError(f"memory: at most {MAX_REGIONS} slots, slot {slot} is one more")
        first_page, pages = self._next_page, size // PAGE
        if first_page + pages > _PAGE_CAPACITY:
            raise ValueError(
                f"memory: at most {_PAGE_CAPACITY * PAGE >> 30} GiB in all slots over the life of a machine"
            )
        self._next_page += pages
        backing = backing or HostMemory(size)
        self.regions[slot] = Region(base, size, backing, offset, readonly, first_page)
        self._publish()
        return backing

    def carve(self, base: int, size: int, *, readonly: bool) -> None:
        """Take [base, base + size) out of the slot that holds it, or make it read-only there; its bytes and
        page numbers stay. Raises MemoryFault, and ValueError where the slots would be too many.
        """
        region = self.region_at(base)
        if base % PAGE or size % PAGE or not 0 < size <= region.base + region.size - base:
            raise ValueError(f"memory: [{base:#x}, {base + size:#x}) is not made of pages of one slot")
        parts = [(region.base, base, region.readonly)]
        if readonly:
            parts.append((base, base + size, True))
        parts.append((base + size, region.base + region.size, region.readonly))
        parts = [part for part in parts if part[0] < part[1]]
        if len(self.regions) - 1 + len(parts) > MAX_REGIONS:
            raise ValueError(f"memory: at most {MAX_REGIONS} slots")
        number = next(number for number, other in self.regions.items() if other is region)
        del self.regions[number]
        for start, end, locked in parts:
            at = start - region.base
            self.regions[number] = Region(
                start, end - start, region.backing, region.offset + at, locked, region.first_page + at // PAGE
            )
            number = max(self.regions) + 1
        self._publish()

    def set_regions(self, regions: dict[int, Region]) -> None:
        """Go back to slots that were there before."""
        self.regions = dict(regions)
        self._publish()

    def _publish(self) -> None:
        """Write the regions where the engines look and make every hart forget what it cached."""
        self.stale.settle()
        words, first = self.shared.words, state.SHARED["r0_base"]
        for position, region in enumerate(self.regions.values()):
            entry = (
                region.base,
                region.size,
                region.backing.address + region.offset,
                region.first_page,
                state.REGION_READONLY * region.readonly,
            )
            for i, word in enumerate(entry):
                words[first + state.REGION_WORDS * position + i] = word
        words[state.SHARED["region_count"]] = len(self.regions)
        words[state.SHARED["page_count"]] = self._next_page
        words[state.SHARED["given"]] = not all(region.backing.lendable for region in self.regions.values())
        if len(self.breakpoints):
            self.breakpoints.placed()
        for flush in self.flush_harts:
            flush()

    def want(self, hart_id: int, counting: Counting) -> None:
        """What one hart needs counted from now on."""
        if self._wanted.get(hart_id) is counting:
            return
        self._wanted[hart_id] = counting
        union = counting if self.levels is _NOTHING else counting | self.levels
        if len(self._wanted) > 1:
            for wanted in self._wanted.values():
                union |= wanted
        if union != self.counting:
            self.counting = union
            if self.stitcher is not None:
                self.stitcher.stop()
            if self.hot_tier is not None:
                self.hot_tier.forget()

    def stitch(self) -> None:
        """Have the engines stitch from now on, with stencils of the variant that counts now."""
        if self.stitcher is None:
            from vpmu.hart.stencils.tier import Stitcher

            self.stitcher = Stitcher(self)
        self.stitcher.start()

    def want_all(self, wanted: Mapping[int, int]) -> None:
        """Go back to what was counted once (`_wanted` as numbers), for everybody."""
        self._wanted = {}
        for hart_id, counting in wanted.items():
            self.want(hart_id, Counting(counting))

    # -- access by KVM and by user space

    def region_at(self, gpa: int) -> Region:
        """The region that holds `gpa`; MemoryFault if none does."""
        for region in self.regions.values():
            if region.base <= gpa < region.base + region.size:
                return region
        raise MemoryFault(gpa)

    def read(self, gpa: int, size: int) -> bytes:
        """`size` bytes at `gpa`; MemoryFault when one of them is in no slot."""
        parts = []
        while size > 0:
            region = self.region_at(gpa)
            at = gpa - region.base
            length = min(size, region.size - at)
            start = region.offset + at
            if region.backing.settle is not None:
                self.stale.settle_pages(*_pages(region, at, length))
            parts.append(bytes(region.backing.settled[start : start + length]))
            gpa, size = gpa + length, size - length
        return b"".join(parts)

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """[gpa, gpa + size) of each range will be written at once: where that is much, the host may bring the
        pages together. MemoryFault.
        """
        found = []
        for gpa, size in ranges:
            region = self.region_at(gpa)
            if region.backing.lendable:
                at = gpa - region.base
                found.append((region.backing, region.offset + at, min(size, region.size - at)))
        if sum(size for _, _, size in found) < _LARGE:
            return
        from vpmu.hart import huge_pages

        if not huge_pages.take([*found, (self._code_pool, _CODE_GUARD, _CODE_OF_LARGE)]):
            huge_pages.bring(found)

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        """Write `data` at `gpa`. Like KVM's copy: what precedes a hole or a read-only slot is written, then
        MemoryFault.
        """
        self._write(gpa, data, through=False)

    def write_through(self, gpa: int, data: bytes | memoryview) -> None:
        """As `write`, read-only slots as well."""
        self._write(gpa, data, through=True)

    def _write(self, gpa: int, data: bytes | memoryview, *, through: bool) -> None:
        rest = memoryview(data)
        while rest:
            region = self.region_at(gpa)
            if region.readonly and not through:
                raise MemoryFault(gpa)
            at = gpa - region.base
            length = min(len(rest), region.size - at)
            start = region.offset + at
            first, last = _pages(region, at, length)
            if region.backing.settle is not None:
                self.stale.settle_pages(first, last)
            region.backing.settled[start : start + length] = rest[:length]
            self._written(first, last)
            gpa, rest = gpa + length, rest[length:]

    def _written(self, first: int, last: int) -> None:
        """Keep decoded code and the dirty map true after a write to pages `first` to `last` that no engine
        saw.
        """
        self._flags.view[first : last + 1] = (
            self._flags.view[first : last + 1].tobytes().translate(_MADE_DIRTY)
        )
        self.forget_code(first, last)

    def forget_code(self, first: int, last: int) -> None:
        """Void what was decoded of pages `first` to `last`, and what is compiled of them."""
        pages = self._code_map.view[8 * first : 8 * last + 8].tobytes()
        if pages.count(0) != len(pages):
            for at in range(0, len(pages), 8):
                decoded = int.from_bytes(pages[at : at + 8], "little")
                if decoded:
                    ctypes.memset(decoded, 0, 8 * (PAGE // 2))
                    ctypes.memset(decoded + state.DECODED_BITS, 0, PAGE // 2 // 8)
                    ctypes.memset(decoded + state.DECODED_COMPILED, 0, 8)
                    ctypes.memset(decoded + state.DECODED_KEY, 0, 8)
            self.shared.words[state.SHARED["tables"]] += 1  # one of them may be a page table
