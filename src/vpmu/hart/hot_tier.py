"""The hot tier: finds hot pages by sampling, compiles regions of them in the background, and installs them.

A run is cut into chunks; where a chunk ends is a sample of where the guest spends its time. Regions are
compiled by one thread (region_compiler.py) and installed between chunks, by the thread that runs the guest,
so the engine never sees half a change. What has been compiled once is kept: another process installs it after
some samples in an equal page. When a region is ready depends on the host; what the guest does and counts does
not.
"""

from __future__ import annotations

import ctypes
import queue
from collections import Counter
from collections.abc import Iterable

from vpmu.hart import state
from vpmu.hart.digest import blake2b
from vpmu.hart.hot_cache import CachedRegion
from vpmu.hart.memory import HostMemory, PhysicalMemory
from vpmu.hart.region_compiler import Job, is_started, placed_regions, region_cache, start_compiler, tiers
from vpmu.hart.stencils import holes

SAMPLES = 8  # in one cell, until a region is worth compiling for the runs to come
LOOK_AFTER = 2  # samples in one page, until anybody looks what is kept of it
COLD_SAMPLES = 64  # the same, where none is kept: the region would have saved what compiling costs
SCATTERED_SAMPLES = 1024  # in a page that is not at its physical address, until anybody looks at it: most of
# Linux is visited shortly, and runs as fast in stencils
CELL = 9  # bits of an offset: 512 bytes of code, what a region covers
RESERVE = 8  # entries of the table that stay free
LOAD_AFTER = 64  # samples outside regions, in the whole process: the handlers cost what loading LLVM does
TABLE_ENTRIES = 1 << 16

_RECORD = ctypes.c_uint64
_AS_DECODED = ~(holes.IN_LINE | state.IN_REGION)  # what is left of a record without what tiers note in it


