"""The engine compiles for machines other than this one: nothing in its IR belongs to one host."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from vpmu.hart.codegen_flags import Counting
from vpmu.hart.softfloat import F64, RNE, fma

TARGETS = {
    "x86-64 of 2003": ("x86_64-unknown-linux-gnu", "x86-64", ""),
    "x86-64 with everything": ("x86_64-unknown-linux-gnu", "znver4", ""),
    "x86-64 on Windows": ("x86_64-pc-windows-msvc", "x86-64", ""),
    "aarch64": ("aarch64-unknown-linux-gnu", "generic", ""),
    "aarch64 on macOS": ("arm64-apple-darwin", "apple-m1", ""),
}
FUSED = fma(F64, 0x3FF0000000000001, 0x3FEFFFFFFFFFFFFF, 0x3FF0 << 48, RNE)[0]
MAGIC = {"x86_64-unknown-linux-gnu": b"\x7fELF", "aarch64-unknown-linux-gnu": b"\x7fELF",
         "x86_64-pc-windows-msvc": b"\x64\x86", "arm64-apple-darwin": b"\xcf\xfa\xed\xfe"}  # fmt: skip

COMPILE = """
import sys
import llvmlite.binding as llvm
from vpmu.hart import codegen_flags, native

triple, cpu, features, counting = sys.argv[1:]
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=2, jit=True)
ir = native.engine_ir(codegen_flags.Counting(int(counting)))
sys.stdout.buffer.write(native.compile_ir(ir, machine))
"""


# The oldest x86-64 has no fused multiply-add: the engine calls the C library's.
RUN_OLDEST = """
import llvmlite.binding as llvm
from vpmu.hart import native

def oldest():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu="x86-64", features="", opt=2, jit=True)
    return machine, (target.triple, "x86-64", "")

native.host_machine = oldest
native.host_identity = lambda: "the oldest"
from vpmu.hart.hart import Hart
from vpmu.hart.memory import PhysicalMemory

memory = PhysicalMemory()
memory.set_slot(0, 0x80000000, 1 << 20)
memory.write(0x80000000, (0x022081C3).to_bytes(4, "little"))  # fmadd.d f3, f1, f2, f0
hart = Hart(0, memory)
hart.pc = 0x80000000
hart.set("sstatus", 3 << 13)
hart.set("fflags", 1)
for number, bits in enumerate((0x3FF0 << 48, 0x3FF0000000000001, 0x3FEFFFFFFFFFFFFF)):
    hart.words[64 + number] = bits
hart.reference().step = None  # must not be needed
hart.run(1)
print(hex(hart.words[67]))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not an x86-64")
def test_a_fused_multiply_add_on_the_oldest_x86_64() -> None:
    run = subprocess.run([sys.executable, "-c", RUN_OLDEST], capture_output=True, text=True, timeout=120)
    assert (run.stdout.strip(), run.stderr) == (hex(FUSED), "")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_engine_compiles_for(target: str) -> None:
    triple, cpu, features = TARGETS[target]
    counting = str((Counting.CLASSES | Counting.MISSES).value)
    run = subprocess.run(
        [sys.executable, "-c", COMPILE, triple, cpu, features, counting], capture_output=True, timeout=120
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    assert run.stdout.startswith(MAGIC[triple])
    assert len(run.stdout) > 50_000
