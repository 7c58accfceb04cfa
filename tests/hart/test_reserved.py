"""Memory that machines set aside is not counted by the host as promised: most of it is never used, and a
process with many machines could not fork. Linux refuses that where a mapping is larger than all memory.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from vpmu.hart import state
from vpmu.hart.machine_code import CodeArena
from vpmu.hart.memory import HostMemory

pytestmark = pytest.mark.skipif(not state.NORESERVE, reason="nothing is known of this host's mappings")
SIZE = 1 << 20


def is_counted(address: int) -> bool:
    """Whether the mapping at an address is accounted (`ac` of smaps in Linux's proc.rst)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "ac" in line.split()
    raise AssertionError(f"no mapping at {address:#x}")


def test_memory_and_code_are_not_counted() -> None:
    memory, arena = HostMemory(SIZE), CodeArena(SIZE)
    code = arena.place(b"\xc3")
    assert not is_counted(memory.address)
    assert code is not None
    assert not is_counted(code)
    assert any(map(is_counted, [id(memory), id(arena)]))  # what Python has of its own is


@pytest.mark.skipif(sys.platform != "linux", reason="files are mapped on Linux")
def test_files_in_memory_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"x" * SIZE)
    memory = HostMemory(2 * SIZE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert memory.map_file(descriptor, 4096, SIZE - 4096, 0)
    finally:
        os.close(descriptor)
    assert memory.view[4096] == ord("x")
    assert not is_counted(memory.address + 4096)


def test_a_process_with_many_machines_forks() -> None:
    """As many as would be more than the host's memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = 1 << 30
    kept = [HostMemory(size) for _ in range(pages // size + 2)]
    child = os.fork()
    if child == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert kept
