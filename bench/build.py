"""Build the benchmark guests: ``bench/guests/*.c`` into ``bench/build/*.elf``, for vpmu and QEMU alike."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guests"))

import toolchain

BENCH = Path(__file__).resolve().parent
OUTPUT = BENCH / "build"
FLOATING = ("fp", "matrix")
"""Guests that use F and D."""
RUNTIME = (toolchain.RUNTIME / "start.S", toolchain.RUNTIME / "runtime.c")


def build() -> list[Path]:
    """ELF files of all benchmark guests, built again where a source is newer.

    :raises toolchain.BuildError: there is no RISC-V compiler, or it refused a source.
    """
    compiler = toolchain.find()
    if compiler is None:
        raise toolchain.BuildError(
            "no RISC-V compiler: install gcc-riscv64-linux-gnu, or pip install ziglang"
        )
    shared = max(file.stat().st_mtime for file in toolchain.RUNTIME.iterdir())
    images = []
    for source in sorted((BENCH / "guests").glob("*.c")):
        image = OUTPUT / f"{source.stem}.elf"
        if not image.exists() or image.stat().st_mtime < max(shared, source.stat().st_mtime):
            compiler.build((*RUNTIME, source), image, floating=source.stem in FLOATING)
        images.append(image)
    return images


if __name__ == "__main__":
    try:
        for built in build():
            print(built)
    except toolchain.BuildError as error:
        sys.exit(str(error))
