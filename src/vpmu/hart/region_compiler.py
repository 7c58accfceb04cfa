"""Compiles regions, on a thread of its own (LLVM works outside Python's lock), and keeps their code: in files
for other processes (hot_cache.py), placed in memory for all machines of this one.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.hot_cache import CachedRegion, RegionCache
from vpmu.hart.machine_code import CodeArena

if TYPE_CHECKING:
    from vpmu.hart.regions.find import Region


class Tier(Protocol):
    """Who has regions compiled."""

    done: queue.SimpleQueue[Job]

    def forked(self) -> None:
        """Forget what a thread is compiling that this process does not have."""


@dataclass(slots=True, eq=False)
class Job:
    """A region to compile, and then its function."""

    decoded: int
    sampled: int
    region: Region
    counting: Counting
    key: str = ""  # names the contents of the page
    address: int = 0

    @property
    def offsets(self) -> set[int]:
        """What the region answers for: its instructions, and the sample even where no region can hold it."""
        return {self.sampled, *(step.offset for step in self.region.steps)}


class _Compiler(threading.Thread):
    """Compiles regions, one after the other. One for the whole process, started when it is first needed."""

    def __init__(self) -> None:
        super().__init__(name="vpmu-hot-tier", daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Job, Tier] | None] = queue.SimpleQueue()
        atexit.register(self.finish)

    def finish(self) -> None:
        """Let the thread end before LLVM is torn down."""
        while not self.jobs.empty():
            self.jobs.get_nowait()
        self.jobs.put(None)
        self.join()

    def run(self) -> None:
        while (item := self.jobs.get()) is not None:
            job, tier = item
            with _busy:
                job.address = compile_job(job)
            tier.done.put(job)


_NAME = "region"  # of the function in its object file
_keep_alive: list[object] = []  # linked code is never unloaded: a hart may be inside it


def compile_job(job: Job) -> int:
    """Compile and link a region, keep its code for other processes; the address of its function."""
    from vpmu.hart import native, program
    from vpmu.hart.object_file import position_independent
    from vpmu.hart.regions.function import region_ir

    text = region_ir(job.region, _NAME, program.constants(), job.counting)
    image = native.compile_region(text, native.region_machine())
    code = position_independent(image)
    address = None if code is None else _arena().place(code)
    if code is None or address is None:
        return _link(image)
    if job.key:
        region = CachedRegion(tuple(job.region.entries), tuple(sorted(job.offsets)), code)
        region_cache(job.counting).add(job.key, region)
        if (job.counting, job.key) in _placed:
            _placed[job.counting, job.key].append((region, address))
    return address


def _link(image: bytes) -> int:
    """Let LLVM link an object file that needs it; the address of its function."""
    from vpmu.hart import native

    symbols, keep_alive = native.link_with_llvm(image, _NAME, (_NAME,))
    _keep_alive.append(keep_alive)
    return symbols[_NAME]


@lru_cache(maxsize=1)
def _arena() -> CodeArena:
    return CodeArena()


@lru_cache(maxsize=4)
def region_cache(counting: Counting) -> RegionCache:
    """The kept regions of an engine variant."""
    from vpmu.hart import native

    return RegionCache(native.region_folder(counting))


_placed: dict[tuple[Counting, str], list[tuple[CachedRegion, int]]] = {}


def placed_regions(counting: Counting, key: str) -> list[tuple[CachedRegion, int]]:
    """The kept regions of a page, with their addresses in this process: all its machines use the same."""
    found = _placed.get((counting, key))
    if found is None:
        found = _placed[counting, key] = []
        for region in region_cache(counting).load(key):
            address = _arena().place(region.code) if region.code else 0
            if address is not None:
                found.append((region, address))
    return found


_compiler: _Compiler | None = None
# held while a region is compiled, and while the process forks: LLVM has locks of its own
_busy = threading.Lock()
tiers: weakref.WeakSet[Tier] = weakref.WeakSet()


def _forked() -> None:
    """In the child of a fork: what the parent's thread would have compiled is not coming."""
    global _compiler
    if _compiler is not None:
        atexit.unregister(_compiler.finish)
        _compiler = None
    for tier in tiers:
        tier.forked()
    _busy.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_busy.acquire, after_in_parent=_busy.release, after_in_child=_forked)


def start_compiler() -> _Compiler:
    """The thread that compiles, started now if need be. What it uses is imported and parsed by the caller."""
    global _compiler
    if _compiler is None:
        from vpmu.hart import native, program  # noqa: F401 - for the thread
        from vpmu.hart.regions import find, function  # noqa: F401

        native.region_machine()  # loads LLVM
        find.prepare()
        _compiler = _Compiler()
        _compiler.start()
    return _compiler


def is_started() -> bool:
    """Whether LLVM is loaded, and the thread runs."""
    return _compiler is not None
