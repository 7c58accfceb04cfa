"""What the dynamic linker reads of an ELF file: interpreter and needed libraries (System V gABI)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
EM_RISCV = 243
ELF64_LITTLE = b"\x7fELF\x02\x01"


@dataclass(frozen=True, slots=True)
class Dynamic:
    """`interpreter` is an absolute path or None; `needed` holds sonames in the file's order."""

    interpreter: str | None
    needed: tuple[str, ...]


def dynamic(image: bytes) -> Dynamic | None:
    """Interpreter and needed libraries of a 64-bit RISC-V ELF; None when the bytes are not one."""
    if not image.startswith(ELF64_LITTLE) or len(image) < 64:
        return None
    try:
        return _parse(image)
    except (struct.error, ValueError, OverflowError):
        return None


def _parse(image: bytes) -> Dynamic | None:
    [machine] = struct.unpack_from("<H", image, 18)
    [headers_at] = struct.unpack_from("<Q", image, 32)
    entry_size, count = struct.unpack_from("<HH", image, 54)
    if machine != EM_RISCV:
        return None
    # (type, flags, offset, vaddr, paddr, filesz, memsz, align)
    headers = [struct.unpack_from("<IIQQQQQQ", image, headers_at + i * entry_size) for i in range(count)]
    interpreter: str | None = None
    tags: list[tuple[int, int]] = []
    for kind, _, offset, _, _, size, *_ in headers:
        if kind == PT_INTERP:
            interpreter = image[offset : offset + size].rstrip(b"\0").decode()
        elif kind == PT_DYNAMIC:
            for at in range(offset, offset + size, 16):
                tag, value = struct.unpack_from("<QQ", image, at)
                if tag == DT_NULL:
                    break
                tags.append((tag, value))
    strings_at = next((value for tag, value in tags if tag == DT_STRTAB), None)
    if strings_at is None:
        return Dynamic(interpreter, ())
    strings = next((o + strings_at - v for kind, _, o, v, _, size, *_ in headers
                    if kind == PT_LOAD and v <= strings_at < v + size), strings_at)  # fmt: skip
    needed = tuple(_string(image, strings + value) for tag, value in tags if tag == DT_NEEDED)
    return Dynamic(interpreter, needed)


def _string(image: bytes, at: int) -> str:
    return image[at : image.index(b"\0", at)].decode()
