"""A Linux kernel that runs in HS mode on one of our harts: where its functions are, and its modules'.

Names come from the kernel's own table in its Image (kallsyms) and from a module's `.symtab`; no debug package
is needed. Where the kernel was moved to (KASLR) is told by stvec, which holds `handle_exception`; where a
module was put, by the kernel's list of modules and the page of its code that is found there.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from vpmu.debug.elf_symbols import code_sections, elf_symbols
from vpmu.debug.names import Names
from vpmu.debug.page_tables import physical
from vpmu.errors import ImageError, UnknownNameError, VpmuError
from vpmu.hart.memory import MemoryFault
from vpmu.vmm.elf import MAGIC
from vpmu.vmm.kallsyms import Kallsyms
from vpmu.vmm.symbols import Symbol, SymbolList

if TYPE_CHECKING:
    from vpmu.hart.hart import Hart
    from vpmu.hart.memory import PhysicalMemory

U64 = (1 << 64) - 1
_LIST, _NAME, _NAME_SIZE = 8, 24, 56
"""struct module: its entry in the list, its name (include/linux/module.h, the same since 2.6)."""
MODULE_WORDS = 0x800 // 8
"""Of a struct module: the address of its code is somewhere in them."""
ALIKE = 0.6
"""Share of a page of code that loading leaves as it is in the file, at least: relocations change the rest."""
ALIKE_SECTION = 0.4
"""The same for a section of code whose place is known: a short one is calls, and so relocations."""
INLINED: Mapping[str, str] = {
    "kvm_pmu_create_perf_event": "kvm_riscv_vcpu_pmu_ctr_cfg_match",
    "sbi_ecall": "its callers (__sbi_ecall is there)",
    "kvm_sbi_ext_pmu_probe": "a pointer that nobody calls by name",
    "pmu_get_pmc_index": "the functions of vcpu_pmu.c",
    "kvm_pmu_validate_counter_mask": "the functions of vcpu_pmu.c",
}
"""Functions of the sources that compilers leave no symbol of, and where they are."""


class HookError(VpmuError):
    """A function of the host's kernel cannot be found, or not be stopped at."""

    layer = "host"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the running kernel, at its virtual address. `module`: "" for the kernel itself."""

    name: str
    address: int
    size: int
    module: str = ""

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.address <= address < self.address + self.size


class RunningKernel:
    """The kernel on a hart, by its Image and the ELF files of its modules (name -> bytes). Without kallsyms
    in the Image, functions are named by address only.
    """

    def __init__(
        self, hart: Hart, memory: PhysicalMemory, image: bytes, modules: Mapping[str, bytes] | None = None
    ) -> None:
        self._hart, self._memory, self._image = hart, memory, image
        self._modules = dict(modules or {})

    # --- names

    @cached_property
    def functions(self) -> dict[str, Function]:
        """All of them by name; of several with one name the kernel's first. Empty without kallsyms."""
        bases = ((name, elf, self.module_base(name, elf)) for name, elf in self._modules.items())
        loaded = tuple(
            (name, elf, tuple(self._code(base, elf))) for name, elf, base in bases if base is not None
        )
        return _functions(self._image, self.slide, loaded)

    def function(self, name: str) -> Function:
        """A function by name, or by its address (`0x...`). HookError and UnknownNameError say what is in the
        way.
        """
        if name[:2].lower() == "0x":
            try:
                address = int(name, 16)
            except ValueError:
                address = -1
            if not 0 <= address <= U64 or address & 1:
                raise HookError("address of a function", expected="a hexadecimal number, even", got=name)
            return Function(f"{address:#x}", address, 4)
        found = self.functions.get(name)
        if found is not None:
            return found
        if not self.functions:
            raise HookError(
                f"no function {name!r}: this kernel has no symbols (kallsyms)", expected="an address 0x..."
            )
        if name in INLINED:
            raise HookError(f"{name} is no function of this kernel: it is inlined in {INLINED[name]}")
        part = next((other for other in self.functions if other.startswith(name + ".")), None)
        if part is not None:
            raise HookError(f"{name} is not there as such: the compiler made it {part}")
        raise UnknownNameError("function of the host's kernel", name, self.functions, layer="host")

    def at(self, address: int) -> Function | None:
        """The function that holds an address."""
        starts, functions = self._by_address
        index = bisect_right(starts, address) - 1
        if index >= 0 and address in functions[index]:
            return functions[index]
        return None

    def symbol(self, name: str) -> int | None:
        """Address of any symbol of the kernel itself, data too."""
        found = self._table.get(name)
        return None if found is None else found.address + self.slide & U64

    def symbols(self) -> Iterator[Symbol]:
        """All that is known, at its running address: the kernel's, and the functions of its modules."""
        for symbol in self._linked:
            yield Symbol(symbol.name, symbol.address + self.slide & U64, symbol.size, symbol.kind)
        for function in self.functions.values():
            if function.module:
                yield Symbol(function.name, function.address, function.size, "t")

    def names(self) -> Names:
        """What addresses of this kernel are called."""

        def lies(address: int) -> int | None:
            try:
                return self.physical(address)
            except MemoryFault:
                return None

        return Names(lambda: SymbolList(self.symbols()), lies=lies)

    @cached_property
    def slide(self) -> int:
        """How far from its link address the kernel runs."""
        linked = self._table.get("handle_exception")
        vector = self._hart.get("other_stvec" if self._hart.get("virt") else "stvec")
        return 0 if linked is None else (vector & ~3) - linked.address & U64

    @cached_property
    def _linked(self) -> Sequence[Symbol]:
        """The kernel's own symbols, where they are linked."""
        return _symbols(self._image)

    @cached_property
    def _table(self) -> dict[str, Symbol]:
        return _by_name(self._image)

    @cached_property
    def _by_address(self) -> tuple[list[int], list[Function]]:
        ordered = sorted(self.functions.values(), key=lambda function: function.address)
        return [function.address for function in ordered], ordered

    # --- modules

    def module_base(self, name: str, elf: bytes) -> int | None:
        """Where `.text` of a loaded module lies; None where it is not loaded, or another build is."""
        for module in self._loaded():
            if self.read(module - _LIST + _NAME, _NAME_SIZE).split(b"\0")[0].decode(errors="replace") != name:
                continue
            text = elf_section(elf, ".text")[:4096]
            body = self.read(module - _LIST, 8 * MODULE_WORDS)
            words = {word for word in struct.unpack(f"<{MODULE_WORDS}Q", body) if word and not word & 0xFFF}
            alike = {word: self._alike(word, text) for word in words}
            best = max(words, key=lambda word: alike[word], default=0)
            return best if best and alike[best] >= ALIKE * len(text) else None
        return None

    def _code(self, base: int, elf: bytes) -> Iterator[tuple[str, int]]:
        """Where a module's sections of code lie: behind `.text`, in the file's order, without those that only
        loading needs (kernel/module/main.c, layout_sections). Left out where other bytes lie there.
        """
        seen: set[str] = set()
        for left_out in ((".init",), (".init", ".exit")):
            at = 0
            for section in code_sections(elf, "module"):
                if section.name.startswith(left_out) or (not at and section.name != ".text"):
                    continue
                at = (at or base) + section.alignment - 1 & -section.alignment
                head = section.data[:4096]
                if section.name not in seen and self._alike(at, head) >= ALIKE_SECTION * len(head):
                    seen.add(section.name)
                    yield section.name, at
                at += len(section.data)

    def _loaded(self) -> Iterator[int]:
        """The entries of the kernel's list of modules."""
        head = self.symbol("modules")
        at = 0 if head is None else self.word(head)
        for _ in range(4096):
            if at in (0, head):
                return
            yield at
            at = self.word(at)

    def _alike(self, address: int, text: bytes) -> int:
        try:
            there = self.read(address, len(text))
        except MemoryFault:
            return 0
        return sum(one == other for one, other in zip(there, text, strict=True))

    # --- memory

    def physical(self, address: int) -> int:
        """Guest physical address of one of the kernel's, by the page table in use. MemoryFault where there is
        none.
        """
        return physical(self._hart, self._memory, address)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the kernel's memory. MemoryFault."""
        parts = []
        while size > 0:
            length = min(size, 4096 - address % 4096)
            parts.append(self._memory.read(self.physical(address), length))
            address, size = address + length & U64, size - length
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Change bytes of the kernel's memory, within one page. MemoryFault."""
        self._memory.write(self.physical(address), data)

    def word(self, address: int) -> int:
        """Eight bytes of the kernel's memory. MemoryFault."""
        return int.from_bytes(self.read(address, 8), "little")