class HotTier:
    """The compiled regions of one machine's memory. `eager`: every sample outside them is compiled at
    once.
    """

    outside = 0  # samples outside regions, of all tiers: LLVM is loaded once for all of them

    def __init__(self, memory: PhysicalMemory, *, eager: bool = False) -> None:
        self._memory = memory
        usual = SAMPLES if region_cache(memory.counting) else max(SAMPLES, COLD_SAMPLES)
        self._enough, self._patience = (1, 1) if eager else (usual, LOAD_AFTER)
        self._table = HostMemory(TABLE_ENTRIES << state.HOT_ROW_BITS)
        self._functions = self._table.view.cast("Q")
        memory.shared.words[state.SHARED["hot_table"]] = self._table.address
        memory.shared.words[state.SHARED["hot_count"]] = memory.shared.words[state.SHARED["hot_row"]] = 0
        self._entries = 0
        scattered = SCATTERED_SAMPLES if memory.stitcher is not None and memory.stitcher.works else LOOK_AFTER
        self._worth_a_look, self._scattered = (1, 1) if eager else (LOOK_AFTER, scattered)
        self._sampled: Counter[int] = Counter()  # decoded page -> how many samples
        self._samples: dict[int, list[int]] = {}  # decoded page -> offsets at which samples found the guest
        self._hot: dict[int, dict[int, None]] = {}  # the same, with those that regions hold by now
        self._originals: dict[int, int] = {}  # address of an entry's record -> what the record was
        self._covered: dict[int, set[int]] = {}  # decoded page -> offsets that regions hold or will hold
        self._empty: dict[int, set[int]] = {}  # decoded page -> offsets where no region can begin
        self._pending: Counter[int] = Counter()  # decoded page -> regions that are being compiled
        self._looked_up: dict[int, str] = {}  # decoded page -> contents for which kept regions were looked up
        self.done: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.installed = self.compiled = 0
        tiers.add(self)

    def forked(self) -> None:
        """Forget what a thread is compiling that this process does not have."""
        self.done = queue.SimpleQueue()
        for decoded in self._pending:
            self._covered.pop(decoded, None)
        self._pending.clear()

    def sample(self, decoded: int, pc: int) -> bool:
        """The guest was at `pc`, in this decoded page. Samples inside installed regions are none: they are
        compiled already. True where the next one may wait: here is a region, or one would hardly pay, and
        nothing is being compiled.
        """
        while not self.done.empty():
            self.install(self.done.get_nowait())
        if self._is_outside(decoded, pc):
            self._note_outside(decoded, pc)
            return False
        if self._pending.total():
            return False
        if pc & 4095 in self._covered.get(decoded, ()):
            return True
        return self._sampled[decoded] > 0 and self._is_early(decoded, pc)

    def _is_early(self, decoded: int, pc: int) -> bool:
        """Whether a page that is not at its physical address has too few samples for a look at it."""
        return self._sampled[decoded] < self._scattered and not self._is_flat(decoded, pc)

    def _is_outside(self, decoded: int, pc: int) -> bool:
        """Whether a region could be compiled that holds `pc`, and none does."""
        shared = self._memory.shared.words
        if not shared[state.SHARED["code_pool"]] <= decoded < shared[state.SHARED["code_next"]]:
            return False  # a page that is decoded one instruction at a time
        offset = pc & 4095
        if offset in self._empty.get(decoded, ()) or not self._record(decoded + 4 * offset):
            return False  # no record: the chunk ended in a jump to another page
        self._sampled[decoded] += 1
        if self._sampled[decoded] < self._worth_a_look or self._is_early(decoded, pc):
            return False
        if offset in self._covered.get(decoded, ()):
            if self._pending[decoded] or self._word(decoded, "DECODED_COMPILED") & state.COMPILED_REGIONS:
                return False
            del self._covered[decoded]  # a store has reset the page
            self._looked_up.pop(decoded, None)
        if self._looked_up.get(decoded) != (key := self._key(decoded)):
            self._looked_up[decoded] = key
            self._install_kept(decoded, key, stays=self._is_flat(decoded, pc))
        return offset not in self._covered.get(decoded, ())

    def _note_outside(self, decoded: int, pc: int) -> None:
        """Have a region compiled where enough samples lie near."""
        offset, key = pc & 4095, self._looked_up[decoded]
        samples = self._samples.setdefault(decoded, [])
        samples.append(offset)
        hot = self._hot.setdefault(decoded, {})
        hot[offset] = None
        HotTier.outside += 1
        if not is_started() and HotTier.outside < self._patience:
            return
        near = sum(other >> CELL == offset >> CELL for other in samples)
        flat = self._is_flat(decoded, pc)
        enough = self._enough if flat else max(self._enough, self._scattered // 4)
        if near < enough or self._entries + self._pending.total() + RESERVE >= TABLE_ENTRIES:
            return
        # on an island (islands.py) nothing is gained by a function that another region holds already
        self._compile(decoded, offset, key, hot if flat else samples, flat=flat)
        covered = self._covered.get(decoded, ())
        samples[:] = [other for other in samples if other not in covered and other != offset]

    def finish(self) -> None:
        """Wait until everything that was sampled is compiled and kept."""
        while self._pending.total():
            self.install(self.done.get())

    def _is_flat(self, decoded: int, pc: int) -> bool:
        """Whether a page is at its physical address: so most likely is the data that it reaches."""
        host = self._word(decoded, "DECODED_HOST")
        return any(
            pc in region and region.backing.address + region.offset + (pc & -4096) - region.base == host
            for region in self._memory.regions.values()
        )

    def _compile(self, decoded: int, offset: int, key: str, hot: Iterable[int], *, flat: bool) -> None:
        """Have the region around an offset compiled, where there is one."""
        job = self.job(decoded, offset, hot, flat=flat)
        if job is None:
            self._empty.setdefault(decoded, set()).add(offset)
            region_cache(self._memory.counting).add(key, CachedRegion((), (offset,), b""))
            return
        if not self._memory.breakpoints.offsets(self._word(decoded, "DECODED_HOST")):
            job.key = key
        self._pending[decoded] += 1
        self._cover(job)
        start_compiler().jobs.put((job, self))

    def _cover(self, job: Job) -> None:
        self._covered.setdefault(job.decoded, set()).update(job.offsets)

    def _key(self, decoded: int) -> str:
        """A name for the contents of the page of memory behind a decoded page."""
        host = self._word(decoded, "DECODED_HOST")
        return blake2b(ctypes.string_at(host, 4096), digest_size=20).hexdigest()

    def _install_kept(self, decoded: int, key: str, *, stays: bool) -> None:
        """Install what another process has compiled of an equal page."""
        counting = self._memory.counting
        if key not in region_cache(counting) or self._entries + self._pending.total() + 64 >= TABLE_ENTRIES:
            return
        held = self._memory.breakpoints.offsets(self._word(decoded, "DECODED_HOST"))
        for region, address in placed_regions(counting, key):
            if not held.isdisjoint(region.offsets):
                continue
            if address:
                self._point(decoded, region.entries, region.offsets, address, stays=stays)
            kept = self._covered if address else self._empty
            kept.setdefault(decoded, set()).update(region.offsets)

    def job(self, decoded: int, offset: int, hot: Iterable[int] = (), *, flat: bool = False) -> Job | None:
        """The region around an offset of a decoded page; None where there is nothing to compile. `flat`: its
        addresses are likely to be physical ones.
        """
        from vpmu.hart.regions.find import find_region

        region = find_region(lambda at: self._record(decoded + 4 * at), offset, hot)
        region.flat = flat
        return Job(decoded, offset, region, self._memory.counting) if region.blocks else None

    @staticmethod
    def _word(decoded: int, name: str) -> int:
        return _RECORD.from_address(decoded + getattr(state, name)).value

    def _record(self, address: int) -> int:
        """A record as its page was decoded."""
        record = _RECORD.from_address(address).value
        operation = record & state.HANDLERS - 1
        if operation == state.RECORD_HOT:
            return self._originals.get(address, 0)
        if operation == state.RECORD_STITCHED:
            return _RECORD.from_address(address + state.DECODED_ORIGINALS).value & _AS_DECODED
        return record & _AS_DECODED

    def install(self, job: Job) -> None:
        """Point the records of a region's entries to it, unless the page has changed since."""
        self._pending[job.decoded] -= 1
        self.compiled += 1
        changed = any(self._record(job.decoded + 4 * step.offset) != step.record for step in job.region.steps)
        if changed or job.counting != self._memory.counting:
            self._covered.pop(job.decoded, None)
            return
        self._point(job.decoded, job.region.entries, job.offsets, job.address, stays=job.region.flat)
        self._cover(job)

    def _point(
        self, decoded: int, entries: Iterable[int], offsets: Iterable[int], function: int, *, stays: bool
    ) -> None:
        """Make the records of entries lead into a region, and note in all of them that it holds them.
        `stays`: however short its visits are.
        """
        if self._memory.stitcher is not None:
            self._memory.stitcher.unstitch(decoded)
        row = self._entries << state.HOT_ROW_BITS - 3
        self._functions[row] = function
        self._functions[row + state.HOT_KEPT // 8] = stays  # in a payload even a short visit pays
        self._memory.shared.words[state.SHARED["hot_count"]] = self._entries + 1
        for offset in offsets:
            record = _RECORD.from_address(decoded + 4 * offset)
            if record.value:
                record.value |= state.IN_REGION
        for entry in entries:
            address = decoded + 4 * entry
            self._originals[address] = self._record(address)
            _RECORD.from_address(address).value = state.RECORD_HOT | state.IN_REGION | self._entries << 40
        _RECORD.from_address(decoded + state.DECODED_COMPILED).value |= state.COMPILED_REGIONS
        self._entries += 1
        self.installed += 1

    def forget(self) -> None:
        """The engine variant changes: regions of another variant must not run. Their records become what
        they were.
        """
        for address, record in self._originals.items():
            value = _RECORD.from_address(address)
            if value.value & state.HANDLERS - 1 == state.RECORD_HOT:
                value.value = record
        for kept in (self._originals, self._samples, self._hot, self._covered, self._empty, self._looked_up):
            kept.clear()
