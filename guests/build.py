"""Build the bundled payloads into ``src/vpmu/payloads``: ``python guests/build.py``, or ``make guests``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import toolchain

PAYLOADS = toolchain.GUESTS.parent / "src" / "vpmu" / "payloads"
BUILT_WITH = "built-with.txt"
"""File beside the payloads that names the compiler which made them."""

RUNTIME_SOURCES = (toolchain.RUNTIME / "start.S", toolchain.RUNTIME / "runtime.c")


@dataclass(frozen=True, slots=True)
class Payload:
    """One file to ship: its name, its sources, how they are linked. A ``.bin`` is flat: the bare bytes."""

    file: str
    sources: tuple[Path, ...]
    script: Path = toolchain.RUNTIME / "guest.ld"
    defines: tuple[str, ...] = ()

    def build(self, compiler: toolchain.Toolchain, directory: Path) -> Path:
        """Build it into `directory`; returns the file."""
        output = directory / self.file
        compiler.build(
            self.sources, output, script=self.script, defines=self.defines, flat=output.suffix == ".bin"
        )
        return output


def _program(name: str) -> Payload:
    return Payload(f"{name}.elf", (*RUNTIME_SOURCES, toolchain.GUESTS / f"{name}.c"))


def _mailbox(name: str, *defines: str) -> Payload:
    script = toolchain.RUNTIME / "mailbox.ld"
    return Payload(f"{name}.bin", (toolchain.GUESTS / "mailbox.S",), script, defines)


ALL = (
    _program("hello"),
    _program("counting"),
    _program("failing-event"),
    _program("firmware-counter"),
    _program("snapshot"),
    _program("overflow"),
    Payload(
        "agent.bin",
        (toolchain.GUESTS / "agent_calls.S", toolchain.GUESTS / "agent.c"),
        toolchain.RUNTIME / "agent.ld",
    ),
    Payload(
        "agent-kvm.bin",
        (toolchain.GUESTS / "agent_calls.S", toolchain.GUESTS / "agent.c"),
        toolchain.RUNTIME / "agent.ld",
        ("MAILBOX",),
    ),
    Payload(
        "agent-line.bin",
        (toolchain.GUESTS / "agent_calls.S", toolchain.GUESTS / "agent.c"),
        toolchain.RUNTIME / "agent.ld",
        ("MAILBOX", "UART=0x28010000UL"),  # the doorbell of vpmu.vmm.line
    ),
    Payload("kvm-monitor.bin", (toolchain.GUESTS / "kvm_monitor.c",), toolchain.RUNTIME / "user.ld"),
    _mailbox("mailbox"),
    _mailbox("mailbox-first", "FIRST"),
    _mailbox("mailbox-native", "NATIVE"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PAYLOADS, help="directory for the built files")
    parser.add_argument("--compiler", choices=("gcc", "ziglang"), help="default: gcc where there is one")
    options = parser.parse_args()
    finders = {"gcc": toolchain.find_gcc, "ziglang": toolchain.find_zig, None: toolchain.find}
    compiler = finders[options.compiler]()
    if compiler is None:
        print("no RISC-V compiler: install gcc-riscv64-linux-gnu, or pip install ziglang", file=sys.stderr)
        return 1
    for payload in ALL:
        try:
            output = payload.build(compiler, options.output)
        except toolchain.BuildError as error:
            print(f"{payload.file}: {error}", file=sys.stderr)
            return 1
        print(f"{output.name:24} {output.stat().st_size:6} bytes")
    Path(options.output, BUILT_WITH).write_text(compiler.version + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
