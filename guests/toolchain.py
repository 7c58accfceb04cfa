"""RISC-V compilers for bare S-mode programs: a cross gcc, or the clang of the ``ziglang`` wheel.

Builds are deterministic: the same sources and the same compiler give the same bytes, wherever they are built.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GUESTS = Path(__file__).resolve().parent
RUNTIME = GUESTS.parent / "src" / "vpmu" / "payloads" / "runtime"

GCC_NAMES = ("riscv64-linux-gnu-gcc", "riscv64-unknown-elf-gcc", "riscv64-unknown-linux-gnu-gcc")
COMPILE_FLAGS = (
    "-O2",
    "-mabi=lp64",
    "-mcmodel=medany",
    "-ffreestanding",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Werror",
)
FLOATING_FLAGS = ("-mabi=lp64d", "-ffp-contract=off", "-fno-math-errno")
LINK_FLAGS = ("-nostdlib", "-static", "-mabi=lp64", "-Wl,--build-id=none", "-Wl,-n")


class BuildError(Exception):
    """A compiler refused a source; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler driver with the flags that select rv64imac_zicsr_zifencei, and its version line; `with_fd`
    selects F and D as well.
    """

    name: str
    command: tuple[str, ...]
    version: str
    with_fd: str

    def build(
        self,
        sources: Sequence[Path],
        output: Path,
        *,
        script: Path = RUNTIME / "guest.ld",
        defines: Sequence[str] = (),
        flat: bool = False,
        floating: bool = False,
    ) -> None:
        """Compile and link `sources` by the linker script `script` into `output`: ELF, or its bare bytes.
        `floating`: with F and D.

        :raises BuildError: the compiler or the linker ended with an error (warnings are errors).
        """
        more = (self.with_fd, *FLOATING_FLAGS) if floating else ()
        with tempfile.TemporaryDirectory() as directory:
            objects = []
            for source in sources:
                # Plain names, in one directory: the ELF file records the names of its objects.
                target = f"{source.stem}.o"
                flags = (*COMPILE_FLAGS, *more, f"-I{RUNTIME}", *(f"-D{name}" for name in defines))
                self._run(directory, *flags, "-c", str(source), "-o", target)
                objects.append(target)
            self._run(directory, *LINK_FLAGS, *more, f"-Wl,-T,{script}", *objects, "-o", "guest.elf")
            elf = Path(directory, "guest.elf").read_bytes()
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_bytes(_first_segment(elf) if flat else elf)

    def _run(self, directory: str, *arguments: str) -> None:
        environment = {
            # zig keeps a cache: beside the objects, unless the caller names a lasting one
            "ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR", directory),
            "ZIG_LOCAL_CACHE_DIR": directory,
            **os.environ,
        }
        done = subprocess.run(
            [*self.command, *arguments], cwd=directory, env=environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise BuildError(f"{self.name}: {(done.stderr or done.stdout).strip()}")


def find_gcc() -> Toolchain | None:
    """The first cross gcc on PATH, or None."""
    for name in GCC_NAMES:
        if path := shutil.which(name):
            versions = [
                _first_line(path, "--version"),
                _first_line(path, "-Wa,--version", "-c", "-xassembler", "-"),
            ]
            march = "-march=rv64imac_zicsr_zifencei"
            with_fd = "-march=rv64imafdc_zicsr_zifencei"
            return Toolchain(name, (path, march), "; ".join(versions), with_fd)
    return None


def find_zig() -> Toolchain | None:
    """The compiler of the ``ziglang`` package in this Python, or None."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    command = (sys.executable, "-m", "ziglang")
    cpu = "-mcpu=generic_rv64+m+a+c+zicsr+zifencei"
    cc = (*command, "cc", "-target", "riscv64-freestanding-none", cpu)
    return Toolchain("ziglang", cc, f"zig {_first_line(*command, 'version')}", f"{cpu}+f+d")


def find() -> Toolchain | None:
    """gcc where there is one (the bundled payloads were built with Debian's), else ziglang, else None."""
    return find_gcc() or find_zig()


def _first_segment(elf: bytes) -> bytes:
    """Bytes of the first program header's segment. GNU ld writes no flat files for RISC-V itself."""
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    offset, size = struct.unpack_from("<8xQ16xQ", elf, table)
    return elf[offset : offset + size]


def _first_line(*command: str) -> str:
    with tempfile.TemporaryDirectory() as directory:  # `-c` would leave a.out behind
        done = subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    return done.stdout.partition("\n")[0].strip()
