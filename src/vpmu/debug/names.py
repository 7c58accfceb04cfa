"""Names of a running guest's addresses: from where they are now to where its image was linked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpmu.errors import FileError, ImageError
from vpmu.hart.hart import GuestFault
from vpmu.vmm import elf
from vpmu.vmm.kallsyms import KERNEL_LINK_ADDRESS, Kallsyms
from vpmu.vmm.loader import ImageKind, LoadedImage, read_file
from vpmu.vmm.symbols import Symbols, SymbolTable, read_system_map

if TYPE_CHECKING:
    from vpmu.see.guest_hart import GuestHart

U64 = (1 << 64) - 1


@dataclass(slots=True)
class Names:
    """What the addresses of a guest are called. `read` gets the table when it is first asked for; a guest
    without one has no names. `base`, `size`: where the image lies in guest physical memory; `linked`: where
    it was linked to lie (for a kernel, which runs elsewhere than it lies).
    """

    read: Callable[[], Symbols | None]
    base: int = 0
    size: int = 0
    linked: int | None = None
    lies: Callable[[int], int | None] | None = None
    """Where an address of the table lies in memory, for who knows better than `base` and `linked`."""
    _table: Symbols | None = None
    _tried: bool = False

    @property
    def table(self) -> Symbols | None:
        """The symbols; None where there are none."""
        if not self._tried:
            self._tried = True
            self._table = self.read()
        return self._table

    def of(self, vcpu: GuestHart, address: int) -> str | None:
        """`symbol+0x10` of an address as a hart sees it now; None where nothing is known of it."""
        table = self.table
        if table is None:
            return None
        found = table.at(self._to_link(vcpu, address))
        if found is None:
            return None
        offset = self._to_link(vcpu, address) - found.address
        return f"{found.name}+{offset:#x}" if offset else found.name

    def physical(self, linked: int) -> int | None:
        """Where the byte lies that the image was linked to have at an address; None: that is not known."""
        if self.lies is not None:
            return self.lies(linked)
        if self.linked is None:
            return None
        offset = linked - self.linked
        return self.base + offset if 0 <= offset < self.size else None

    def _to_link(self, vcpu: GuestHart, address: int) -> int:
        if self.linked is None:
            return address
        try:
            physical = vcpu.hart.translate(address & ~1, 2)
        except GuestFault:
            return address
        inside = self.base <= physical < self.base + self.size
        return physical - self.base + self.linked & U64 if inside else address


def names_of(loaded: LoadedImage | None, symbols: str | Path | None = None) -> Names:
    """The names of a loaded image: of its own table, or of the file `symbols` (an ELF file with symbols, or a
    System.map). FileError and ImageError for a file that is neither.
    """
    table = None if symbols is None else read_symbols(symbols)
    if loaded is None:
        return Names(lambda: table)
    kernel = loaded.kind is ImageKind.LINUX

    def read() -> Symbols | None:
        if table is not None:
            return table
        try:
            return Kallsyms(loaded.data, loaded.name) if kernel else SymbolTable(loaded.symbols())
        except ImageError:
            return None

    if not kernel:
        return Names(read)
    return Names(read, loaded.entry, loaded.end - loaded.entry, KERNEL_LINK_ADDRESS)


def read_symbols(path: str | Path) -> Symbols:
    """The symbols of an ELF file, a kernel Image, or a System.map."""
    data = read_file(path)
    if data.startswith(elf.MAGIC):
        try:
            return SymbolTable(elf.symbols(data))
        except elf.ElfError as error:
            raise ImageError(path, error.what) from None
    if data[0x38:0x3C] == b"RSC\x05":
        return Kallsyms(data, str(path))
    if not data[:16].strip():
        raise FileError(path, "no symbols", expected="an ELF file, a kernel Image or a System.map")
    return read_system_map(path)