@lru_cache(maxsize=2)
def _symbols(image: bytes) -> tuple[Symbol, ...]:
    """All symbols of a kernel. A process has the same kernel in many machines."""
    try:
        return tuple(elf_symbols(image, "kernel") if image.startswith(MAGIC) else Kallsyms(image))
    except ImageError:
        return ()


@lru_cache(maxsize=2)
def _by_name(image: bytes) -> dict[str, Symbol]:
    """The first one of each name."""
    found: dict[str, Symbol] = {}
    for symbol in _symbols(image):
        found.setdefault(symbol.name, symbol)
    return found


Loaded = tuple[str, bytes, tuple[tuple[str, int], ...]]
"""A module: its name, its file, and where its sections of code lie."""


@lru_cache(maxsize=2)
def _functions(image: bytes, slide: int, modules: tuple[Loaded, ...]) -> dict[str, Function]:
    """The functions of a kernel that runs so far from its link address, with modules."""
    found: dict[str, Function] = {}
    for name, symbol in _by_name(image).items():
        if symbol.kind in "tTwW":
            found[name] = Function(name, symbol.address + slide & U64, symbol.size)
    for module, elf, places in modules:
        at = dict(places)
        for section in code_sections(elf, "module"):
            for symbol in section.symbols if section.name in at else ():
                if symbol.size and symbol.kind in "tTW":
                    address = at[section.name] + symbol.address
                    found.setdefault(symbol.name, Function(symbol.name, address, symbol.size, module))
    return found


def elf_section(elf: bytes, name: str) -> bytes:
    """The bytes of a section; none where there is no such section."""
    from elftools.elf.elffile import ELFFile

    section = ELFFile(BytesIO(elf)).get_section_by_name(name)
    return b"" if section is None else bytes(section.data())
